"""Row -> Conversation, one function per format. A new one: write the function, add it to `FORMATS` and `NEEDS` below, teach `detect`."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from instil.core.values import Conversation, Message
from instil.data.fields import Fields, bad_row, first_of, kind, missing, optional_text, required_list, required_text
from instil.data.tools import TOOL_FIELDS, read_tools
from instil.data.turns import TURN_FIELDS, read_turns

Format = Callable[[dict[str, Any]], Conversation]
"""Raises `Refused("bad_row")` naming the field that is missing or of the wrong type. The origin is filled in by `source.read_source`."""

TASK_FIELDS = ("task", "task_name", "category")
_MESSAGES = (("role",), ("content",))
_SHAREGPT = (("from", "role"), ("value", "content", "text"))


def messages(row: dict[str, Any]) -> Conversation:
    """OpenAI's chat shape: `messages` (or `conversations`) of `{role, content, ...}`, with `tools` or `functions` beside them."""
    return _dialogue(row, *_MESSAGES)


def sharegpt(row: dict[str, Any]) -> Conversation:
    """`conversations` of `{from, value}` under any role name in use; `function_call` entries join the assistant's turn before them."""
    return _dialogue(row, *_SHAREGPT)


def alpaca(row: dict[str, Any]) -> Conversation:
    """`instruction`, optional `input`, `output` (or `response`), optional `system` and `history` ([user, assistant] pairs, oldest first).

    `extra` holds the pair as `instruction` and `input`, for templates that set them apart.
    """
    answer = first_of(row, ("output", "response")) or "output"
    return _instruction(row, "input", answer, _history(row))


def dolly(row: dict[str, Any]) -> Conversation:
    """`instruction`, optional `context`, `response`; `category` is the task. The context stands where Alpaca has its input."""
    return _instruction(row, "context", "response", ())


def prompt_completion(row: dict[str, Any]) -> Conversation:
    """`prompt` and `completion`, each a text or a list of OpenAI messages. All of a prompt is context: its assistant turns weigh 0."""
    prompt = _side(row, "prompt", "user")
    context = tuple(replace(turn, weight=0.0) if turn.role == "assistant" else turn for turn in prompt)
    return _conversation(row, context + _side(row, "completion", "assistant"), ("prompt", "completion"))


FORMATS: dict[str, Format] = {
    "messages": messages,
    "alpaca": alpaca,
    "dolly": dolly,
    "sharegpt": sharegpt,
    "prompt_completion": prompt_completion,
}

NEEDS: dict[str, tuple[str, ...]] = {
    "prompt_completion": ("prompt", "completion"),
    "alpaca": ("instruction", "output"),
    "dolly": ("instruction", "context", "response"),
    "messages": ("messages",),
    "sharegpt": ("conversations",),
}
"""Fields that a row of the format has."""

MAY_HAVE: dict[str, tuple[str, ...]] = {
    "prompt_completion": (),
    "alpaca": ("input", "response", "history"),
    "dolly": (),
    "messages": TURN_FIELDS,
    "sharegpt": TURN_FIELDS,
}
"""Fields that it may have besides `EVERY_FORMAT`'s."""
EVERY_FORMAT = ("system", *TOOL_FIELDS, *TASK_FIELDS)


def _dialogue(row: dict[str, Any], role_fields: tuple[str, ...], text_fields: tuple[str, ...]) -> Conversation:
    field = first_of(row, TURN_FIELDS) or TURN_FIELDS[0]
    return _conversation(row, read_turns(required_list(row, field), role_fields, text_fields), (field,))


def _instruction(row: dict[str, Any], input_field: str, answer_field: str, history: tuple[Message, ...]) -> Conversation:
    instruction = required_text(row, "instruction")
    given = optional_text(row, input_field)
    answer = required_text(row, answer_field)
    asked = Message(role="user", content=f"{instruction}\n\n{given}" if given.strip() else instruction)
    used = ("instruction", input_field, answer_field, "history")
    turns = (*history, asked, Message(role="assistant", content=answer))
    return _conversation(row, turns, used, {"instruction": instruction, "input": given})


def _history(row: Fields) -> tuple[Message, ...]:
    pairs = row.get("history") or []
    if not isinstance(pairs, list):
        raise bad_row(f"'history' is {kind(pairs)}, not a list of [user, assistant] pairs")
    turns: list[Message] = []
    for number, pair in enumerate(pairs, 1):
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise bad_row(f"entry {number} of 'history' is not a pair of texts, [user, assistant]")
        turns += [Message(role="user", content=pair[0]), Message(role="assistant", content=pair[1])]
    return tuple(turns)


def _side(row: Fields, field: str, role: str) -> tuple[Message, ...]:
    value = row.get(field)
    if value is None:
        raise missing(row, field, "the row")
    if isinstance(value, str):
        return (Message(role=role, content=value),)
    return read_turns(required_list(row, field), *_MESSAGES)


def _conversation(row: Fields, turns: tuple[Message, ...], used: tuple[str, ...], pair: Fields | None = None) -> Conversation:
    """What all formats share: `system`, tools, the task label, everything else (and `pair`) kept in `extra`."""
    system = optional_text(row, "system")
    if system:
        turns = _with_system(turns, system)
    label = next((name for name in TASK_FIELDS if isinstance(row.get(name), str) and row[name]), None)
    taken = {*used, *TOOL_FIELDS, "system", label}
    extra = {name: value for name, value in row.items() if name not in taken} | dict(pair or {})
    tools = read_tools(row)
    task = row[label] if label else ""
    _check_characters(turns, tools, task)
    return Conversation(messages=turns, tools=tools, task=task or None, extra=extra)


def _with_system(turns: tuple[Message, ...], system: str) -> tuple[Message, ...]:
    if turns[0].role != "system":
        return (Message(role="system", content=system), *turns)
    if turns[0].content != system:
        raise bad_row("the row's 'system' and its first turn (system) differ: keep one")
    return turns


def _check_characters(turns: tuple[Message, ...], tools: Any, label: str) -> None:
    """JSON can spell half a surrogate pair; no tokenizer and no file can hold one."""
    for number, turn in enumerate(turns, 1):
        calls = _spelled([call.arguments for call in turn.tool_calls]) if turn.tool_calls else ""
        _check(turn.content + (turn.reasoning or "") + calls, number)
    _check(label + (_spelled(tools) if tools else ""), 0)


def _check(text: str, turn: int) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        where = f"turn {turn}" if turn else "the task or a tool"
        raise bad_row(f"{where} holds half a surrogate pair (\\u{ord(text[error.start]):04x}), which is no character") from None


def _spelled(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)  # default: Parquet may hold dates
