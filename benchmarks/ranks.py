"""What dividing a step among ranks costs in shared beginnings, and how even the work is: `python benchmarks/ranks.py`.

No training: the steps of real rows are laid out for so many ranks, and counted. Results go to `results/ranks.json`, and into
docs/many_gpus.md.
"""

import json
import tempfile
from pathlib import Path as Folder

from sft_data import SHARED, all_rows, write_base

from instil.batch.share import cost, deal, lay_out_shared

RANKS = (1, 2, 4, 8, 16)
STEPS = {"alpaca": (64, 512), "tools": (64,), "tasks_2": (64,)}
NAMES = {"alpaca": "Alpaca", "tools": "tool calling, a list of 12 tools", "tasks_2": "Super-NaturalInstructions, 2 examples"}
RESULTS = Folder(__file__).parent / "results" / "ranks.json"
PAGE = Folder(__file__).parents[1] / "docs" / "many_gpus.md"
BEGIN, END = "<!-- figures: benchmarks/ranks.py -->\n", "<!-- end of figures -->"


def measure() -> list[dict[str, object]]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Folder(temporary)
        write_base(folder, SHARED)
        found = []
        for name, sizes in STEPS.items():
            data = all_rows("alpaca_all" if name == "alpaca" else name, folder, SHARED)
            for size in sizes:
                steps = [data[start : start + size] for start in range(0, len(data) - size + 1, size)][:4]
                found += [{"set": name, "rows": size, "steps": len(steps), **_count(steps, ranks)} for ranks in RANKS]
        return found


def _count(steps: list[list[list[object]]], ranks: int) -> dict[str, float]:
    alone = computed = slowest = total = 0.0
    for step in steps:
        paths = [path for row in step for path in row]
        rows = lay_out_shared(paths, 8192, ranks)
        work = [sum(cost(rows[index]) for index in hand) for hand in deal(rows, ranks)]
        alone += sum(len(path.tokens) for path in paths)
        computed += sum(len(row.tokens_T) for row in rows)
        slowest, total = slowest + max(work), total + sum(work)
    return {"ranks": ranks, "alone": alone, "computed": computed, "even": total / ranks / slowest}


def table(found: list[dict[str, object]]) -> str:
    lines = ["| | ranks | tokens computed of those that rows hold | work of a rank, mean of the most |", "| --- | ---: | ---: | ---: |"]
    for row in found:
        label = f"{NAMES[str(row['set'])]}, steps of {row['rows']}" if row["ranks"] == 1 else ""
        lines.append(f"| {label} | {row['ranks']} | {100 * row['computed'] / row['alone']:.0f} % | {100 * row['even']:.0f} % |")
    return "\n".join(lines)


if __name__ == "__main__":
    figures = measure()
    RESULTS.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    start, stop = page.index(BEGIN) + len(BEGIN), page.index(END)
    PAGE.write_text(f"{page[:start]}\n{table(figures)}\n\n{page[stop:]}", encoding="utf-8")
    print(table(figures))
