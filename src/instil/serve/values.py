"""What the API asks the engine for, and what comes back."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from instil.template.contract import Contract
from instil.template.tokenizer import ChatTokenizer


class Constraint(Protocol):
    """What an answer may consist of, token by token."""

    def allowed(self) -> np.ndarray:
        """bool [V]: the tokens that may come next."""
        ...

    def accept(self, token: int) -> None: ...


@dataclass(frozen=True)
class Wanted:
    """One completion. `max_tokens`: new tokens at most; None: as many as the context holds. `stop`: strings that end the answer and are cut
    from it. `logprobs`: how many alternatives to name at each token; None: none, and no probability. `echo`: the prompt's tokens come back
    as well, in front. `constraint` makes what the answer must keep to."""

    prompt: tuple[int, ...]
    max_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    echo: bool = False
    constraint: Callable[[], Constraint] | None = None


@dataclass(frozen=True)
class TokenInfo:
    """`logprob`: natural, under the model's own distribution (temperature 1); None where it was not asked for, and for a prompt's first
    token. `top`: the likeliest tokens at this place as (id, logprob). `in_prompt`: an echoed token."""

    id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()
    in_prompt: bool = False


@dataclass(frozen=True)
class Piece:
    """`text` that the answer goes on with and the `tokens` that became certain with it (a stop token is one that has no text). `finish` of
    the last piece: "stop", "length" (limit or context), or "timeout"."""

    text: str
    tokens: tuple[TokenInfo, ...] = ()
    finish: str | None = None


class Engine(Protocol):
    """Whatever generates. `submit` raises `Busy` where the queue is full; whoever stops iterating frees the request's place."""

    def submit(self, request: Wanted) -> AsyncIterator[Piece]: ...

    def gauges(self) -> dict[str, float]: ...


@dataclass(frozen=True, eq=False)
class Served:
    """A model that can be asked for by `id`. `contract` is None for a base model without one, which only continues text. `context`: longest
    input and answer together, in tokens."""

    id: str
    contract: Contract | None
    tokenizer: ChatTokenizer
    context: int
    engine: Engine

    @property
    def stop_ids(self) -> tuple[int, ...]:
        return self.contract.stop_ids if self.contract else self.tokenizer.eos_ids


class Busy(Exception):
    """The queue is full: ask again later."""
