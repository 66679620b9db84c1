"""`instil inspect recipe.yaml`: what would be trained, token by token, before any model is loaded."""

import click

from instil.cli.knobs import RecipeCommand, recipe_from


@click.command(
    cls=RecipeCommand, context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": ["-h", "--help"]}
)
@click.argument("recipe", nargs=-1, type=click.UNPROCESSED, metavar="[RECIPE] [--KNOB VALUE]...")
@click.option("--row", type=int, metavar="N", help="Show row N (from 1, over all sources in order) instead of the first trained one.")
@click.option("--html", metavar="FILE", help="Write a page with rows, tree and ledger to FILE.")
@click.option("--rows", type=click.IntRange(0), metavar="N", default=20, show_default=True, help="How many rows the page shows.")
@click.option("--tree/--no-tree", default=True, help="Also draw the tree of the first step.")
def command(recipe: tuple[str, ...], row: int | None, html: str | None, rows: int, tree: bool) -> None:
    """Prepare the data of RECIPE and show what would be trained: for a row the exact tokens, with the trained part marked and the stop
    token named; the tree of the first step; and what became of every row.

    \b
      instil inspect recipe.yaml
      instil inspect recipe.yaml --row 17
      instil inspect --model path/to/model --template chatml --data rows.jsonl --html look.html
    """
    asked = recipe_from(recipe)
    from instil.cli.terminal import output  # rich, numpy and tokenizers, only once the recipe has proved sound
    from instil.stages.look import look

    look(asked, row=row, html=html, num_rows=rows, tree=tree, console=output())
