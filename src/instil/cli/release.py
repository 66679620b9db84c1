"""`instil release RUN --to hf,gguf,ollama`: the model in the forms that others load."""

import sys

import click

from instil.core.errors import UserError


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run", metavar="RUN")
@click.option(
    "--to", "targets", multiple=True, required=True, metavar="TARGET[,TARGET]", help="hf, merged, adapter, gguf, ollama, lmstudio."
)
@click.option("--quantize", default="f16", metavar="TYPE[,TYPE]", help="Of GGUF files: f32, f16, bf16, q8_0, q4_0, q4_k_m, ...  [f16]")
@click.option("--out", metavar="DIR", help="Where the exports lie, each in a folder of its target's name.  [RUN/release]")
@click.option("--replace", is_flag=True, help="Write over exports of the same name. Without it nothing is written over.")
@click.option("--publisher", default="instil", metavar="NAME", help="Of lmstudio: the folder above the model's.  [instil]")
@click.option(
    "--data-licence", metavar="SPDX", help="Licence of the data that declares none itself, such as CC-BY-4.0, for the model card."
)
@click.option("--trust-remote-code", is_flag=True, help="Run Python code that comes with the base model. Read it first.")
def command(
    run: str,
    targets: tuple[str, ...],
    quantize: str,
    out: str | None,
    replace: bool,
    publisher: str,
    data_licence: str | None,
    trust_remote_code: bool,
) -> None:
    """Export the tuned model of RUN (a run's folder, or its model folder), with template, stop tokens and a model card, and prove of every
    export that it says what the trained model says.

    \b
    Targets:
      hf         a folder that plain transformers loads; of a LoRA run with the adapter merged
      merged     the same, for LoRA runs only
      adapter    a folder that plain peft loads; LoRA runs only
      gguf       files for llama.cpp and what is built on it
      ollama     a Modelfile with template, stop tokens and context length, and the weights
      lmstudio   the folders that LM Studio expects

    \b
      instil release runs/first --to hf
      instil release runs/first --to gguf,ollama --quantize f16,q8_0 --out exports

    Each export is loaded as its users will load it and asked what the trained model was asked: tokens, log-probabilities, answers, its end.
    One that fails lies in a folder that ends in `.failed`, and the exit code is 1.
    """
    wanted = list(dict.fromkeys(name for text in targets for name in _names(text, "--to")))
    from instil.cli.terminal import output
    from instil.stages.release import release  # imports torch

    exported = release(
        run,
        wanted,
        quantize=_names(quantize, "--quantize"),
        out=out,
        replace=replace,
        publisher=publisher,
        data_licence=data_licence,
        trust_remote_code=trust_remote_code,
        console=output(),
    )
    failed = [one for one in exported if not one.parity.passed]
    for one in failed:
        check = next(check for check in one.parity.checks if not check.passed)
        click.echo(
            f"failed: {one.parity.target} does not say what the trained model says ({check.name}: {check.detail}); see {one.folder}",
            err=True,
        )
    if failed:
        sys.exit(1)


def _names(text: str, flag: str) -> list[str]:
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    if not names:
        raise UserError(f"{flag} names nothing; `instil release --help` lists what there is")
    return names
