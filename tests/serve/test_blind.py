"""Blind pairs: nobody learns from the server who is who before the vote, and chance decides the sides."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from instil.core.errors import Refused
from instil.core.values import Message
from instil.serve import blind
from instil.serve.blind import Pair, Waiting, drawn, in_step, revealed, rows_of
from instil.serve.values import Piece
from instil.serve.votes import Said, Sampled
from tests.serve.scripted import scripted

PAIR = Pair((Message(role="user", content="Hi"),), (Said("base", "one"), Said("tuned", "two")), Sampled())


def test_sides_are_drawn_evenly() -> None:
    one, other = scripted("one", str), scripted("other", str)
    first = sum(drawn((one, other))[0] is one for _ in range(2000))
    assert 850 < first < 1150  # 6.7 standard deviations on either side
    assert set(map(id, drawn((one, other)))) == {id(one), id(other)}


@pytest.mark.parametrize(
    ("choice", "chosen", "rejected"),
    [
        ("A", ["one"], ["two"]),
        ("B", ["two"], ["one"]),
        ("both good", ["one", "two"], []),
        ("both bad", [], ["one", "two"]),
        ("skip", [], []),
    ],
)
def test_what_a_choice_writes(choice: str, chosen: list[str], rejected: list[str]) -> None:
    rows = rows_of(PAIR, choice)
    assert [turn["content"] for row in rows for turn in row["chosen"]] == chosen
    assert [turn["content"] for row in rows for turn in row["rejected"]] == rejected
    assert revealed(PAIR) == {"A": "base", "B": "tuned"}


def test_equal_answers_are_judged_once() -> None:
    same = Pair(PAIR.prompt, (Said("base", "x"), Said("tuned", "x")), Sampled())
    assert len(rows_of(same, "both good")) == 1
    with pytest.raises(Refused, match="the same"):
        rows_of(same, "A")


def test_the_oldest_pair_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blind, "MOST_WAITING", 2)
    waiting = Waiting()
    names = [waiting.add(PAIR) for _ in range(3)]
    assert [waiting.get(name) is None for name in names] == [True, False, False]
    assert len(set(names)) == 3


def test_the_faster_answer_waits_for_the_slower() -> None:
    closed = []

    async def speaking(name: str, pieces: int, pause: float) -> AsyncIterator[Piece]:
        try:
            for number in range(pieces):
                await asyncio.sleep(pause)
                yield Piece(f"{name}{number}")
        finally:
            closed.append(name)

    async def heard(most: int = 100) -> list[str]:
        pieces = in_step(speaking("a", 4, 0), speaking("b", 2, 0.005))
        found = []
        async for side, piece in pieces:
            assert piece.text[0] == "ab"[side]
            found.append(piece.text)
            if len(found) == most:
                await pieces.aclose()
        return found

    assert asyncio.run(heard()) == ["a0", "b0", "a1", "b1", "a2", "a3"]
    closed.clear()
    assert len(asyncio.run(heard(most=3))) == 3
    assert sorted(closed) == ["a", "b"]
