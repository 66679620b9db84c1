"""Dialogues for any chat template, and their marking: an oracle that says of each character whose it is.

Marked, every letter and digit of message k lies in a Unicode range of its own (private use), so that whatever a mask trains can be judged
character by character, without any knowledge of templates.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from instil.core.values import Conversation, Message, ToolCall
from instil.template.render import map_text

FIRST, PER_MESSAGE = 0xE100, 128
PRIVATE = re.compile("[\ue100-\uf8ff]")

ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "adds two numbers",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a", "b"]},
    },
}


def user(content: str) -> Message:
    return Message(role="user", content=content)


def system(content: str) -> Message:
    return Message(role="system", content=content)


def answer(content: str, reasoning: str | None = None, weight: float = 1.0) -> Message:
    return Message(role="assistant", content=content, reasoning=reasoning, weight=weight)


def call(*arguments: dict[str, int], reasoning: str | None = None, content: str = "") -> Message:
    calls = tuple(ToolCall("add", a, f"call{k:05}") for k, a in enumerate(arguments))
    return Message(role="assistant", content=content, reasoning=reasoning, tool_calls=calls)


def told(content: str, k: int = 0) -> Message:
    return Message(role="tool", content=content, tool_call_id=f"call{k:05}", name="add")


def talk(*messages: Message, tools: bool = False) -> Conversation:
    return Conversation(messages=messages, tools=(ADD,) if tools else ())


def openai(message: Message, parts: bool = False) -> dict[str, Any]:
    """As a client of a server would send it."""
    sent: dict[str, Any] = {"role": message.role, "content": [{"type": "text", "text": message.content}] if parts else message.content}
    calls = [{"type": "function", "function": {"name": c.name, "arguments": c.arguments}, "id": c.id} for c in message.tool_calls]
    sent |= {"reasoning_content": message.reasoning, "tool_calls": calls or None}
    sent |= {"tool_call_id": message.tool_call_id, "name": message.name}
    return {key: value for key, value in sent.items() if value is not None}


DIALOGUES = {
    "plain": talk(user("What is 2+2?"), answer("It is 4."), user("And 3+3?"), answer("6, of course.")),
    "system": talk(system("Be brief."), user("What is 2+2?"), answer("It is 4."), user("And 3+3?"), answer("6, of course.")),
    "untidy": talk(user("  What\n\n is 2+2? \n"), answer("\n It is 4. \n\n"), user("\tAnd 3+3?"), answer("  6.")),
    "repeated": talk(user("Four."), answer("Four."), user("Four."), answer("Four."), user("Fou"), answer("Four")),
    "reasoning": talk(
        user("What is 2+2?"), answer("It is 4.", "two and two"), user("And 3+3?"), answer("6.", "three and three"), user("5?"), answer("5.")
    ),
    "reasoning throughout": talk(
        user("What is 2+2?"), answer("It is 4.", "two and two"), user("And 3+3?"), answer("6.", "three and three")
    ),
    "reasoning in the content": talk(user("What is 2+2?"), answer("<think>\ntwo and two\n</think>\n\nIt is 4.")),
    "tools": talk(user("Add 2 and 2."), call({"a": 2, "b": 2}), told("4"), answer("It is 4."), user("Thanks"), answer("Bye."), tools=True),
    "tools after reasoning": talk(
        user("Add 2 and 2."), call({"a": 2, "b": 2}, reasoning="I must add"), told("4"), answer("It is 4.", "the tool said so"), tools=True
    ),
    "last turn from the user": talk(user("What is 2+2?"), answer("It is 4."), user("And 3+3?")),
    "many turns": talk(*(m for k in range(8) for m in (user(f"Question {k}?"), answer(f"Answer {k}.")))),
}


def mark(conversation: Conversation) -> Conversation:
    """Letters and digits of message k moved into its range, except inside <tags>; reasoning and calls have their message's range."""
    return replace(conversation, messages=tuple(map_text(m, _mover(k)) for k, m in enumerate(conversation.messages)))


def _mover(k: int) -> Callable[[str], str]:
    def move(text: str) -> str:
        return re.sub(r"(<[^<>\s]*>)|[A-Za-z0-9]", lambda m: m[1] or chr(FIRST + k * PER_MESSAGE + ord(m[0])), text)

    return move


def unmark(text: str) -> str:
    return PRIVATE.sub(lambda m: chr((ord(m[0]) - FIRST) % PER_MESSAGE), text)


def owner(character: str) -> int | None:
    """The message that a character of a marked text belongs to; None: the template's (or white space, punctuation, a tag)."""
    return (ord(character) - FIRST) // PER_MESSAGE if PRIVATE.match(character) else None


def letters_of(text: str) -> str:
    """The marked characters of a text, in order."""
    return "".join(PRIVATE.findall(text))
