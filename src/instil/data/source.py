"""One `Source` of a recipe -> its rows as conversations, each with its fate so far."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice, repeat
from pathlib import Path

from instil.core.errors import Refused, UserError, nearest
from instil.core.recipe import Source, amount_of
from instil.core.values import Conversation, Origin
from instil.data.detect import columns_of, detect, foreign, format_of, shown
from instil.data.files import files_of
from instil.data.formats import EVERY_FORMAT, FORMATS, MAY_HAVE, NEEDS, Format
from instil.data.readers import Row, Rows, read_rows

LOOK = 50  # rows that a format is detected from


@dataclass(frozen=True, slots=True)
class Item:
    """One row: a conversation, or why there is none (`refused`), or neither because `take` did not draw it (`taken` is False)."""

    origin: Origin
    conversation: Conversation | None = None
    refused: Refused | None = None
    taken: bool = True


def read_source(source: Source, announce: Callable[[str], None], seed: int) -> Iterator[Item]:
    """Every row of `source`, in order of file and line, exactly once.

    Detects the format from the first rows and says so through `announce`. `source.take` draws by `seed` from all rows, refused ones
    included; the files are read twice then, since a share needs their number. Memory does not grow with the number of rows.

    Raises UserError for whatever concerns the source as a whole: no files, unreadable files, an unknown format, a wrong column map.
    """
    files = files_of(source.path)
    parse = FORMATS[_known(source.format)] if source.format else None
    drawn: Iterator[bool] = repeat(True)
    if source.take:
        total = sum(1 for _ in _rows(files))
        drawn = draw(total, amount_of(source.take, total), seed)
    rows = _rows(files)
    head = list(islice(rows, LOOK))
    first = [row for _, row in head if isinstance(row, dict)]
    _check_columns(source, first)
    detected = None
    if parse is None:
        detected = _detected(source, first, head)
        announce(f"{source.path}: format {detected} (detected)")
        parse = FORMATS[detected]
    for (origin, row), taken in zip(chain(head, rows), chain(drawn, repeat(False)), strict=False):
        yield _item(origin, row, source, parse, detected) if taken else Item(origin, taken=False)


def draw(total: int, wanted: int, seed: int) -> Iterator[bool]:
    """Whether each of `total` rows is among the `wanted` drawn ones, in order: every set of that size equally likely, nothing stored.

    Algorithm S (selection sampling) of Knuth, The Art of Computer Programming, volume 2, section 3.4.2.
    """
    chance = random.Random(seed)
    for left in range(total, 0, -1):
        hit = chance.random() * left < wanted
        wanted -= hit
        yield hit


def map_columns(row: Row, columns: dict[str, str]) -> Row:
    """The row under the format's field names; a column that is not mapped keeps its own."""
    mapped = {name: value for name, value in row.items() if name not in columns.values()}
    return mapped | {field: row[column] for field, column in columns.items() if column in row}


def _rows(files: Sequence[tuple[Path, str]]) -> Rows:
    return chain.from_iterable(read_rows(file, name) for file, name in files)


def _item(origin: Origin, row: Row | Refused, source: Source, parse: Format, detected: str | None) -> Item:
    if isinstance(row, Refused):
        return Item(origin, refused=row)
    if source.columns:
        row = map_columns(row, source.columns)
    try:
        if detected and (other := foreign(row)):
            raise Refused("bad_row", f"among rows of format {detected}, this one looks like {other}")
        conversation = parse(row)
    except Refused as refused:
        return Item(origin, refused=_hinted(refused, row, parse))
    return Item(origin, replace(conversation, origin=origin, task=conversation.task or source.task))


def _hinted(refused: Refused, row: Row, parse: Format) -> Refused:
    """A copy without the traceback, which would keep the row alive; for mixed files it says which format the row would do in."""
    looks = detect(row)
    hint = f"; it looks like format {looks}: give its file a source of its own" if looks and FORMATS[looks] is not parse else ""
    return Refused(refused.code, refused.detail + hint)


def _detected(source: Source, first: list[Row], head: list[tuple[Origin, Row | Refused]]) -> str:
    if not first:
        problem = next(row.detail for _, row in head if isinstance(row, Refused))
        raise UserError(f"{source.path}: none of its first {len(head)} rows can be read ({problem}): check what kind of file it is")
    return format_of([map_columns(row, source.columns) for row in first], source.path)


def _known(name: str) -> str:
    if name not in FORMATS:
        raise UserError(f"unknown format '{name}'; {nearest(name, FORMATS)}")
    return name


def _check_columns(source: Source, first: list[Row]) -> None:
    names = [source.format] if source.format else list(FORMATS)
    fields = {field for name in names for field in (*NEEDS[name], *MAY_HAVE[name])} | set(EVERY_FORMAT)
    columns = columns_of(first)
    for field, column in source.columns.items():
        if field not in fields:
            what = f"format {source.format}" if source.format else "any format"
            raise UserError(f"{source.path}: `columns:` maps '{field}', which is no field of {what}; {nearest(field, fields)}")
        if first and column not in columns:
            raise UserError(f"{source.path}: `columns:` names '{column}', which its rows do not have; they have {shown(columns)}")
