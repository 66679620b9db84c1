"""What goes back: pieces of answers as OpenAI's objects, whole or as a stream of chunks."""

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from instil.core.values import ToolCall
from instil.serve.tool_calls import CallFormat
from instil.serve.values import Piece, Served, TokenInfo, Wanted
from instil.template.tokenizer import ChatTokenizer


@dataclass(frozen=True)
class Head:
    """What all objects of one reply have in common."""

    served: Served
    chat: bool
    id: str
    created: int

    @classmethod
    def of(cls, served: Served, chat: bool) -> "Head":
        return cls(served, chat, f"{'chatcmpl' if chat else 'cmpl'}-{secrets.token_hex(12)}", int(time.time()))

    def record(self, choices: list[dict[str, Any]], *, chunk: bool, usage: dict[str, int] | None = None) -> dict[str, Any]:
        kind = ("chat.completion.chunk" if chunk else "chat.completion") if self.chat else "text_completion"
        record = {"id": self.id, "object": kind, "created": self.created, "model": self.served.id, "choices": choices}
        return record if usage is None else {**record, "usage": usage}


@dataclass
class Choice:
    """One answer as it grows. `calls`: the format of tool calls, where tools were offered, and the names that may be called."""

    index: int
    wanted: Wanted
    calls: CallFormat | None = None
    known: frozenset[str] = frozenset()
    text: str = ""
    told: int = 0
    tokens: list[TokenInfo] = field(default_factory=list)
    finish: str | None = None

    def take(self, piece: Piece) -> None:
        self.text += piece.text
        self.tokens += piece.tokens
        self.finish = piece.finish or self.finish

    @property
    def written(self) -> int:
        return sum(not token.in_prompt for token in self.tokens)

    def parsed(self) -> tuple[str, list[ToolCall]]:
        """What was said, and what is called."""
        return self.calls.parse(self.text, self.known) if self.calls else (self.text, [])

    def news(self) -> tuple[str, list[ToolCall]]:
        """What can be told by now and was not: text that is surely no call, and at the end the calls."""
        if self.finish:
            said, called = self.parsed()
            new = said[self.told :] if said.startswith(self.text[: self.told]) else ""
            return new, called
        sure = self.calls.may_begin(self.text) if self.calls else len(self.text)
        new, self.told = self.text[self.told : sure], max(self.told, sure)
        return new, []


def usage(choices: Sequence[Choice]) -> dict[str, int]:
    """Prompts count once, whatever the number of choices; tokens that stop count as written."""
    prompt = sum(len(tokens) for tokens in {choice.wanted.prompt for choice in choices})
    written = sum(choice.written for choice in choices)
    return {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}


def whole(head: Head, choices: Sequence[Choice]) -> dict[str, Any]:
    make = _chat_choice if head.chat else _text_choice
    return head.record([make(head, choice) for choice in choices], chunk=False, usage=usage(choices))


def _chat_choice(head: Head, choice: Choice) -> dict[str, Any]:
    said, called = choice.parsed()
    message: dict[str, Any] = {"role": "assistant", "content": said or (None if called else ""), "refusal": None}
    if called:
        message["tool_calls"] = [_call(call) for call in called]
    logprobs = chat_logprobs(head.served.tokenizer, choice.tokens) if choice.wanted.logprobs is not None else None
    finish = "tool_calls" if called and choice.finish == "stop" else choice.finish
    return {"index": choice.index, "message": message, "logprobs": logprobs, "finish_reason": finish}


def _call(call: ToolCall) -> dict[str, Any]:
    arguments = call.arguments if isinstance(call.arguments, str) else json.dumps(call.arguments, ensure_ascii=False)
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _text_choice(head: Head, choice: Choice) -> dict[str, Any]:
    tokenizer, wanted = head.served.tokenizer, choice.wanted
    before = tokenizer.decode(wanted.prompt) if wanted.echo else ""
    logprobs = text_logprobs(tokenizer, choice.tokens) if wanted.logprobs is not None else None
    return {"index": choice.index, "text": before + choice.text, "logprobs": logprobs, "finish_reason": choice.finish}


def opening(head: Head, choice: Choice) -> list[dict[str, Any]]:
    """What a stream says of a choice before its first token."""
    if head.chat:
        delta = {"role": "assistant", "content": "", "refusal": None}
        return [head.record([{"index": choice.index, "delta": delta, "logprobs": None, "finish_reason": None}], chunk=True)]
    if choice.wanted.echo:
        text = head.served.tokenizer.decode(choice.wanted.prompt)
        return [head.record([{"index": choice.index, "text": text, "logprobs": None, "finish_reason": None}], chunk=True)]
    return []


def chunks(head: Head, choice: Choice, piece: Piece) -> list[dict[str, Any]]:
    """What a stream says of a choice that has just taken `piece`."""
    made = []
    text, called = choice.news()
    wants = choice.wanted.logprobs is not None
    if not head.chat:
        logprobs = text_logprobs(head.served.tokenizer, piece.tokens) if wants and piece.tokens else None
        one = {"index": choice.index, "text": text, "logprobs": logprobs, "finish_reason": choice.finish}
        return [head.record([one], chunk=True)] if text or logprobs or choice.finish else []
    logprobs = chat_logprobs(head.served.tokenizer, piece.tokens) if wants and piece.tokens else None
    if text or logprobs:
        made.append({"index": choice.index, "delta": {"content": text}, "logprobs": logprobs, "finish_reason": None})
    if called:
        delta = {"tool_calls": [{"index": number, **_call(call)} for number, call in enumerate(called)]}
        made.append({"index": choice.index, "delta": delta, "logprobs": None, "finish_reason": None})
    if choice.finish:
        finish = "tool_calls" if called and choice.finish == "stop" else choice.finish
        made.append({"index": choice.index, "delta": {}, "logprobs": None, "finish_reason": finish})
    return [head.record([one], chunk=True) for one in made]


def chat_logprobs(tokenizer: ChatTokenizer, tokens: Sequence[TokenInfo]) -> dict[str, Any]:
    """The newer shape: natural logarithms, tokens as text and as bytes (None where a token is half a character)."""

    def one(token: int, logprob: float | None) -> dict[str, Any]:
        text = tokenizer.decode([token])
        return {"token": text, "logprob": logprob, "bytes": None if "\ufffd" in text else list(text.encode())}

    content = [
        {**one(info.id, info.logprob), "top_logprobs": [one(token, logprob) for token, logprob in info.top]}
        for info in tokens
        if not info.in_prompt
    ]
    return {"content": content, "refusal": None}


def text_logprobs(tokenizer: ChatTokenizer, tokens: Sequence[TokenInfo]) -> dict[str, Any]:
    """The older shape. A token's alternatives are named by their text, so of two that look alike only the likelier is there."""
    offsets, texts = [], []
    at = 0
    for text in tokenizer.pieces([info.id for info in tokens]):
        offsets.append(at)
        texts.append(text)
        at += len(text)
    named = [tokenizer.decode([info.id]) for info in tokens]
    tops: list[dict[str, float] | None] = []
    for info, name in zip(tokens, named, strict=True):
        top: dict[str, float] = {}
        for token, logprob in info.top:
            top.setdefault(tokenizer.decode([token]), logprob)
        if info.logprob is not None:
            top.setdefault(name, info.logprob)
        tops.append(top if info.logprob is not None else None)
    return {
        "tokens": named,
        "token_logprobs": [info.logprob for info in tokens],
        "top_logprobs": tops,
        "text_offset": offsets,
    }
