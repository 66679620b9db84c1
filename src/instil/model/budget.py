"""Few lengths of rows, for kernels that are compiled for a length: rows are padded to a budget with tokens that nothing sees."""

from dataclasses import dataclass

import numpy as np

from instil.model.layout import Tree

BLOCK = 128
"""FlexAttention's blocks of its mask: budgets are multiples of it."""
HALVINGS = 4
"""Budgets are max_tokens and its halves down to a sixteenth: five lengths, five compilations. Rows are filled greedily, so all but a step's
last one lie near max_tokens; the last is at most doubled, unless it is tiny."""


@dataclass(frozen=True, slots=True, eq=False)
class Padded:
    """A row's tree and tokens with padding behind them. As `batch.trie.Row`, without what is predicted: indices stay as they were."""

    tokens_T: np.ndarray
    positions_T: np.ndarray
    ends_T: np.ndarray
    nodes_N3: np.ndarray


def row_budget(tokens: int, max_tokens: int) -> int:
    """The smallest budget that holds `tokens`; rows beyond `max_tokens` (there are none) would be rounded up to a block."""
    budgets = (-(-(max_tokens >> halving) // BLOCK) * BLOCK for halving in range(HALVINGS, -1, -1))
    return next((budget for budget in budgets if budget >= tokens), -(-tokens // BLOCK) * BLOCK)


def pad_row(tokens_T: np.ndarray, tree: Tree, budget: int) -> Padded:
    """Padding is a root of its own whose tokens see themselves alone, so that attention over it costs a diagonal of blocks."""
    length, extra = len(tokens_T), budget - len(tokens_T)
    assert extra >= 0, f"{length} tokens do not fit {budget}"
    if not extra:
        return Padded(tokens_T, tree.positions_T, tree.ends_T, tree.nodes_N3)
    at = np.arange(length, budget)
    return Padded(
        np.concatenate([tokens_T, np.zeros(extra, tokens_T.dtype)]),
        np.concatenate([tree.positions_T, np.zeros(extra, tree.positions_T.dtype)]),
        np.concatenate([tree.ends_T, (at + 1).astype(tree.ends_T.dtype)]),
        np.concatenate([tree.nodes_N3, np.array([[length, budget, -1]], tree.nodes_N3.dtype)]),
    )
