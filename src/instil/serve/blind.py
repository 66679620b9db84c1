"""Two answers side by side whose authors nobody is told before the vote: sides are drawn by chance, and only the server knows them."""

import asyncio
import contextlib
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from instil.core.values import Message
from instil.serve.values import Piece, Served
from instil.serve.votes import Said, Sampled, choice_row, judged_row

SIDES = ("A", "B")
MOST_WAITING = 1000  # pairs without a vote; the oldest is forgotten for a new one


@dataclass(frozen=True)
class Pair:
    """Both answers to one prompt, whole, in the order in which they were shown."""

    prompt: tuple[Message, ...]
    answers: tuple[Said, Said]
    sampled: Sampled


class Waiting:
    """Pairs that wait for their vote, by an id that says nothing."""

    def __init__(self) -> None:
        self._pairs: OrderedDict[str, Pair] = OrderedDict()

    def add(self, pair: Pair) -> str:
        """The pair's id."""
        name = secrets.token_urlsafe(18)
        self._pairs[name] = pair
        while len(self._pairs) > MOST_WAITING:
            self._pairs.popitem(last=False)
        return name

    def get(self, name: str) -> Pair | None:
        return self._pairs.get(name)

    def remove(self, name: str) -> None:
        self._pairs.pop(name, None)


def drawn(models: tuple[Served, Served]) -> tuple[Served, Served]:
    """Both in an order that nobody can foresee."""
    return models if secrets.randbits(1) else models[::-1]


async def in_step(first: AsyncIterator[Piece], second: AsyncIterator[Piece]) -> AsyncIterator[tuple[int, Piece]]:
    """(side, piece) of both, a piece of each at a time: the faster one waits, so that speed does not tell which model it is."""
    live = {0: first, 1: second}
    try:
        while live:
            arrived = await asyncio.gather(*(anext(pieces, None) for pieces in live.values()))
            for side, piece in zip(tuple(live), arrived, strict=True):
                if piece is None:
                    del live[side]
                else:
                    yield side, piece
    finally:
        for pieces in (first, second):
            if close := getattr(pieces, "aclose", None):
                with contextlib.suppress(RuntimeError):  # still running: its own cancellation ends it
                    await close()


def rows_of(pair: Pair, choice: str) -> list[dict[str, Any]]:
    """What the vote adds to the preference file; nothing for `skip`. Raises Refused where it would be nothing to learn from."""
    if choice == "skip":
        return []
    if choice in SIDES:
        best = SIDES.index(choice)
        return [choice_row(pair.prompt, pair.answers[best], pair.answers[1 - best], pair.sampled)]
    spoken: Sequence[Said] = [said for said in {said.text: said for said in pair.answers}.values() if said.text.strip()]
    return [judged_row(pair.prompt, said, choice == "both good", pair.sampled, "blind") for said in spoken]


def revealed(pair: Pair) -> Mapping[str, str]:
    """Who said what."""
    return {side: said.model for side, said in zip(SIDES, pair.answers, strict=True)}
