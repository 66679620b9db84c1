"""Tool calls out of what a model wrote, in the format in which its template writes them.

The format is not looked up in a table of families: a call is rendered through the template, and what stands around its JSON is the format
(`<tool_call>` tags, a list behind `[TOOL_CALLS]`, bare JSON).
"""

import json
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from instil.core.errors import Refused
from instil.core.values import Conversation, Message, ToolCall
from instil.template.contract import Contract
from instil.template.turns import turn_at

PROBE = ToolCall("fprobe", {"aprobe": 1}, "call00001")
TOOL = {
    "type": "function",
    "function": {"name": "fprobe", "description": "d", "parameters": {"type": "object", "properties": {"aprobe": {"type": "integer"}}}},
}


@dataclass(frozen=True)
class CallFormat:
    """`opening` and `closing` stand around the JSON of a call, or around a list of calls (`listed`); its name and arguments lie under
    `name_key` and `arguments_key`."""

    opening: str
    closing: str
    name_key: str
    arguments_key: str
    listed: bool

    def parse(self, text: str, known: Collection[str]) -> tuple[str, list[ToolCall]]:
        """What was said beside the calls, and the calls. Text that only looks like one (no JSON, no `known` tool) stays text."""
        said, calls, at = "", [], 0
        while (start := self._next(text, at)) is not None:
            found = self._read(text, start + len(self.opening), known)
            if found is None:
                break
            said += text[at:start]
            calls += found[0]
            at = found[1]
        return (said + text[at:]).strip() if calls else text, calls

    def may_begin(self, text: str) -> int:
        """How much of `text` is surely no part of a call: up to where one opens, or may be about to."""
        if not self.opening:
            stripped = text.lstrip()
            return 0 if not stripped or stripped[0] in "[{" else len(text)
        if (at := text.find(self.opening)) >= 0:
            return at
        for size in range(min(len(self.opening) - 1, len(text)), 0, -1):
            if self.opening.startswith(text[-size:]):
                return len(text) - size
        return len(text)

    def _next(self, text: str, at: int) -> int | None:
        if self.opening:
            start = text.find(self.opening, at)
            return start if start >= 0 else None
        while at < len(text) and text[at].isspace():
            at += 1
        return at if at < len(text) and text[at] in "[{" else None

    def _read(self, text: str, at: int, known: Collection[str]) -> tuple[list[ToolCall], int] | None:
        while at < len(text) and text[at].isspace():
            at += 1
        try:
            value, end = json.JSONDecoder().raw_decode(text, at)
        except (ValueError, RecursionError):
            return None
        values = value if isinstance(value, list) else [value]
        calls = [call for one in values if (call := self._call(one, known)) is not None]
        if not calls or len(calls) != len(values):
            return None
        behind = text[end:].lstrip()
        close = self.closing.strip()
        if close and behind.startswith(close):
            end = len(text) - len(behind) + len(close)
        return calls, end

    def _call(self, value: Any, known: Collection[str]) -> ToolCall | None:
        if not isinstance(value, dict) or value.get(self.name_key) not in known:
            return None
        arguments = value.get(self.arguments_key, {})
        return ToolCall(value[self.name_key], arguments if isinstance(arguments, dict | str) else {}, f"call_{secrets.token_hex(12)}")


def call_format(contract: Contract) -> CallFormat | None:
    """How the template writes a call; None where it writes none, or not as JSON."""
    asked = Message(role="user", content="x")
    talk = Conversation(messages=(asked, Message(role="assistant", tool_calls=(PROBE,))), tools=(TOOL,))
    try:
        written = turn_at(talk, 1, contract, frozenset({"inexact"})).completion
    except Refused:
        return None
    for stop in contract.stops:
        written = written.removesuffix(stop)
    for start in (at for at, character in enumerate(written) if character in "[{"):
        try:
            value, end = json.JSONDecoder().raw_decode(written, start)
        except ValueError:
            continue
        one = value[0] if isinstance(value, list) and value else value
        keys = _keys(one)
        if keys:
            return CallFormat(written[:start].strip(), written[end:].strip(), *keys, isinstance(value, list))
    return None


def _keys(value: Any) -> tuple[str, str] | None:
    if not isinstance(value, dict):
        return None
    name = next((key for key, held in value.items() if held == PROBE.name), None)
    arguments = next((key for key, held in value.items() if held in (PROBE.arguments, json.dumps(PROBE.arguments))), None)
    return (name, arguments) if name and arguments else None
