"""`instil plan recipe.yaml`: what a run will need, before any weight is loaded."""

import re

import click

from instil.cli.knobs import RecipeCommand, recipe_from
from instil.core.errors import UserError


@click.command(
    cls=RecipeCommand, context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": ["-h", "--help"]}
)
@click.argument("recipe", nargs=-1, type=click.UNPROCESSED, metavar="[RECIPE] [--KNOB VALUE]...")
@click.option("--gpu", metavar="CARD", help="Plan for this card: H200, H100, A100, 4090, 3090, ... Default: this machine.")
@click.option("--gpus", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="How many of them.")
@click.option("--price", metavar="MONEY/h", help="What one costs an hour, such as 2.5/h.")
@click.option("--no-measure", is_flag=True, help="Count time from the processor's rate, without timing a few layers (seconds).")
@click.option("--json", "as_json", is_flag=True, help="The plan as JSON.")
def command(recipe: tuple[str, ...], gpu: str | None, gpus: int, price: str | None, no_measure: bool, as_json: bool) -> None:
    """Say what a run of RECIPE will need: parameters, memory part by part, the largest row that fits, whether activations are recomputed,
    tokens before and after sharing, time and money with a range. Only the model's config is read, and the data is prepared. Where the run
    would be on this machine, a few layers with random weights are timed.

    \b
      instil plan recipe.yaml
      instil plan recipe.yaml --gpu H200 --price 2.5/h
      instil plan --model path/to/model --data rows.jsonl --method qlora --gpu 4090

    Exit code 1: it does not fit.
    """
    asked = recipe_from(recipe)
    cost = None
    if price is not None:
        found = re.fullmatch(r"(\d+(?:\.\d+)?)(?:/h)?", price)
        if not found:
            raise UserError(f"--price {price}: give money per hour, such as 2.5/h")
        cost = float(found[1])
    from instil.cli.terminal import output
    from instil.stages.plan import plan

    fits = plan(asked, gpu=gpu, gpus=gpus, price=cost, measure=not no_measure, as_json=as_json, console=output())
    raise SystemExit(0 if fits else 1)
