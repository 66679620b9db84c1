"""`instil serve RUN|MODEL`: an OpenAI-compatible server, and a page to chat on."""

from pathlib import Path

import click

from instil.core.errors import UserError


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model", metavar="RUN|MODEL")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: any that is free.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; any but this machine's own needs a key.")
@click.option("--api-key", envvar="INSTIL_API_KEY", show_envvar=True, metavar="KEY", help="What clients must send.")
@click.option("--slots", type=click.IntRange(1, 1024), default=64, show_default=True, help="Answers written at a time.")
@click.option("--context", type=click.IntRange(2), help="Longest prompt and answer together, in tokens.  [the model's]")
@click.option("--queue", type=click.IntRange(0), default=256, show_default=True, help="Requests that may wait; more are told to come back.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), default=600.0, show_default=True, help="Seconds for a request.")
@click.option("--no-base", is_flag=True, help="Do not serve the base model that a run was tuned from beside it.")
@click.option(
    "--votes", metavar="FILE", type=click.Path(path_type=Path), help="Where the page saves votes.  [RUN/votes.jsonl, else votes.jsonl]"
)
@click.option("--engine", type=click.Choice(["instil", "vllm"]), default="instil", show_default=True, help="vllm: hand over to vLLM.")
@click.option("--trust-remote-code", is_flag=True, help="Run Python code that comes with the model. Read it first.")
def command(
    model: str,
    port: int,
    host: str,
    api_key: str | None,
    slots: int,
    context: int | None,
    queue: int,
    timeout: float,
    no_base: bool,
    votes: Path | None,
    engine: str,
    trust_remote_code: bool,
) -> None:
    """Serve RUN (a folder that `instil train` made) or any MODEL (folder or hub id) to OpenAI's clients, with the trained prompts.

    /v1/chat/completions, /v1/completions, /v1/models, /health, /metrics, and at / a page to chat on. A run's base model is served beside it
    as NAME-base.

    \b
      instil serve runs/first
      OPENAI_BASE_URL=http://127.0.0.1:8000/v1 OPENAI_API_KEY=none your-program
    """
    try:
        from instil.stages.serve import Serving, hand_to_vllm, serve  # imports torch and uvicorn
    except ModuleNotFoundError as error:
        if error.name in ("starlette", "uvicorn"):
            raise UserError("`instil serve` needs starlette and uvicorn: pip install 'instil[serve]'") from None
        raise
    how = Serving(
        host=host,
        port=port,
        key=api_key or None,
        slots=slots,
        context=context,
        queue=queue,
        timeout=timeout,
        base=not no_base,
        votes=votes,
        trust_remote_code=trust_remote_code,
    )
    if engine == "vllm":
        hand_to_vllm(model, how)
    serve(model, how, lambda line: click.echo(line, err=True))
