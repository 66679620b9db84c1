"""Look at what would be trained: a row's tokens, the tree of the first step, what became of every row. No torch."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate, islice
from pathlib import Path as Folder

import jinja2
from rich.console import Console
from rich.text import Text

from instil.batch.trie import Row, lay_out, tree_lines
from instil.core.errors import UserError
from instil.core.files import write_text
from instil.core.ledger import MEANINGS, OUTCOMES, REASONS, Counts, Entry
from instil.core.recipe import Recipe
from instil.stages.prepare import Data, prepare
from instil.stages.say import Teller, harmless, sharing
from instil.template.preview import Example, as_text, examples_of, visible

MOST_LINES = 30  # of the tree, in a terminal
MOST_NODES = 2000  # of the tree, in a page
MOST_REFUSED = 200  # rows in a page
LABEL = 60  # characters of a node's text


@dataclass(frozen=True)
class Shown:
    """A row for the page or the terminal."""

    number: int
    entry: Entry
    examples: list[Example]


def look(
    recipe: Recipe,
    *,
    row: int | None = None,
    html: str | None = None,
    num_rows: int = 20,
    tree: bool = True,
    console: Console | None = None,
) -> Data:
    """Prepare the recipe's data and show it. `row`: number of a row over all sources, from 1 (default: the first trained one).

    Raises UserError where there is no such row, where the page cannot be written, and whatever `prepare` raises.
    """
    tell = Teller(console or Console())
    with tell.preparing() as tick:
        data = prepare(recipe, tell.say, tick)
    counts = count(data)
    chosen = row if row is not None else trained_rows(data)[0]
    _print_row(tell, data, row_at(data, chosen))
    if tree:
        lines = step_tree(data)
        tell.line("tree", "of the first step: every stretch of tokens that is computed once")
        for line in lines[:MOST_LINES]:
            tell.say(line)
        if len(lines) > MOST_LINES:
            tell.say(f"... {len(lines) - MOST_LINES:,} more (--html shows them)")
    _print_counts(tell, data, counts)
    if html is not None:
        first = [row] if row is not None else []
        write_text(Folder(html), page(data, counts, [*first, *_spread(trained_rows(data), num_rows - len(first))]))
        tell.line("page", html)
    return data


def count(data: Data) -> Counts:
    outcomes: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for store, codes in zip(data.stores, data.outcomes, strict=True):
        outcomes.update(OUTCOMES[c] for c in codes.tolist())
        reasons.update(store.reasons[c] for c in store.rows_R["reason"].tolist() if c >= 0)
    return Counts(sum(len(s) for s in data.stores), outcomes, reasons).check()


def row_at(data: Data, number: int) -> Shown:
    """Row `number` over all sources, from 1."""
    left = number - 1
    for store, codes in zip(data.stores, data.outcomes, strict=True):
        if 0 <= left < len(store):
            return Shown(number, store.entry(left, int(codes[left])), examples_of(store.paths(left), data.contract))
        left -= len(store)
    raise UserError(f"--row {number}: the data has rows 1 to {sum(len(s) for s in data.stores)}")


def trained_rows(data: Data) -> list[int]:
    """Numbers of the rows that are trained, over all sources, from 1."""
    begins = accumulate((len(store) for store in data.stores), initial=1)
    return [begin + int(row) for begin, rows in zip(begins, data.rows, strict=False) for row in rows]


def _spread(numbers: list[int], most: int) -> list[int]:
    """At most `most` of them, evenly spread from the first to the last."""
    most = min(most, len(numbers))
    return [numbers[i * (len(numbers) - 1) // max(most - 1, 1)] for i in range(most)]


def step_tree(data: Data) -> list[str]:
    """The tree of the first step, drawn; each node with the beginning of its text."""

    def line(row: Row) -> Callable[[int, int], str]:
        return lambda start, stop: _label(data.contract.tokenizer.decode(row.tokens_T[start : min(stop, start + LABEL)].tolist()))

    rows = lay_out(data.paths_at(0), data.max_tokens, data.recipe.train.average)
    return [drawn for row in rows for drawn in tree_lines(row, line(row))]


def _label(text: str) -> str:
    """The beginning of a text, in one line."""
    shown = visible(text).replace("\n", "")
    return shown if len(shown) <= LABEL else shown[:LABEL] + "…"


def _fate(entry: Entry) -> str:
    why = ": ".join(filter(None, (entry.reason, entry.detail)))
    return f"{entry.outcome} ({why})" if why else entry.outcome


def _print_row(tell: Teller, data: Data, shown: Shown) -> None:
    tell.line("row", f"{shown.number} · {shown.entry.origin} · {_fate(shown.entry)}")
    for place, example in enumerate(shown.examples, 1):
        last = example.tokens[-1]
        weight = "" if example.weight == 1 else f" · weight {example.weight:g}"
        stop = f"stop token {last.text} ({last.id})" if last.kind == "stop" else "no stop token"
        tell.line(f"example {place}", f"{example.num_context:,} tokens of context, {example.num_trained:,} trained · {stop}{weight}")
        text = as_text(example)
        tell.console.print(Text(harmless(text.plain), spans=text.spans), soft_wrap=True)
        tell.console.print()


def _print_counts(tell: Teller, data: Data, counts: Counts) -> None:
    tell.line("template", " · ".join(about(data)))
    for note in data.notes:
        tell.say(note)
    tell.line("sharing", sharing(data, tree=data.recipe.train.packing != "alone"))
    tell.line("ledger", counts.sentence())
    for sentence in _examples_of_fates(data, counts):
        tell.say(sentence)


def _examples_of_fates(data: Data, counts: Counts) -> Iterator[str]:
    """How many rows were refused for each reason, how many shortened; and the first of each."""
    wanted: dict[tuple[str, str | None], str] = {
        ("refused", reason): f"{number:,} {reason}" for reason, number in counts.reasons.most_common()
    }
    wanted |= {("shortened", None): f"{counts.outcomes['shortened']:,} shortened"} if counts.outcomes["shortened"] else {}
    first: dict[tuple[str, str | None], Entry] = {}
    for entry in data.entries():
        if len(first) == len(wanted):
            break
        if (entry.outcome, entry.reason) in wanted:
            first.setdefault((entry.outcome, entry.reason), entry)
    for fate, text in wanted.items():
        yield f"{text}: first at {first[fate].origin}: {first[fate].detail}"


def about(data: Data) -> list[str]:
    """The contract and the rules in a few words each."""
    contract = data.contract
    options = ", ".join(f"{name}: {json.dumps(value)}" for name, value in contract.template.options.items())
    stops = " ".join(contract.stops)
    return [contract.name, *([options] if options else []), f"stops: {stops}", f"longest example {data.rules.max_length:,} tokens"]


def page(data: Data, counts: Counts, numbers: list[int]) -> str:
    """A page that stands alone: the ledger's counts, the rows `numbers` token by token, the tree of the first step, the refused rows."""
    environment = jinja2.Environment(loader=jinja2.PackageLoader("instil", "stages"), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    refused = (entry for entry in data.entries() if entry.outcome == "refused")
    lines = step_tree(data)
    return environment.get_template("look.html").render(
        recipe=data.recipe,
        about=about(data),
        notes=[*data.contract.notes, *data.notes],
        counts=counts,
        outcomes=[(name, counts.outcomes[name], MEANINGS[name]) for name in OUTCOMES if counts.outcomes[name]],
        reasons=[(code, number, REASONS[code].meaning) for code, number in counts.reasons.most_common()],
        rows=[row_at(data, n) for n in numbers],
        num_trained=counts.outcomes["kept"] + counts.outcomes["shortened"],
        refused=list(islice(refused, MOST_REFUSED)),
        num_refused=counts.outcomes["refused"],
        tree=lines[:MOST_NODES],
        num_more=max(0, len(lines) - MOST_NODES),
        sharing=sharing(data, tree=data.recipe.train.packing != "alone"),
        visible=visible,
        fate=_fate,
    )
