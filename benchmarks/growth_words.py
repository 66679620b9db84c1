"""The table and the picture that `growth.py` makes of its figures: docs/speed.md (between its two marks) and docs/pictures/growth.svg."""

import math
from pathlib import Path as Folder
from typing import Any

DOCS = Folder(__file__).parents[1] / "docs"
BEGIN, END = "<!-- figures: benchmarks/growth.py -->\n", "<!-- end of growth -->\n"
TRAINED = {
    "sizes": "parameters, 16 Alpaca rows a step",
    "steps": "27.1M, Alpaca rows a step:",
    "rows": "27.1M, 8,192 tokens a step in rows of",
}


def table(known: dict[str, Any]) -> str:
    """All parts, in Markdown."""
    parts, lines = known["parts"], []
    if any(part in parts for part in TRAINED):
        lines.append("| | step, s | examples/s | computed tokens/s | peak memory, MiB |\n| --- | ---: | ---: | ---: | ---: |\n")
        for part, what in TRAINED.items():
            for point, f in parts.get(part, {}).items():
                label = f"{f['parameters'] / 1e6:.1f}M {what}" if part == "sizes" else f"{what} {int(point):,}"
                lines.append(f"| {label} | {f['step_s']} | {f['examples_per_s']} | {f['computed_per_s']:,} | {f['peak_mib']:,} |\n")
    if "prepare" in parts:
        lines.append("\n| rows prepared | seconds, start included | rows/s |\n| ---: | ---: | ---: |\n")
        lines += [f"| {int(n):,} | {f['seconds']} | {f['rows_per_s']:,} |\n" for n, f in parts["prepare"].items()]
    if "start" in parts:
        lines.append(
            "\n| 50,000 rows, from the command to the end of the first step | first start, s | second start, s |\n| --- | ---: | ---: |\n"
        )
        names = {"instil": "instil, steps of 64", "trl": "TRL, steps of 64"}
        lines += [f"| {names[who]} | {f['first_s']} | {f['second_s']} |\n" for who, f in parts["start"].items()]
    return "".join(lines)


def write_page(known: dict[str, Any]) -> None:
    page = DOCS / "speed.md"
    text = page.read_text(encoding="utf-8")
    before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    page.write_text(f"{before}\n{table(known)}\n{after}", encoding="utf-8")
    lines = [panel for part in PANELS if part in known["parts"] for panel in _panel(part, known["parts"][part])]
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 900 250" font-family="sans-serif" font-size="11" fill="#333">'
    (DOCS / "pictures" / "growth.svg").write_text("\n".join([head, '<rect width="100%" height="100%" fill="#fff"/>', *lines, "</svg>\n"]))


PANELS = {
    "sizes": (0, "s per 1,000 tokens by parameters", "parameters", lambda f: 1000 / f["computed_per_s"]),
    "steps": (1, "s per step by tokens computed", "computed", lambda f: f["step_s"]),
    "rows": (2, "s per 8,192 tokens by row length", None, lambda f: f["step_s"]),
    "prepare": (3, "s to prepare by rows", None, lambda f: f["seconds"]),
}


def _panel(part: str, points: dict[str, Any]) -> list[str]:
    """A curve on two logarithmic axes, each decade as wide as it is high: growth in proportion is parallel to the grey line."""
    column, title, key, value = PANELS[part]
    x = [math.log10(f[key] if key else int(point)) for point, f in points.items()]
    y = [math.log10(value(f)) for f in points.values()]
    decade = min(150 / max(max(x) - min(x), max(y) - min(y), 0.5), 150)
    left, top = 30 + 225 * column, 205
    place = [(left + decade * (a - min(x)), top - decade * (b - min(y))) for a, b in zip(x, y, strict=True)]
    slope = min(decade * (max(x) - min(x)), 150)
    lines = [f'<text x="{left}" y="20" font-weight="bold">{title}</text>']
    lines.append(f'<path d="M{left} {top}l{slope:.1f} {-slope:.1f}" stroke="#ccc" fill="none"/>')
    lines.append(f'<polyline points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in place)}" stroke="#1f6f8b" stroke-width="2" fill="none"/>')
    for (a, b), (point, f) in zip(place, points.items(), strict=True):
        name = f"{int(point):,}".replace(",000,000", "M").replace(",000", "k") if point.isdigit() else point
        lines.append(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5" fill="#1f6f8b"/>')
        lines.append(f'<text x="{a:.1f}" y="{b - 8:.1f}" text-anchor="middle">{value(f):.3g}</text>')
        lines.append(f'<text x="{a:.1f}" y="{top + 18}" text-anchor="middle" fill="#777">{name}</text>')
    return lines
