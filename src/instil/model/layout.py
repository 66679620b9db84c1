"""Where the tokens of a row lie and which of them see each other: all that attention layers share about a row, worked out once."""

import itertools
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

Backend = Literal["nodes", "blocks"]


class Tree(Protocol):
    """The part of `batch.trie.Row` that attention needs. Letters: T tokens of the row, N nodes."""

    @property
    def positions_T(self) -> np.ndarray: ...
    @property
    def ends_T(self) -> np.ndarray: ...
    @property
    def nodes_N3(self) -> np.ndarray: ...


@dataclass(frozen=True)
class Scores:
    """What happens between query-key products and weights: `scale` times the product, `softcap * tanh(. / softcap)`, one more score per
    head (`sinks` [H]) in the softmax, dropout on the weights."""

    scale: float | None
    softcap: float | None = None
    sinks: Tensor | None = None
    dropout: float = 0.0


@dataclass(eq=False)
class Layout:
    """A row's tree as attention needs it, on the model's device. Made by `lay_out_tree`; lives for one forward and backward pass.

    `lengths`: tokens per node. `chains`: per node, its ancestors from the root down. `seen`: per node, tokens of all its ancestors; the
    node's own tokens have the positions seen, seen + 1, ... `backend`: "nodes" loops over nodes, "blocks" is FlexAttention. `masks` is a
    cache, filled by the first layer that needs an entry. Nothing else is ever set; not frozen, because torch 2.11 compiles a block once
    more for every row when it is handed a frozen dataclass with other fields.
    """

    lengths: tuple[int, ...]
    chains: tuple[tuple[int, ...], ...]
    seen: tuple[int, ...]
    positions_T: Tensor
    ends_T: Tensor
    backend: Backend
    masks: dict[object, Any] = field(default_factory=dict, repr=False)

    @property
    def num_tokens(self) -> int:
        return len(self.positions_T)

    @property
    def is_forest_of_paths(self) -> bool:
        """No node has a parent: nothing in the row is shared."""
        return not any(self.chains)

    def mask(self, node: int, window: int | None) -> tuple[int, Tensor | None]:
        """First position that `node` sees, and the boolean mask [its tokens, positions from there on]; None: plain causal order."""
        length, seen = self.lengths[node], self.seen[node]
        first = 0 if window is None else max(0, seen + 1 - window)
        if not seen and (window is None or window >= length):
            return 0, None
        return first, self._band(length, seen - first, window)

    def _band(self, length: int, seen: int, window: int | None) -> Tensor:
        """Query i stands at position `seen + i` and sees the positions in (seen + i - window, seen + i]."""
        key = (length, seen, window)
        if key not in self.masks:
            mask = torch.ones(length, seen + length, dtype=torch.bool, device=self.ends_T.device).tril(seen)
            self.masks[key] = mask if window is None else mask.triu(seen - window + 1)
        found: Tensor = self.masks[key]
        return found


@dataclass(frozen=True)
class _Path:
    positions_T: np.ndarray
    ends_T: np.ndarray
    nodes_N3: np.ndarray


def lay_out_tree(row: Tree, device: torch.device | str = "cpu", backend: Backend | None = None) -> Layout:
    """The layout of `row` on `device`. `backend` defaults to FlexAttention on CUDA and to the loop over nodes elsewhere.

    FlexAttention has no backward pass on CPU (torch 2.13).
    """
    nodes = row.nodes_N3.tolist()
    starts, stops = [n[0] for n in nodes], [n[1] for n in nodes]
    assert starts == [0, *stops[:-1]] and stops[-1] == len(row.ends_T), "nodes must cover the row in order"
    lengths = tuple(stop - start for start, stop, _ in nodes)
    chains: list[tuple[int, ...]] = []
    for node, (_, _, parent) in enumerate(nodes):
        assert parent < node, "a parent comes before its children"
        chains.append((*chains[parent], parent) if parent >= 0 else ())
    device = torch.device(device)
    return Layout(
        lengths=lengths,
        chains=tuple(chains),
        seen=tuple(sum(lengths[a] for a in chain) for chain in chains),
        positions_T=torch.from_numpy(row.positions_T).to(device),
        ends_T=torch.from_numpy(row.ends_T).to(device),
        backend=backend or default_backend(device),
    )


def default_backend(device: torch.device) -> Backend:
    return "blocks" if device.type == "cuda" else "nodes"


def lay_out_path(length: int, device: torch.device | str = "cpu") -> Layout:
    """The layout of a row that is a single path."""
    path = _Path(np.arange(length), np.full(length, length), np.array([[0, length, -1]]))
    return lay_out_tree(path, device)


def path_bounds(layout: Layout) -> tuple[Tensor, int]:
    """For a row without sharing: where its paths begin and end, int32 [N + 1], and the longest path's length."""
    assert layout.is_forest_of_paths
    bounds = [0, *itertools.accumulate(layout.lengths)]
    return torch.tensor(bounds, dtype=torch.int32, device=layout.ends_T.device), max(layout.lengths)
