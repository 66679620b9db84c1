"""Fields of a row, with the type that a format needs; what is missing or of another type refuses the row by the field's name."""

import json
from collections.abc import Mapping
from typing import Any

from instil.core.errors import Refused

Fields = Mapping[str, Any]


def bad_row(sentence: str) -> Refused:
    """The refusal, in one line that any file can hold, whatever names the row gave its fields."""
    return Refused("bad_row", " ".join(sentence.split()).encode(errors="backslashreplace").decode())


def required_text(row: Fields, field: str, where: str = "the row") -> str:
    value = row.get(field)
    if isinstance(value, str):
        return value
    raise _not_text(field, value, where) if value is not None else missing(row, field, where)


def optional_text(row: Fields, field: str, where: str = "the row") -> str:
    """The text of `field`, empty where it is absent or null."""
    value = row.get(field)
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    raise _not_text(field, value, where)


def required_list(row: Fields, field: str) -> list[Any]:
    """The list of `field`, or the list that its JSON text holds (as tables of text have it)."""
    value = row.get(field)
    if isinstance(value, str):
        value = from_json(value)
    if isinstance(value, list) and value:
        return value
    if row.get(field) is None:
        raise missing(row, field, "the row")
    raise bad_row(f"field '{field}' is {'an empty list' if value == [] else kind(row[field])}, not a list of turns")


def missing(row: Fields, field: str, where: str) -> Refused:
    has = ", ".join(str(name) for name, value in row.items() if value is not None)
    return bad_row(f"{where} has no '{field}' (it has: {has[:200] or 'nothing'})")


def first_of(row: Fields, names: tuple[str, ...]) -> str | None:
    """The first of `names` that the row has a value for."""
    return next((name for name in names if row.get(name) is not None), None)


def from_json(text: str) -> Any:
    """The value of JSON text, None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def weight_of(turn: Fields, where: str) -> float:
    """Training weight of a turn: 1.0, or what `weight`, `train`, `loss_weight` or `loss` says. Refused where they contradict each other."""
    given = {name: turn[name] for name in ("weight", "train", "loss_weight", "loss") if turn.get(name) is not None}
    for name, value in given.items():
        if not isinstance(value, int | float) or not 0 <= value < 1e9:  # also NaN
            raise bad_row(f"{where}: '{name}' is {value!r:.40}, not a number from 0 up, true or false")
    weights = {float(value) for value in given.values()}
    if len(weights) > 1:
        raise bad_row(f"{where}: {' and '.join(given)} contradict each other")
    return weights.pop() if weights else 1.0


def kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number", type(None): "null"}
    return names.get(type(value), f"a {type(value).__name__}")


def _not_text(field: str, value: Any, where: str) -> Refused:
    return bad_row(f"'{field}' of {where} is {kind(value)}, not text")
