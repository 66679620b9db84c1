"""Any table and a file of task templates -> instruction pairs (FLAN, Wei et al. 2021; T0, Sanh et al. 2021; Longpre et al. 2023)."""

import heapq
import random
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any

from instil.core.errors import Refused, UserError, nearest
from instil.core.values import EXAMPLE, Conversation, Message
from instil.data.assemble import check_characters
from instil.data.expand import Reading, Row, Rows, parts_of, seed_of
from instil.data.fields import bad_row
from instil.data.prompts import (
    Pair,
    PromptTemplate,
    TemplateSet,
    laid_out,
    render,
    row_key,
    variables,
    with_choices,
)
from instil.data.prompts_yaml import read_templates

POOL = 256  # rows that worked examples are drawn from: enough that two questions seldom share one, few enough to be held in memory
POOL_SHARE = 0.1  # of all rows, at most: a row of the pool can no longer be held out
LEAST = 8  # rows of the pool at least, or twice as many as a question may show
LOOK = 50  # rows whose columns the templates are checked against

Example = tuple[str, Row]
"""Origin as text, columns."""


def expand_templates(rows: Rows, reading: Reading) -> Rows:
    """Each row once per template that the seed draws for it: {row, template, set, pool, shown, seed, options}.

    The draw depends on the row's content, never on its place. Raises UserError for templates that cannot be used on these rows.
    """
    options = reading.options
    chosen = read_templates(options["templates"])
    usable = [t for t in chosen.templates if options["inverted"] or not t.inverted]
    if not usable:
        raise UserError(f"{options['templates']}: all of its templates are inverted: set `inverted: true`, or add others")
    head = list(islice(rows, LOOK))
    _check_columns(usable, [row for _, row in head if not isinstance(row, Refused)], options["templates"])
    pool = _pool(reading) if options["few_shot"][1] else []
    shown = frozenset(row_key(row) for _, row in pool)
    for origin, row in chain(head, rows):
        if isinstance(row, Refused):
            yield origin, row
        else:
            more = {"set": chosen, "pool": pool, "shown": row_key(row) in shown}
            yield from parts_of(origin, [_part(template, row, reading) | more for template in _drawn(usable, row, reading)])


def templates(row: Row) -> Conversation:
    """A row in the words of one template (`expand_templates`).

    `extra` has `template_id`, `template`, `inverted`, all accepted answers as `references`, the answers to choose from, the origins of the
    worked examples, whether others may show the row as one (`EXAMPLE`: such a row must not be held out), and the columns that the template
    does not name. Raises Refused("prompt_failed") with the template's id.
    """
    template, columns = row.get("template"), row.get("row")
    if not isinstance(template, PromptTemplate) or not isinstance(columns, dict):
        raise bad_row("the row has no template: name a file of templates in `options: {templates: FILE.yaml}`")
    pair = render(template, columns, row["seed"])
    asked = with_choices if row["add_choices"] else _as_written
    examples = _worked(template, pair, row)
    shown = [Pair(asked(example), example.answers) for _, example in examples]
    chosen: TemplateSet = row["set"]
    prompt = laid_out(chosen.layout, shown, asked(pair))
    turns = Message(role="user", content=prompt), Message(role="assistant", content=pair.answers[0])
    check_characters(turns)
    used = variables(template)
    extra: dict[str, Any] = {name: value for name, value in columns.items() if name not in used}
    extra |= {"template_id": template.id, "template": template.name, "inverted": template.inverted, "references": list(pair.answers)}
    extra |= {"answer_choices": list(pair.choices)} if pair.choices else {}
    extra |= {"examples_from": [origin for origin, _ in examples]} if examples else {}
    extra |= {EXAMPLE: True} if row["shown"] else {}
    return Conversation(messages=turns, task=chosen.task, extra=extra)


def _part(template: PromptTemplate, row: Row, reading: Reading) -> Row:
    return {
        "row": row,
        "template": template,
        "few_shot": reading.options["few_shot"],
        "add_choices": reading.options["answer_options"] == "add",
        "seed": seed_of(reading.seed, "render", template.id, row_key(row)),
    }


def _drawn(usable: Sequence[PromptTemplate], row: Row, reading: Reading) -> list[PromptTemplate]:
    """The row's phrasings, in the order of the file."""
    wanted = reading.options["phrasings"]
    if not wanted or wanted >= len(usable):
        return list(usable)
    places = random.Random(seed_of(reading.seed, "phrasing", row_key(row))).sample(range(len(usable)), wanted)
    return [usable[place] for place in sorted(places)]


def _pool(reading: Reading) -> list[Example]:
    """Up to `POOL` different rows, those with the lowest hash, about a `POOL_SHARE` of all at most: any order and any number of copies of
    the same rows gives the same ones."""
    least = max(LEAST, 2 * reading.options["few_shot"][1])
    lowest: dict[int, Example] = {}
    for origin, row in reading.again():
        if isinstance(row, Refused):
            continue
        place = seed_of(reading.seed, "pool", row_key(row))
        lowest.setdefault(place, (str(origin), row))
        if len(lowest) >= 2 * POOL:
            lowest = {place: lowest[place] for place in heapq.nsmallest(POOL, lowest)}
    places = heapq.nsmallest(POOL, lowest)
    return [lowest[place] for number, place in enumerate(places) if number < least or place < POOL_SHARE * 2**64]


def _worked(template: PromptTemplate, pair: Pair, row: Row) -> list[tuple[str, Pair]]:
    """As many worked examples as the seed draws, or as there are: other rows, on which the template does not fail, with other questions."""
    low, high = row["few_shot"]
    chance = random.Random(seed_of(row["seed"], "examples"))
    wanted = chance.randint(low, high)
    found: list[tuple[str, Pair]] = []
    asked = {pair.question}
    for place in _shuffled(len(row["pool"]), chance):
        if len(found) == wanted:
            break
        origin, other = row["pool"][place]
        example = None if other == row["row"] else _rendered(template, other, row["seed"])
        if example and example.question not in asked:
            asked.add(example.question)
            found.append((origin, example))
    return found


def _shuffled(total: int, chance: random.Random) -> Iterator[int]:
    """The numbers below `total` in an order of chance, drawn one by one (Fisher and Yates; only changes are stored)."""
    moved: dict[int, int] = {}
    for place in range(total):
        drawn = chance.randrange(place, total)
        yield moved.get(drawn, drawn)
        moved[drawn] = moved.get(place, place)


def _rendered(template: PromptTemplate, row: Row, seed: int) -> Pair | None:
    try:
        return render(template, row, seed)
    except Refused:
        return None


def _as_written(pair: Pair) -> str:
    return pair.question


def _check_columns(usable: Sequence[PromptTemplate], rows: Sequence[Row], where: str) -> None:
    columns = {name for row in rows for name in row}
    for template in usable:
        for name in sorted(variables(template) - columns) if columns else []:
            raise UserError(f"{where}: template {template.id} names '{name}', which the rows do not have; {nearest(name, columns)}")
