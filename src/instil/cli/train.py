"""`instil train recipe.yaml`: tune, or continue a run."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from instil.cli.knobs import RecipeCommand, recipe_from
from instil.core.errors import UserError

if TYPE_CHECKING:
    from instil.core.recipe import Recipe


@click.command(
    cls=RecipeCommand, context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": ["-h", "--help"]}
)
@click.argument("recipe", nargs=-1, type=click.UNPROCESSED, metavar="[RECIPE] [--KNOB VALUE]...")
@click.option("--resume", metavar="RUN", help="Continue this run folder where its last checkpoint left it. Takes no recipe.")
@click.option(
    "--gpus",
    type=click.IntRange(1),
    metavar="N",
    help="One process on each of N GPUs here. On several machines: torchrun -m instil train ...",
)
def command(recipe: tuple[str, ...], resume: str | None, gpus: int | None) -> None:
    """Tune a model as RECIPE (a YAML file) says. Any key of the recipe can be given, or overridden, as a flag.

    \b
    A first recipe:
      model: path/to/model          # a folder in Hugging Face's layout, or a hub id
      template: chatml              # where the tokenizer has no template of its own
      data:
        - path: rows.jsonl
      method: lora
      train: {epochs: 2, batch: 64}

    \b
    Then:
      instil inspect recipe.yaml    look at the tokens first
      instil train recipe.yaml --train.learning_rate 1e-4
      instil chat runs/recipe
      instil train recipe.yaml --gpus 8

    Ctrl-C ends in a checkpoint; `instil train --resume runs/NAME` continues the same run, bit for bit on a CPU.
    """
    if resume is not None and recipe:
        raise UserError("--resume continues a run under its own recipe: leave out the recipe and other flags")
    asked = None if resume is not None else recipe_from(recipe)
    if gpus is not None and gpus > 1:
        sys.exit(_on_gpus(recipe, resume, asked, gpus))
    from instil.cli.terminal import output
    from instil.stages.say import Teller
    from instil.stages.tune import resume_run, tune  # imports torch: seconds, and only after the recipe has proved sound

    console = output()
    outcome = tune(asked, console) if asked is not None else resume_run(str(resume), console)
    if not outcome.finished:
        sys.exit(130)
    Teller(console, quiet=not outcome.leads).line("next", f"instil chat {outcome.folder}")


def _on_gpus(recipe: tuple[str, ...], resume: str | None, asked: "Recipe | None", gpus: int) -> int:
    """The same command in a process per GPU; what can be refused is refused once, here."""
    from instil.core.run import check_new, open_run, run_name
    from instil.stages.launch import launch

    if asked is None:
        open_run(str(resume))
        return launch(["train", "--resume", str(resume)], gpus, f"instil train --resume {resume} --gpus {gpus}")
    check_new(asked)
    folder = Path(asked.runs) / run_name(asked)
    return launch(["train", *recipe], gpus, f"instil train --resume {folder} --gpus {gpus}")
