"""Rows for many ranks: what is computed stays the same, and nobody has much more to do than others."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from instil.batch.share import cost, deal, lay_out_shared
from instil.batch.trie import Row, lay_out
from instil.core.values import Path


def path(tokens: list[int], context: int = 1) -> Path:
    return Path(np.array(tokens, np.uint32), context)


def step(lengths: list[int], seed: int = 0) -> list[Path]:
    random = np.random.default_rng(seed)
    return [path([1, 2, 3, *random.integers(4, 1000, length).tolist()], 3) for length in lengths]


def supervised(rows: list[Row]) -> Counter[tuple[int, int]]:
    """Weights by position and target, whatever row they lie in."""
    found: Counter[tuple[int, int]] = Counter()
    for row in rows:
        for i, target, weight in zip(row.predicts_S, row.targets_S, row.weights_S, strict=True):
            found[int(row.positions_T[i]), int(target)] += weight
    return found


def test_one_rank_has_the_rows_that_it_always_had() -> None:
    paths = step([10, 200, 30, 40])
    for ours, plain in zip(lay_out_shared(paths, 220, 1), lay_out(paths, 220), strict=True):
        assert (ours.tokens_T == plain.tokens_T).all()


def test_a_step_that_fits_one_row_is_divided_among_all_ranks() -> None:
    paths = step([40] * 64)
    assert len(lay_out(paths, 8192)) == 1
    rows = lay_out_shared(paths, 8192, 4)
    assert len(rows) == 4
    sizes = [len(row.tokens_T) for row in rows]
    assert max(sizes) <= 1.1 * sum(sizes) / 4


def test_fewer_examples_than_ranks() -> None:
    rows = lay_out_shared(step([40, 50]), 8192, 4)
    assert len(rows) == 2
    assert sorted(map(len, deal(rows, 4))) == [0, 0, 1, 1]


def test_examples_that_cannot_be_packed_stay_alone() -> None:
    assert [row.paths for row in lay_out_shared(step([5, 6, 7]), 8192, 2, share=False)] == [(0,), (1,), (2,)]


@given(st.lists(st.integers(1, 120), min_size=1, max_size=60), st.integers(1, 9), st.integers(0, 3))
def test_every_example_is_in_exactly_one_row_and_every_row_with_one_rank(lengths: list[int], ranks: int, seed: int) -> None:
    paths = step(lengths, seed)
    rows = lay_out_shared(paths, 256, ranks)
    assert sorted(index for row in rows for index in row.paths) == list(range(len(paths)))
    assert supervised(rows) == pytest.approx(supervised(lay_out(paths, 10**6)))
    assert all(len(row.tokens_T) <= 256 for row in rows)
    hands = deal(rows, ranks)
    assert sorted(index for hand in hands for index in hand) == list(range(len(rows)))
    assert max(map(len, hands)) - min(map(len, hands)) <= 1


@given(st.lists(st.integers(1, 2000), min_size=16, max_size=64), st.integers(2, 4))
def test_ranks_have_about_the_same_to_do(lengths: list[int], ranks: int) -> None:
    """No rank has more than the dearest row beyond another: there is no fairer way to deal whole rows that is always better."""
    rows = lay_out(step(lengths), 2048)
    work = [sum(cost(rows[index]) for index in hand) for hand in deal(rows, ranks)]
    assert max(work) - min(work) <= max(map(cost, rows)) + 1e-9


def test_attention_counts() -> None:
    long, short = lay_out(step([4000]), 8192)[0], lay_out(step([10] * 400), 8192)[0]
    assert cost(long) / len(long.tokens_T) > 1.15 > 1.01 > cost(short) / len(short.tokens_T)
