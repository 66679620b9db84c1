"""Write the table "what fits where" of docs/plan.md, by `instil plan`'s own functions from the sizes of published models.

The page is committed, and `tests/plan` refuses it when it is not what this script makes.
"""

from pathlib import Path

from instil.core.files import write_text
from instil.plan.cards import CARDS
from instil.plan.need import Way, need
from instil.plan.shape import Shape
from instil.plan.ways import ways_that_fit
from instil.stages.fit import ROOM

PAGE = Path(__file__).parents[1] / "docs" / "plan.md"
BEGIN, END = "<!-- what fits where: scripts/fits.py -->\n", "<!-- end of what fits where -->\n"
SHAPES = {
    "Qwen3-0.6B": Shape(
        hidden=1024, wide=3072, layers=28, heads=16, groups=8, width=128, vocabulary=151936, tied=True, extra=256
    ),
    "Llama-3.2-1B": Shape(hidden=2048, wide=8192, layers=16, heads=32, groups=8, width=64, vocabulary=128256, tied=True),
    "Qwen3-1.7B": Shape(
        hidden=2048, wide=6144, layers=28, heads=16, groups=8, width=128, vocabulary=151936, tied=True, extra=256
    ),
    "Llama-3.2-3B": Shape(hidden=3072, wide=8192, layers=28, heads=24, groups=8, width=128, vocabulary=128256, tied=True),
    "Qwen3-4B": Shape(
        hidden=2560, wide=9728, layers=36, heads=32, groups=8, width=128, vocabulary=151936, tied=True, extra=256
    ),
    "Llama-3.1-8B": Shape(hidden=4096, wide=14336, layers=32, heads=32, groups=8, width=128, vocabulary=128256, tied=False),
}  # fmt: skip
COLUMNS = {"4060": "8 GB (4060)", "3060": "12 GB (3060)", "4090": "24 GB (4090)", "L40S": "48 GB (L40S)", "H100": "80 GB (H100)"}
ROW, EXAMPLE = 2048, 512


def table() -> str:
    """Per model and card the way that changes least, and what it takes there."""
    rows = {name: [_cell(shape, CARDS[card].memory) for card in COLUMNS] for name, shape in SHAPES.items()}
    head = f"| model | {' | '.join(COLUMNS.values())} |\n| --- |{' --- |' * len(COLUMNS)}\n"
    return head + "".join(f"| {name} | {' | '.join(cells)} |\n" for name, cells in rows.items())


def _cell(shape: Shape, memory: float) -> str:
    way = Way(device="gpu", tokens=ROW, example=EXAMPLE)
    found = next(ways_that_fit(shape, way, ROOM * memory * 2**30), None)
    return "nothing" if found is None else f"{in_words(found)}: {need(shape, found).total / 2**30:.1f}"


def in_words(way: Way) -> str:
    method = {"full": "full", "lora": "LoRA", "qlora": "QLoRA"}[way.method]
    parts = {
        "bf16 weights": way.weights == "bf16",
        "8-bit states": way.optimizer == "adamw_8bit",
        "offloaded": way.offload == "states",
        "recomputed": way.recompute,
    }
    return ", ".join([method, *(name for name, there in parts.items() if there)])


def page(text: str) -> str:
    """`text`, a page, with the table as it is now."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    write_text(PAGE, page(PAGE.read_text(encoding="utf-8")))
