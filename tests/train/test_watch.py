"""A watch ends its process with a reason when another rank dies, hangs or fails; here ranks are threads that share a store."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore

from instil.core.errors import UserError
from instil.train.distributed import World
from instil.train.watch import BROKEN, Watch, is_victim, together

BEAT = 0.05


class Rank:
    """A watch, and what became of its rank. The watch takes the thread that makes it for the rank's main thread."""

    def __init__(self, number: int, size: int, store: Any, patience: float):
        self.said: list[str] = []
        self.code: int | None = None
        self.over = threading.Event()
        world = World(number, size)
        self.watch = Watch(world, patience, store=store, beat=BEAT, end=self.end, say=self.said.append)
        self.watch.start()

    def end(self, code: int) -> None:
        self.code = code if self.code is None else self.code
        self.watch._left.set()
        self.over.set()

    def ended(self) -> int | None:
        self.over.wait(20)
        return self.code


@pytest.fixture
def ranks() -> Iterator[Callable[..., list[Rank]]]:
    made: list[Rank] = []

    def make(size: int, patience: float = 60.0) -> list[Rank]:
        store = HashStore()
        made.extend(Rank(number, size, store, patience) for number in range(size))
        return made

    yield make
    for rank in made:
        rank.watch._left.set()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true() and time.monotonic() < deadline:
        time.sleep(BEAT / 5)
    assert true()


def test_ranks_that_are_well_leave_in_any_order(ranks: Callable[..., list[Rank]]) -> None:
    three = ranks(3, patience=0.5)
    for number in range(12):
        for rank in three:
            rank.watch.progress(f"step {number}")
        time.sleep(0.1)  # together longer than the patience
    for rank in (three[2], three[0], three[1]):
        rank.watch.finish()
        rank.watch.leave()
    assert [rank.code for rank in three] == [None] * 3 and not any(rank.said for rank in three)


def test_a_rank_that_is_gone_is_named_by_one_rank_and_ends_all(ranks: Callable[..., list[Rank]]) -> None:
    four = ranks(4, patience=1.0)
    for rank in four:
        rank.watch.continued = "instil train --resume runs/x"
        rank.watch.progress("step 7")
    until(lambda: all(told["who"] for _, told in four[0].watch._heard.values()))
    four[2].watch._left.set()  # no beat any more, and no farewell
    assert [four[n].ended() for n in (0, 1, 3)] == [BROKEN] * 3
    assert [len(rank.said) for rank in four] == [1, 0, 0, 0]
    said = four[0].said[0]
    assert said.startswith("rank 2 (") and "has not answered for 1 seconds, and the run cannot go on without it" in said
    assert said.endswith("; finished by then: step 7; continue with instil train --resume runs/x")


def test_a_rank_that_is_gone_before_it_was_ever_heard() -> None:
    """Killed in its first second; the others may have made progress by then."""
    store = HashStore()
    first = Rank(0, 2, store, patience=1.0)
    first.watch.progress("step 1")
    assert first.ended() == BROKEN
    assert first.said[0].startswith("rank 1 has not answered for 1 seconds, and the run cannot go on without it")


def test_the_first_rank_is_missed_as_well(ranks: Callable[..., list[Rank]]) -> None:
    three = ranks(3, patience=1.0)
    until(lambda: bool(three[1].watch._heard[0][1]["who"] and three[2].watch._heard[0][1]["who"]))
    three[0].watch._left.set()
    assert [three[1].ended(), three[2].ended()] == [BROKEN, BROKEN]
    assert not three[2].said and three[1].said[0].startswith("rank 0 (")


def test_a_store_that_keeps_everybody_waiting(ranks: Callable[..., list[Rank]], monkeypatch: pytest.MonkeyPatch) -> None:
    """It lies in the first rank's process, which was stopped."""
    two = ranks(2, patience=0.5)
    stuck = threading.Event()
    monkeypatch.setattr(two[1].watch, "_tell", lambda: stuck.wait(30))
    assert two[1].ended() == BROKEN
    stuck.set()
    assert two[1].said == ["rank 0 does not answer, and the run cannot go on without it; finished by then: nothing yet"]


def test_a_store_that_is_gone(ranks: Callable[..., list[Rank]], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise dist.DistNetworkError("connection refused")

    two = ranks(2)
    monkeypatch.setattr(two[1].watch, "_tell", refuse)
    assert two[1].ended() == BROKEN
    assert two[1].said[0].startswith("rank 0 does not answer")


def test_a_rank_that_fails_says_so_itself_and_ends_the_others_with_its_code(ranks: Callable[..., list[Rank]]) -> None:
    three = ranks(3)
    three[1].watch.fail(UserError("no space left"))
    assert three[1].code is None, "it may say why"
    assert [three[0].ended(), three[2].ended()] == [2, 2]
    assert not any(rank.said for rank in three)


def test_a_victim_waits_for_the_verdict(ranks: Callable[..., list[Rank]]) -> None:
    """Its own error names no cause: `Connection closed by peer` comes on every rank when one is gone."""
    three = ranks(3, patience=1.0)
    until(lambda: all(told["who"] for _, told in three[0].watch._heard.values()))
    three[2].watch._left.set()
    began = time.monotonic()
    three[1].watch.fail(RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:19"))
    assert time.monotonic() - began < 5 and three[1].code == BROKEN
    assert three[0].ended() == BROKEN and three[0].said[0].startswith("rank 2 (")


def test_a_rank_that_lives_and_does_nothing_is_told_from_those_that_wait(
    ranks: Callable[..., list[Rank]], monkeypatch: pytest.MonkeyPatch
) -> None:
    three = ranks(3, patience=0.8)
    for number, rank in enumerate(three):
        doing = "instil.batch.store.read, line 12" if number == 1 else "torch.distributed.distributed_c10d.all_reduce, line 9"
        monkeypatch.setattr(rank.watch, "_doing", lambda doing=doing: doing)
        rank.watch.progress("step 3")
    assert [rank.ended() for rank in three] == [BROKEN] * 3
    said = three[0].said[0]
    assert said.startswith("rank 1 (")
    assert "hangs: nothing was finished for 0.01" in said and "(train.timeout); it is at instil.batch.store.read, line 12" in said


def test_nothing_hangs_before_the_first_step(ranks: Callable[..., list[Rank]]) -> None:
    """The first rank may prepare a million rows, for hours."""
    two = ranks(2, patience=0.5)
    time.sleep(1.5)
    assert [rank.code for rank in two] == [None, None]


def test_where_a_rank_is(ranks: Callable[..., list[Rank]]) -> None:
    watch, found = ranks(1)[0].watch, list[str]()

    def ask() -> None:
        asking = threading.Thread(target=lambda: found.append(watch._doing()))
        asking.start()
        asking.join()

    ask()
    World().first(ask)
    assert found[0] == "its start"
    assert found[1].startswith("instil.train.distributed.first, line ")


@pytest.mark.parametrize(
    ("error", "victim"),
    [
        (RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer"), True),
        (dist.DistBackendError("NCCL error"), True),
        (RuntimeError("shapes do not match"), False),
        (UserError("the disk is full"), False),
        (MemoryError(), False),
    ],
)
def test_victims(error: Exception, victim: bool) -> None:
    assert is_victim(error) == victim


def test_one_process_needs_no_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with together(1.0) as (world, watch):
        assert world == World() and watch is None
