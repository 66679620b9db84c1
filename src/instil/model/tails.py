"""The ends of a tree that nothing reads are not computed: the last token of an answer is a target, and no prediction looks at it."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from instil.model.layout import Tree


class Row(Tree, Protocol):
    """What a step needs of `batch.trie.Row`; S supervised (prediction, target) pairs, sorted by `predicts_S`."""

    @property
    def tokens_T(self) -> np.ndarray: ...
    @property
    def predicts_S(self) -> np.ndarray: ...
    @property
    def targets_S(self) -> np.ndarray: ...
    @property
    def weights_S(self) -> np.ndarray: ...


@dataclass(frozen=True, slots=True, eq=False)
class Needed:
    """The part of a row that its predictions need, with the indices that it has there."""

    tokens_T: np.ndarray
    positions_T: np.ndarray
    ends_T: np.ndarray
    nodes_N3: np.ndarray
    predicts_S: np.ndarray


def without_tails(row: Row) -> Needed:
    """The row without the tokens in whose subtree nothing predicts: ends of nodes, or all of a node and of those below it.

    The row that people see and that is counted keeps them.
    """
    needed_T = np.searchsorted(row.predicts_S, row.ends_T) > np.searchsorted(row.predicts_S, np.arange(len(row.ends_T)))
    before_T = np.append(0, needed_T.cumsum())  # index in the row -> index in what is left of it
    starts, stops, parents = before_T[row.nodes_N3[:, 0]], before_T[row.nodes_N3[:, 1]], row.nodes_N3[:, 2]
    left_N = stops > starts
    number_N = np.append(left_N.cumsum() - 1, -1)  # the last entry is for roots, whose parent is -1
    return Needed(
        row.tokens_T[needed_T],
        row.positions_T[needed_T],
        before_T[row.ends_T[needed_T]],
        np.stack([starts, stops, number_N[parents]], axis=1)[left_N],
        before_T[row.predicts_S],
    )
