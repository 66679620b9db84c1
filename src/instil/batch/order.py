"""Which rows a step takes: a pure function of (seed, step), so that a run to be resumed has nothing to save but its step number.

Every source is an endless stream, one permutation of its rows after the other. An epoch takes the next `size * weight` rows of every
stream and shuffles them together; the run is one epoch after the other, cut into batches. So at weight 0.5 the second epoch shows the
half that the first did not. A run in stages (`Stages`) is several such orders, one after the other.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from instil.core.files import hash_text


@dataclass(frozen=True, slots=True)
class Order:
    """The order of rows of K sources.

    `sizes` [K] rows, `weights` [K] how often each row is seen per epoch, `batch` rows per step. `total`: rows of the whole run, where the
    last batch is cut (None: endless); see `until`.
    """

    sizes: tuple[int, ...]
    weights: tuple[float, ...]
    batch: int
    seed: int
    total: int | None = None

    def __post_init__(self) -> None:
        assert len(self.sizes) == len(self.weights) and self.batch > 0 and self.epoch_rows() > 0, self

    def epoch_rows(self) -> float:
        """Rows per epoch over all sources, on average."""
        return math.fsum(size * weight for size, weight in zip(self.sizes, self.weights, strict=True))

    def rows_until(self, epochs: float) -> int:
        """Rows of the first `epochs` epochs, at least one."""
        whole = math.floor(epochs)
        start, stop = self._start(whole), self._start(whole + 1)
        return max(1, start + math.floor((epochs - whole) * (stop - start) + 0.5))

    def num_steps(self, epochs: float) -> int:
        """Steps of a run of `epochs` epochs, of which the last may be smaller."""
        return -(-self.rows_until(epochs) // self.batch)

    def until(self, epochs: float) -> "Order":
        """The same order, ending after `epochs` epochs."""
        return replace(self, total=self.rows_until(epochs))

    def batch_at(self, step: int) -> list[tuple[int, int]]:
        """(source, index within the source) of the rows of `step`, counted from 0. Empty after the end."""
        assert step >= 0, step
        return self.rows_between(step * self.batch, (step + 1) * self.batch)

    def rows_between(self, first: int, stop: int) -> list[tuple[int, int]]:
        """(source, index within the source) of the positions from `first` up to `stop`, less where the run ends before."""
        if self.total is not None:
            stop = min(stop, self.total)
        pieces = []
        while first < stop:
            epoch = self._epoch_of(first)
            begin, end = self._start(epoch), min(self._start(epoch + 1), stop)
            pieces.append(_epoch_rows(self.sizes, self.weights, self.seed, epoch)[first - begin : end - begin])
            first = end
        rows = np.concatenate(pieces or [np.empty(0, np.int64)])
        begins = np.cumsum((0, *self.sizes))
        sources = np.searchsorted(begins, rows, side="right") - 1
        return list(zip(sources.tolist(), (rows - begins[sources]).tolist(), strict=True))

    def _start(self, epoch: int) -> int:
        return sum(_taken(size, weight, epoch) for size, weight in zip(self.sizes, self.weights, strict=True))

    def _epoch_of(self, position: int) -> int:
        """The epoch that holds a position of the run's stream. `_start` differs from epochs * rows by half a row per source at most."""
        beyond = math.ceil((position + len(self.sizes)) / self.epoch_rows()) + 1
        return bisect_right(range(beyond + 1), position, key=self._start) - 1


@dataclass(frozen=True, slots=True)
class Stages:
    """Orders one after the other, each with an end. A source has rows in the order of its own stage alone."""

    orders: tuple[Order, ...]
    batch: int

    def batch_at(self, step: int) -> list[tuple[int, int]]:
        """As `Order.batch_at`; where two stages meet in a batch, the rows of the earlier one first."""
        assert step >= 0, step
        first, stop = step * self.batch, (step + 1) * self.batch
        found: list[tuple[int, int]] = []
        for order in self.orders:
            assert order.total is not None, order
            found += order.rows_between(max(first, 0), stop)
            first, stop = first - order.total, stop - order.total
        return found


def in_stages(order: Order, stages: Sequence[int]) -> Stages:
    """The rows of an order that has an end, stage after stage; `stages` [K]: that of each source, 1 first.

    Each stage goes through its rows as often as the whole order goes through all, so its share of the run is its share of the rows.
    """
    assert order.total is not None and len(stages) == len(order.sizes), order
    orders, rows, before = [], 0.0, 0
    for stage in sorted(set(stages)):
        one = tuple(size if stage == own else 0 for size, own in zip(order.sizes, stages, strict=True))
        if not any(one):  # all of it is held out
            continue
        ended = replace(order, sizes=one)
        rows += ended.epoch_rows()
        end = math.floor(rows / order.epoch_rows() * order.total + 0.5)
        orders.append(replace(ended, total=end - before))
        before = end
    return Stages(tuple(orders), order.batch)


def _taken(size: int, weight: float, epochs: int) -> int:
    """Rows that whole `epochs` have taken of a source's stream."""
    return math.floor(epochs * size * weight + 0.5)


@lru_cache(maxsize=2)  # a batch touches two epochs where they meet
def _epoch_rows(sizes: tuple[int, ...], weights: tuple[float, ...], seed: int, epoch: int) -> np.ndarray:
    """Rows of an epoch in order, numbered through all sources. Computed afresh in about 4 s for ten million rows."""
    pieces, begin = [], 0
    for source, (size, weight) in enumerate(zip(sizes, weights, strict=True)):
        first, stop = _taken(size, weight, epoch), _taken(size, weight, epoch + 1)
        while first < stop:
            cycle, skipped = divmod(first, size)
            piece = _permutation(size, seed, "source", source, cycle)[skipped : skipped + stop - first]
            pieces.append(begin + piece)
            first += len(piece)
        begin += size
    rows: np.ndarray = np.concatenate(pieces)
    rows = rows[_permutation(len(rows), seed, "epoch", epoch)]
    rows.flags.writeable = False
    return rows


def _permutation(size: int, *key: object) -> np.ndarray:
    """A permutation of range(size) that depends on `key` alone.

    The order of raw random words, not Generator.permutation: NumPy promises that words stay the same from version to version, and nothing
    about what Generator makes of them.
    """
    words: np.ndarray = np.random.PCG64(int(hash_text(*map(str, key)), 16)).random_raw(size)
    return words.argsort(kind="stable")
