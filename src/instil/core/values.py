"""The values that travel through instil. They are plain and know no storage."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

ROLES = ("system", "user", "assistant", "tool")
EXAMPLE = "shown_as_example"  # key of `extra`, true where other rows hold this one as a worked example


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a row came from: the file as the user named it, and from 1 the line (in a JSON array: the element's first) or row (Parquet).

    `part` counts from 1 where one row of the file holds several (instances of a task, paths of a tree, phrasings), else it is 0.
    """

    file: str
    line: int
    part: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}#{self.part}" if self.part else f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the assistant makes. `arguments` is a mapping wherever the source held valid JSON, else the source's own text."""

    name: str
    arguments: Mapping[str, Any] | str
    id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn. `weight` is the training weight of an assistant turn (0: context only); other roles are never trained."""

    role: str
    content: str = ""
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """Messages in order, the tools offered, and what is known about where they came from.

    `tools` are OpenAI tool definitions as the template will see them. `task` labels the kind of instruction, for whole-task
    hold-out. `extra` keeps whatever else the row carried.
    """

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    task: str | None = None
    origin: Origin = Origin("", 0)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def last_turn_only(self) -> "Conversation":
        """The same conversation with only its last assistant turn trained."""
        last = max((i for i, m in enumerate(self.messages) if m.role == "assistant"), default=-1)
        kept = tuple(m if i == last else replace(m, weight=0.0) for i, m in enumerate(self.messages))
        return replace(self, messages=kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """Two answers to one prompt, of which one was liked better; or one answer and the verdict on it, the other side empty (as KTO has it).

    `prompt` ends where the two part. Each side that is not empty begins with an assistant turn and may go on for several turns.
    """

    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...] = ()
    rejected: tuple[Message, ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()
    task: str | None = None
    origin: Origin = Origin("", 0)
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """One training example, exactly as it will be served.

    `tokens` [T] uint32: the context that a server sends to the model, then the completion that the model must answer with, the stop
    token last. `tokens[:num_context]` is context, everything after it is trained with `weight` per token.
    """

    tokens: np.ndarray
    num_context: int
    weight: float = 1.0

    @property
    def num_completion(self) -> int:
        return len(self.tokens) - self.num_context


class Tokenizer(Protocol):
    """What the torch-free rooms need of a tokenizer. `template.tokenizer.load` returns one."""

    @property
    def vocab_size(self) -> int: ...

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text, control tokens recognised, nothing added in front or behind."""
        ...

    def decode(self, ids: list[int]) -> str:
        """The text of `ids`, control tokens included."""
        ...
