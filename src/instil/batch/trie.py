"""A step as a tree: the paths of one optimizer step, each shared prefix once, laid out depth-first in rows.

In sorted order a path differs from the one before it from some depth on, its *cut*, and the tokens beyond the cut are exactly what it adds
to a depth-first layout. So a row is the concatenation of what each path adds, and one array `where` (depth -> index in the row, of the path
at hand) says where everything lies. Consumers need one attention rule: query q sees key k iff `k <= q < ends[k]`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from instil.core.errors import UserError
from instil.core.values import Path

MIN_SHARED = 1
"""Fewest tokens that a branch must share beyond the branch above it; shorter stretches are computed once per path instead.

1, because it hardly matters: on 2,000 Alpaca rows in steps of 128, 1 / 2 / 4 / 8 keep 77.3 / 77.4 / 77.8 / 78.2 % of the tokens in 1.46 /
1.35 / 1.23 / 1.12 nodes per path. A node costs a CPU loop about 0.2 ms per layer (forward and backward), a token 0.02 ms at 128 hidden
units, 0.23 ms at 512, 0.9 ms at 1024 (its linear layers, one thread). By calculation, then, 8 instead of 1 changes a step's time by about
1 %: for the better at 128 units, for the worse from 512 on.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One forward and backward pass. Letters: T tokens of the row, N nodes, S supervised (prediction, target) pairs.

    A branch point predicts the first token of every answer that begins there, so an index may occur several times in `predicts_S`. Equal
    pairs are one pair with the sum of their weights. Pairs are sorted by index, then target.
    """

    tokens_T: np.ndarray
    """int64"""
    positions_T: np.ndarray
    """int64: depth in the tree, which is the position in the path alone"""
    ends_T: np.ndarray
    """int64: where the subtree of the token's node ends in the row"""
    nodes_N3: np.ndarray
    """int64: start, stop, parent node (-1: a root), depth-first"""
    predicts_S: np.ndarray
    """int64: index in the row of the token whose logits predict"""
    targets_S: np.ndarray
    """int64: the token predicted"""
    weights_S: np.ndarray
    """float64"""
    paths: tuple[int, ...]
    """which of the step's paths this row holds"""


def lay_out(paths: Sequence[Path], max_tokens: int, average: str = "token", share: bool = True) -> list[Row]:
    """The rows of a step, of at most `max_tokens` tokens each.

    `average`: "token" weighs every completion token with its path's weight, "example" divides that by the length of the completion.
    `share=False` lays every path in a row of its own, for architectures that cannot be packed. How paths fall into rows never changes what
    is computed, only how often. Raises UserError where one path alone exceeds `max_tokens`.
    """
    assert average in ("token", "example"), average
    for path in paths:
        assert 1 <= path.num_context < len(path.tokens), f"{path.num_context} context tokens of {len(path.tokens)}"
    longest = max((len(path.tokens) for path in paths), default=0)
    if longest > max_tokens:
        raise UserError(
            f"an example of {longest:,} tokens does not fit a row of train.max_tokens = {max_tokens:,}: "
            f"raise train.max_tokens to {longest} or lower max_length to {max_tokens}"
        )
    placed = _fill_rows(paths, max_tokens) if share else [[(index, 0)] for index in range(len(paths))]
    return [_build_row(paths, row, average) for row in placed]


def tree_lines(row: Row, label: Callable[[int, int], str]) -> list[str]:
    """The row's trees drawn with box characters, one node a line: tokens, how many predictions its tokens make, `label(start, stop)`."""
    starts, stops, parents = row.nodes_N3.T.tolist()
    predictions = np.diff(np.searchsorted(row.predicts_S, np.append(row.nodes_N3[:, 0], len(row.tokens_T)))).tolist()
    last_child = {parent: node for node, parent in enumerate(parents)}
    lines, indents = [], list[str]()
    for node, parent in enumerate(parents):
        above, is_last = indents[parent] if parent >= 0 else "", last_child[parent] == node
        branch = ("└─ " if is_last else "├─ ") if parent >= 0 else ""
        indents.append(above + (("   " if is_last else "│  ") if parent >= 0 else ""))
        size = stops[node] - starts[node]
        count = f"{size:,} token{'s' if size > 1 else ''}, {predictions[node]:,} supervised"
        lines.append(f"{above}{branch}{count}: {label(starts[node], stops[node])}")
    return lines


def _fill_rows(paths: Sequence[Path], max_tokens: int) -> list[list[tuple[int, int]]]:
    """Paths in lexicographic order, split greedily into rows; each as (index, cut)."""
    order = sorted(range(len(paths)), key=lambda i: paths[i].tokens.astype(">u4").tobytes())  # big-endian bytes sort as the numbers do
    rows: list[list[tuple[int, int]]] = []
    branches, used, previous = [0], max_tokens, np.empty(0, np.uint32)
    for index in order:
        tokens = paths[index].tokens
        cut = _cut(branches, _common(previous, tokens), len(previous))
        if used + len(tokens) - cut > max_tokens:
            rows.append([])
            branches, used, cut = [0], 0, 0
        rows[-1].append((index, cut))
        used += len(tokens) - cut
        previous = tokens
    return rows


def _common(a: np.ndarray, b: np.ndarray) -> int:
    """Length of the longest common prefix."""
    shorter = min(len(a), len(b))
    differs = a[:shorter] != b[:shorter]
    first = int(differs.argmax()) if shorter else 0
    return first if shorter and differs[first] else shorter


def _cut(branches: list[int], shared: int, length: int) -> int:
    """Depth at which the next path leaves the one before it (`length` tokens, of which it shares `shared`).

    `branches` are the depths at which the tree branches along the path before, and is brought up to date.
    """
    if shared == length:  # it continues that path, or equals it: no branch
        return shared
    while branches[-1] > shared:
        branches.pop()
    if shared - branches[-1] >= MIN_SHARED:
        branches.append(shared)
    return branches[-1]


def _build_row(paths: Sequence[Path], placed: Sequence[tuple[int, int]], average: str) -> Row:
    where = np.empty(max(len(paths[index].tokens) for index, _ in placed), np.int64)
    before = {0: -1}  # start of a node -> the token before it on its paths
    tokens, positions, predicts, targets, weights = [], [], [], [], []
    stop = length = 0
    for index, cut in placed:
        path = paths[index]
        if cut < length:  # a branch: whatever lay at this depth begins a node, and so do the tokens to come
            before.setdefault(int(where[cut]), int(where[cut]) - 1)
            before[stop] = int(where[cut - 1]) if cut else -1
        length = len(path.tokens)
        where[cut:length] = np.arange(stop, stop + length - cut)
        stop += length - cut
        tokens.append(path.tokens[cut:])
        positions.append(np.arange(cut, length))
        predicts.append(where[path.num_context - 1 : length - 1].copy())
        targets.append(path.tokens[path.num_context :])
        weights.append(np.full(path.num_completion, path.weight / (path.num_completion if average == "example" else 1)))
    nodes_N3, ends_N = _nodes(before, stop)
    pairs = _merge(np.concatenate(predicts), np.concatenate(targets).astype(np.int64), np.concatenate(weights))
    ends_T = np.repeat(ends_N, nodes_N3[:, 1] - nodes_N3[:, 0])
    return Row(np.concatenate(tokens).astype(np.int64), np.concatenate(positions), ends_T, nodes_N3, *pairs, tuple(i for i, _ in placed))


def _nodes(before: dict[int, int], stop: int) -> tuple[np.ndarray, np.ndarray]:
    """[N, 3] start, stop, parent; [N] end of the subtree."""
    starts = np.array(sorted(before), np.int64)
    stops = np.append(starts[1:], stop)
    parents = np.searchsorted(starts, [before[start] for start in starts.tolist()], side="right") - 1
    ends, above = stops.tolist(), parents.tolist()
    for node in range(len(ends) - 1, 0, -1):
        if above[node] >= 0:
            ends[above[node]] = max(ends[above[node]], ends[node])
    return np.stack([starts, stops, parents], axis=1), np.array(ends, np.int64)


def _merge(predicts_S: np.ndarray, targets_S: np.ndarray, weights_S: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs sorted by (index, target), equal ones merged: their weights add."""
    pairs, inverse = np.unique(predicts_S << 32 | targets_S, return_inverse=True)
    return pairs >> 32, pairs & 0xFFFFFFFF, np.bincount(inverse, weights_S, len(pairs))
