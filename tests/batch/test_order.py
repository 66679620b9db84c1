"""The order of rows: what an epoch holds, and that a step's batch depends on (seed, step) alone."""

import math
from collections import Counter
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instil.batch.order import Order, _epoch_rows, _permutation, in_stages

SIZES = st.lists(st.integers(0, 12), min_size=1, max_size=3).filter(any)
WEIGHTS = st.sampled_from([0.1, 1 / 3, 0.5, 1.0, 1.7, 2.0])


@st.composite
def orders(draw: st.DrawFn) -> Order:
    sizes = draw(SIZES)
    return Order(tuple(sizes), tuple(draw(WEIGHTS) for _ in sizes), draw(st.integers(1, 9)), draw(st.integers(-5, 2**70)))


def rows_of(order: Order, steps: int) -> list[tuple[int, int]]:
    return list(chain.from_iterable(order.batch_at(step) for step in range(steps)))


def counts(order: Order, epochs: float) -> Counter[tuple[int, int]]:
    return Counter(rows_of(order.until(epochs), order.num_steps(epochs)))


@settings(max_examples=150, deadline=None)
@given(orders(), st.integers(1, 4))
def test_epochs_are_streams_of_permutations_shuffled_together(order: Order, epochs: int) -> None:
    """Against the definition, written out: streams first, then epochs cut from them."""
    expected = []
    streams = []
    for source, size in enumerate(order.sizes):
        cycles = math.ceil(order.weights[source] * epochs) + 1 if size else 0
        streams.append([(source, int(i)) for cycle in range(cycles) for i in _permutation(size, order.seed, "source", source, cycle)])
    for epoch in range(epochs):
        union = []
        for stream, size, weight in zip(streams, order.sizes, order.weights, strict=True):
            union += stream[math.floor(epoch * size * weight + 0.5) : math.floor((epoch + 1) * size * weight + 0.5)]
        expected += [union[i] for i in _permutation(len(union), order.seed, "epoch", epoch)]
    steps = -(-len(expected) // order.batch)
    assert rows_of(order, steps)[: len(expected)] == expected
    if expected:
        assert rows_of(order.until(epochs), steps) == expected and order.num_steps(epochs) == steps


@given(SIZES, st.integers(1, 9), st.integers(0, 99))
def test_weight_one_shows_every_row_once_per_epoch(sizes: list[int], batch: int, seed: int) -> None:
    order = Order(tuple(sizes), (1.0,) * len(sizes), batch, seed)
    assert counts(order, 1) == Counter((source, i) for source, size in enumerate(sizes) for i in range(size))
    assert set(counts(order, 3).values()) == {3}
    assert order.epoch_rows() == sum(sizes)


def test_other_weights() -> None:
    for size in (7, 8):
        order = Order((size, 5), (2.0, 0.5), 3, 1)
        once = counts(order, 1)
        assert all(once[0, i] == 2 for i in range(size)) and sum(once[1, i] for i in range(5)) == 3
        twice = counts(order, 2)
        assert all(twice[1, i] == 1 for i in range(5)) and all(twice[0, i] == 4 for i in range(size))
    thirds = Order((9,), (1 / 3,), 2, 0)
    assert sum(counts(thirds, 1).values()) == 3 and counts(thirds, 3) == Counter((0, i) for i in range(9))


def test_fractions_of_an_epoch_are_its_beginning() -> None:
    order = Order((10, 4), (1.0, 1.0), 4, 3)
    whole = rows_of(order.until(2), 7)
    for epochs, rows in ((0.5, 7), (1.0, 14), (1.25, 18), (1.5, 21), (2.0, 28), (0.001, 1)):
        assert order.rows_until(epochs) == rows and order.num_steps(epochs) == -(-rows // 4)
        assert rows_of(order.until(epochs), 7) == whole[:rows]


def test_the_last_batch_is_cut_at_the_end() -> None:
    order = Order((10,), (1.0,), 4, 0)
    ended = order.until(1)
    assert [len(ended.batch_at(step)) for step in range(4)] == [4, 4, 2, 0]
    assert [len(order.batch_at(step)) for step in range(4)] == [4, 4, 4, 4]  # endless: runs on into the next epoch
    assert ended.batch_at(2) == order.batch_at(2)[:2]


@given(orders(), st.lists(st.integers(0, 40), min_size=2, max_size=8))
def test_a_batch_does_not_depend_on_the_batches_before(order: Order, steps: list[int]) -> None:
    first = {step: order.batch_at(step) for step in steps}
    _epoch_rows.cache_clear()
    assert {step: order.batch_at(step) for step in reversed(steps)} == first
    assert all(len(batch) == order.batch for batch in first.values())


@st.composite
def staged(draw: st.DrawFn) -> tuple[Order, list[int], float]:
    sizes = draw(SIZES)
    epochs = draw(st.sampled_from([0.5, 1.0, 2.0, 3.0]))
    order = Order(tuple(sizes), (1.0,) * len(sizes), draw(st.integers(1, 9)), draw(st.integers(0, 99)))
    return order, draw(st.lists(st.integers(1, 3), min_size=len(sizes), max_size=len(sizes))), epochs


@settings(max_examples=150, deadline=None)
@given(staged())
def test_stages_follow_each_other(made: tuple[Order, list[int], float]) -> None:
    """Every row as often as without stages, those of an earlier stage first, and each stage the order that its sources alone would have."""
    order, stages, epochs = made
    run = in_stages(order.until(epochs), stages)
    steps = order.num_steps(epochs)
    rows = list(chain.from_iterable(run.batch_at(step) for step in range(steps)))
    assert [len(run.batch_at(step)) for step in range(steps)] == [len(order.until(epochs).batch_at(step)) for step in range(steps)]
    assert run.batch_at(steps) == []
    assert [stages[source] for source, _ in rows] == sorted(stages[source] for source, _ in rows)
    if epochs.is_integer():
        assert Counter(rows) == counts(order, epochs)
    for stage in {s for s, size in zip(stages, order.sizes, strict=True) if size}:
        alone = Order(tuple(n if s == stage else 0 for n, s in zip(order.sizes, stages, strict=True)), order.weights, 1, order.seed)
        mine = [row for row in rows if stages[row[0]] == stage]
        assert mine == [alone.batch_at(place)[0] for place in range(len(mine))]


def test_a_step_of_a_run_in_stages_depends_on_seed_and_step_alone() -> None:
    """What a resumed run asks for is what the run would have seen: any step, asked for first, by a fresh order."""

    def fresh(seed: int = 3) -> list[list[tuple[int, int]]]:
        _epoch_rows.cache_clear()
        run = in_stages(Order((7, 9, 4), (1.0, 2.0, 0.5), 4, seed).until(2), (1, 2, 1))
        return [run.batch_at(step) for step in reversed(range(14))][::-1]

    assert fresh() == fresh() != fresh(4)
    assert [source == 1 for source, _ in chain.from_iterable(fresh())] == [False] * 18 + [True] * 36  # 2 epochs: 14 + 4 and 36
    assert {source == 1 for source, _ in fresh()[4]} == {True, False}, "the step where the stages meet has rows of both"


def test_seeds_and_epochs_shuffle_differently() -> None:
    def epochs(seed: int) -> list[tuple[tuple[int, int], ...]]:
        order = Order((100,), (1.0,), 100, seed)
        return [tuple(order.batch_at(step)) for step in range(3)]

    assert len({*epochs(0), *epochs(1), *epochs(-1), *epochs(2**32)}) == 12


def test_order_is_pinned() -> None:
    """A run must resume as the same run on another machine and with another NumPy: these values may never change."""
    assert _permutation(10, 0, "source", 0, 0).tolist() == [2, 8, 9, 4, 5, 0, 7, 6, 3, 1]
    assert Order((5, 3), (1.0, 1.0), 8, 7).batch_at(1) == [(0, 0), (1, 2), (1, 1), (0, 1), (0, 3), (0, 4), (0, 2), (1, 0)]


def test_a_permutation_is_uniform() -> None:
    """Each of the 24 orders of four rows about equally often (chi-squared with 23 degrees of freedom, p = 1e-4)."""
    seen = Counter(tuple(_permutation(4, 0, "epoch", epoch).tolist()) for epoch in range(4800))
    assert len(seen) == 24 and sum((count - 200) ** 2 / 200 for count in seen.values()) < 57.7


def test_far_into_a_large_run() -> None:
    order = Order((300_000, 1000), (1.0, 0.001), 64, 0)
    step = 10_000_000  # epoch 2,133
    batch = order.batch_at(step)
    assert len(batch) == 64 and batch == Order((300_000, 1000), (1.0, 0.001), 64, 0).batch_at(step)
    assert all(0 <= i < order.sizes[source] for source, i in batch)


def test_misuse() -> None:
    with pytest.raises(AssertionError):
        Order((0,), (1.0,), 1, 0)
    with pytest.raises(AssertionError):
        Order((1,), (1.0,), 1, 0).batch_at(-1)
    assert isinstance(Order((3,), (1.0,), 2, 0).batch_at(0)[0][1], int)
