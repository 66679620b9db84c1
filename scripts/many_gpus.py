"""Write the table of docs/many_gpus.md from `plan/network.py`: how far a 70B scales. `tests/house` refuses another one."""

from pathlib import Path

from instil.core.files import write_text
from instil.plan.cards import CARDS
from instil.plan.need import Way, need
from instil.plan.network import Network, exchange
from instil.plan.shape import Shape

PAGE = Path(__file__).parents[1] / "docs" / "many_gpus.md"
BEGIN, END = "<!-- figures: scripts/many_gpus.py -->\n", "<!-- end of network -->"
LLAMA_70B = Shape(hidden=8192, wide=28672, layers=80, heads=64, groups=8, width=128, vocabulary=128256, tied=False)
GROUPS = ((16, 16), (64, 64), (64, 16), (256, 256), (256, 64), (1024, 1024), (1024, 64))
REACHED = 0.4
COLUMNS = ("GPUs", "divided over", "GiB on each", "computing 8,192 tokens, s", "gathering, s", "adding copies, s")
SHARES = ("computing of the time", "with 1,024 tokens", "tokens a second")
HEAD = f"\n| {' | '.join(COLUMNS + SHARES)} |\n{'| ---: ' * 9}|\n"


def rows() -> list[str]:
    lines = []
    for gpus, shards in GROUPS:
        way = Way(method="full", tokens=8192, example=1024, recompute=True, device="gpu")
        short = Way(method="full", tokens=1024, example=1024, recompute=True, device="gpu")
        memory = need(LLAMA_70B, way, shards).total / 2**30
        long, brief = (exchange(LLAMA_70B, w, gpus, shards, REACHED * CARDS["H200"].rate * 1e12, Network()) for w in (way, short))
        lines.append(
            f"| {gpus:,} | {shards:,} | {memory:.0f} | {long.computing:.1f} | {long.gathering:.1f} | {long.adding:.1f} | "
            f"{100 * long.efficiency:.0f} % | {100 * brief.efficiency:.0f} % | {gpus * 8192 / long.seconds:,.0f} |"
        )
    return lines


def page() -> str:
    text = PAGE.read_text(encoding="utf-8")
    start, stop = text.index(BEGIN) + len(BEGIN), text.index(END)
    return f"{text[:start]}{HEAD}{chr(10).join(rows())}\n\n{text[stop:]}"


if __name__ == "__main__":
    write_text(PAGE, page())
