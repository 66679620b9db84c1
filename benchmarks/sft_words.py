"""The table and the picture that `sft_cpu.py` makes of its figures: docs/speed.md (between its two marks) and docs/pictures/speed.svg."""

from pathlib import Path as Folder
from typing import Any

DOCS = Folder(__file__).parents[1] / "docs"
BEGIN, END = "<!-- figures: benchmarks/sft_cpu.py -->\n", "<!-- end of figures -->\n"
NAMES = {
    "instil": "**instil**",
    "instil_compiled": "instil, blocks compiled (`train.compile: on`)",
    "instil_unshared": "instil, nothing shared between examples",
    "trl": "TRL, 8 rows, its defaults",
    "trl_sorted_2": "TRL, 2 rows by length",
    "trl_sorted_4": "TRL, 4 rows by length",
    "trl_sorted_4_compiled": "TRL, 4 rows by length, compiled (`torch_compile`)",
    "trl_sorted_8": "TRL, 8 rows by length",
    "trl_sorted_16": "TRL, 16 rows by length",
    "trl_packing": "TRL, packing",
    "trl_sorted_8_bf16_weights": "TRL, 8 rows by length, weights in bf16",
    "trainer": "transformers.Trainer, 8 rows",
    "trainer_sorted_4": "transformers.Trainer, 4 rows by length",
    "trainer_sorted_8": "transformers.Trainer, 8 rows by length",
}
SETS = {
    "alpaca": "Alpaca",
    "multi_turn": "Conversations",
    "tasks_0": "Super-NaturalInstructions, no examples",
    "tasks_2": "Super-NaturalInstructions, 2 examples",
    "tools": "Tool calling, a list of 12 tools",
    "answers_4": "4 answers per prompt",
}


def table(known: dict[str, Any]) -> str:
    """All sets and contenders, in Markdown."""
    parts = []
    for name in (name for name in SETS if name in known["sets"]):
        found, facts = known["sets"][name], known["sets"][name]["facts"]
        parts.append(
            f"{SETS[name]}{_ratios(found['contenders'])}. Steps of {facts['examples']} sequences, {facts['tokens']:,} tokens, "
            f"{facts['supervised']:,} trained.{_products(found['contenders'].get('instil', {}))}\n\n"
            "| | examples/s | trained tokens/s | tokens computed per step | first step, s | peak memory, MiB | KiB per token in flight |\n"
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n" + "".join(_line(NAMES[c], f) for c, f in found["contenders"].items())
        )
    return "\n".join(parts)


def _ratios(contenders: dict[str, Any]) -> str:
    """How many times as fast as the best of TRL and of plain transformers."""
    mine, said = fastest(contenders), []
    for kind, name in (("trl", "TRL's best"), ("trainer", "`Trainer`'s")):
        speeds = [f["examples_per_s"] for c, f in contenders.items() if c.startswith(kind) and "bf16_weights" not in c]
        said += [f"**{mine / max(speeds):.2f}x** {name}"] if mine and speeds else []
    return ": " + ", ".join(said) if said else ""


def fastest(contenders: dict[str, Any]) -> float | None:
    """instil's best examples/s, as a peer's best setting is compared with it."""
    return max((f["examples_per_s"] for c, f in contenders.items() if c in ("instil", "instil_compiled")), default=None)


def _products(mine: dict[str, Any]) -> str:
    if "linear_share_of_peak" not in mine:
        return ""
    peak, step = mine["linear_share_of_peak"], mine["linear_share_of_step"]
    return (
        f" instil's linear layers reach {100 * peak:.0f} % of the {mine['bf16_peak_gflops']:,} GFLOP/s that this processor multiplies "
        f"matrices at, and are {100 * step:.0f} % of its step."
    )


def _line(name: str, f: dict[str, Any]) -> str:
    speed = f"{f['examples_per_s']:.1f} | {f['supervised_per_s']:,.0f} | {f['computed']:,}"
    each = f"{1024 * (f['peak_mib'] - f['idle_mib']) / f['in_flight']:,.0f}" if f.get("in_flight") else ""
    return f"| {name} | {speed} | {f['first_step_s'] + f['start_s']:.1f} | {f['peak_mib']:,} | {each} |\n"


def write_page(known: dict[str, Any]) -> None:
    """Table and picture of what is known so far."""
    page = DOCS / "speed.md"
    text = page.read_text(encoding="utf-8")
    before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    versions, machine = known["versions"], known["hardware"]
    where = (
        f"{machine['processor']}, {known['threads']} threads, {machine['memory_gib']} GiB; torch {versions['torch']}, transformers "
        f"{versions['transformers']}, TRL {versions['trl']}, instil {versions['instil']}.\n\n"
    )
    page.write_text(before + "\n" + where + table(known) + "\n" + after, encoding="utf-8")
    _picture({name: known["sets"][name] for name in SETS if "ratio_best" in known["sets"].get(name, {})})


COLOURS = {"instil": ("instil", "#1f6f8b"), "instil_unshared": ("instil, nothing shared", "#8fc1d4"), "trl": ("TRL, its best", "#a0a0a0")}


def _picture(sets: dict[str, Any]) -> None:
    """Bars, examples per second: a group per set, all on one scale."""
    most = max(found["contenders"]["instil"]["examples_per_s"] for found in sets.values())
    lines, y = [], 40
    for i, (label, colour) in enumerate(COLOURS.values()):
        lines.append(
            f'<rect x="{250 + 160 * i}" y="10" width="11" height="11" fill="{colour}"/><text x="{267 + 160 * i}" y="20">{label}</text>'
        )
    for name, found in sets.items():
        lines.append(f'<text x="240" y="{y + 24}" text-anchor="end">{SETS[name]}</text>')
        for key, (_, colour) in COLOURS.items():
            contender = found["best_of_trl"] if key == "trl" else key
            if contender in found["contenders"]:
                speed = found["contenders"][contender]["examples_per_s"]
                wide = 400 * speed / most
                lines.append(f'<rect x="250" y="{y}" width="{wide:.1f}" height="11" fill="{colour}"/>')
                lines.append(f'<text x="{255 + wide:.1f}" y="{y + 10}" font-size="11">{speed:.1f}</text>')
            y += 13
        y += 14
    lines.append(f'<text x="250" y="{y + 4}">examples per second, 25M parameters, bf16, two cores</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 {y + 16}" font-family="sans-serif" font-size="12" fill="#333">'
    picture = DOCS / "pictures" / "speed.svg"
    picture.parent.mkdir(exist_ok=True)
    picture.write_text("\n".join([head, '<rect width="100%" height="100%" fill="#fff"/>', *lines, "</svg>\n"]), encoding="utf-8")


if __name__ == "__main__":
    import json

    write_page(json.loads((Folder(__file__).parent / "results" / "sft_cpu.json").read_text(encoding="utf-8")))
