"""What every export is asked: texts, conversations, tools. Small, varied, and the same for all, so that reports can be compared."""

from collections.abc import Sequence

from instil.core.errors import Refused
from instil.core.values import Conversation, Message, ToolCall
from instil.template.contract import Contract

TEXTS = (
    "Hello, world!",
    "The quick brown fox jumps over the lazy dog.",
    " leading space",
    "trailing space ",
    "two  spaces,   three",
    "line one\nline two\n\nline four\n",
    "\ttabs\tand\r\nreturns",
    "1234567890 3.14159 1,000,000 2026-11-26",
    "I'm, you'll, we've, they'd, it's; DON'T",
    "naïve café, Zwölf Boxkämpfer, Ærøskøbing",
    "日本語の文章と中文句子",
    "Привет, как дела?",
    "مرحبا بالعالم",
    "👩‍👩‍👧 🙂🚀",
    "def f(x: int) -> int:\n    return x**2  # squared\n",
    '{"key": [1, 2.5, null, true], "text": "a \\"quoted\\" word"}',
    "https://example.org/path?query=1&other=two#part",
    "A",
    "…—“quotes” ‘single’ «guillemets»",
    "ALLCAPS MixedCase snake_case camelCase kebab-case",
)

ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "adds two numbers",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a", "b"]},
    },
}


def _talk(*turns: tuple[str, str]) -> Conversation:
    return Conversation(messages=tuple(Message(role=role, content=content) for role, content in turns))


CHATS = {
    "single": _talk(("user", "What is 2+2?")),
    "single, untidy": _talk(("user", "  Name three\n\ncolours \n")),
    "single, other scripts": _talk(("user", "Übersetze «東京» 🙂, bitte.")),
    "multi-turn": _talk(("user", "What is 2+2?"), ("assistant", "4."), ("user", "And 3+3?")),
    "long": _talk(*((role, f"{role} {k}") for k in range(3) for role in ("user", "assistant")), ("user", "And now?")),
    "system": _talk(("system", "Be brief."), ("user", "What is 2+2?")),
    "system, multi-turn": _talk(("system", "Be brief."), ("user", "Hi!"), ("assistant", "Hello."), ("user", "Bye!")),
    "tools": Conversation(messages=(Message(role="user", content="Add 2 and 3."),), tools=(ADD,)),
    "tools, answered": Conversation(
        messages=(
            Message(role="user", content="Add 2 and 3."),
            Message(role="assistant", tool_calls=(ToolCall("add", {"a": 2, "b": 3}, "call00000"),)),
            Message(role="tool", content="5", tool_call_id="call00000", name="add"),
        ),
        tools=(ADD,),
    ),
}


def chats_for(contract: Contract) -> tuple[Conversation, ...]:
    """Those of `CHATS` that the contract takes: a template without tools or a system message is not asked about them."""
    found = []
    for name, chat in CHATS.items():
        if ("system" in name and "system" not in contract.shows) or (chat.tools and not {"tools", "tool_calls", "tool"} <= contract.shows):
            continue
        try:
            contract.prompt(chat.messages, chat.tools)
        except Refused:
            continue
        found.append(chat)
    return tuple(found)


def texts_for(contract: Contract) -> Sequence[str]:
    """Those of `TEXTS` that hold no control token."""
    return [text for text in TEXTS if not contract.forbidden("user").search(text)]
