"""What format a row has, or what it is instead and what it lacks."""

from collections.abc import Sequence
from typing import Any

from instil.core.errors import UserError
from instil.data.fields import Fields, first_of, from_json
from instil.data.formats import NEEDS
from instil.data.turns import TURN_FIELDS

Row = dict[str, Any]

# Column names seen in the wild for what a format calls otherwise. Only for advice: nothing is renamed without a `columns:` entry.
_SYNONYMS = {
    "prompt": ("question", "query", "problem", "input", "instruction", "source"),
    "completion": ("answer", "response", "output", "solution", "target", "reply"),
    "instruction": ("prompt", "question", "query", "problem"),
    "output": ("answer", "completion", "response", "solution", "target", "reply"),
    "response": ("answer", "output", "completion"),
    "messages": ("dialog", "dialogue", "chat", "turns"),
    "conversations": ("dialog", "dialogue", "chat", "turns"),
}


def detect(row: Row) -> str | None:
    """Name of the row's format, None where it has none of them or is known to be something else (`foreign`)."""
    if foreign(row):
        return None
    if keys := turn_keys(row):
        if "role" in keys and keys & {"content", "tool_calls", "function_call"}:
            return "messages"
        return "sharegpt" if keys & {"from", "role"} and keys & {"value", "text"} else None
    if row.get("prompt") is not None and row.get("completion") is not None:
        return "prompt_completion"
    if isinstance(row.get("instruction"), str):
        if "context" in row and "response" in row:
            return "dolly"
        return "alpaca" if "output" in row or "response" in row else None
    return None


def turn_keys(row: Row) -> set[str]:
    """Field names of the row's turns, empty where it has none."""
    field = first_of(row, TURN_FIELDS)
    turns = row[field] if field else None
    if isinstance(turns, str):
        turns = from_json(turns)
    return {key for turn in turns for key in turn} if isinstance(turns, list) and all(isinstance(turn, dict) for turn in turns) else set()


def foreign(row: Fields) -> str | None:
    """What a row of a known other kind is and lacks, as the end of a sentence; its fields may look like a format's."""
    if "rejected" in row and ("chosen" in row or "prompt" in row):
        return "preference pairs (chosen, rejected), and preference data is not for `instil train`: give answers to imitate"
    if _is_verdict(row.get("label")) or _is_verdict(row.get("kto_tag")):
        return "answers judged good or bad (label), and preference data is not for `instil train`: keep the good ones and drop the label"
    if isinstance(row.get("prompt"), dict) and "replies" in row["prompt"]:
        return "conversation trees (prompt with replies), which have no single dialogue: write each path that you want as a row of messages"
    if "instances" in row and "instruction" in row:
        return "tasks whose inputs and outputs lie in `instances`: write one row with instruction, input and output per instance"
    if "Instances" in row and "Definition" in row:
        return "Super-NaturalInstructions tasks (Definition, Instances): write one row with instruction, input and output per instance"
    if "function" in row and "question" in row:
        return "function-calling questions without answers: add the assistant's turn and write rows of messages with tools"
    if "ground_truth" in row and not row.keys() & {"question", "prompt", "instruction"}:
        return "answers without their questions (ground_truth): join them with the file of questions into rows of messages"
    return None


def _is_verdict(label: Any) -> bool:
    return isinstance(label, bool) or (isinstance(label, str) and label.lower() in ("true", "false"))


def format_of(rows: Sequence[Row], where: str) -> str:
    """The one format of a source's first rows. Raises UserError that says what they are, or what the nearest format lacks."""
    found = list(dict.fromkeys(name for row in rows if (name := detect(row))))
    if len(found) > 1:
        raise UserError(f"{where}: its rows look like {' and '.join(found)}: give each format a source of its own, or set `format:`")
    if found:
        return found[0]
    if other := next((sentence for row in rows if (sentence := foreign(row))), None):
        raise UserError(f"{where}: its rows are {other}")
    raise UserError(f"{where}: {_advice(rows)}")


def columns_of(rows: Sequence[Row]) -> list[str]:
    return [str(name) for name in dict.fromkeys(name for row in rows for name in row)]


def shown(columns: Sequence[str]) -> str:
    return ", ".join(columns[:15]) + (", ..." if len(columns) > 15 else "")


def _advice(rows: Sequence[Row]) -> str:
    columns = columns_of(rows)
    if keys := set[str]().union(*map(turn_keys, rows)):
        return (
            f"its turns have {shown(sorted(keys))}, but turns need role and content (format messages) or from and value (format sharegpt): "
            "rename their fields"
        )
    fits = {name: {field: _column_for(field, columns) for field in fields} for name, fields in NEEDS.items()}
    # A name that fits counts for more than a synonym of it, and for less than two.
    scores = {
        name: sum((c is not None) + 0.5 * (c is not None and c.lower() == f) for f, c in fit.items()) / len(fit)
        for name, fit in fits.items()
    }
    nearest = max(scores, key=lambda name: scores[name])
    lacks = [field for field in NEEDS[nearest] if field not in columns]
    entry = ", ".join(f"{field}: {fits[nearest][field] or '<column>'}" for field in lacks or NEEDS[nearest])
    return (
        f"no known format has its columns ({shown(columns)}); the nearest is {nearest}, "
        f"which lacks {' and '.join(lacks) or 'a usable value'}: map what there is, e.g. `columns: {{{entry}}}`"
    )


def _column_for(field: str, columns: Sequence[str]) -> str | None:
    lower = {column.lower(): column for column in reversed(columns)}
    return next((lower[name] for name in (field, *_SYNONYMS.get(field, ())) if name in lower), None)
