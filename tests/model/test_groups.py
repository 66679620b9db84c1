"""Short nodes side by side: which nodes share a call, and that no token is lost or counted twice. What is computed: test_attention."""

import numpy as np
import pytest
import torch

from instil.batch.trie import lay_out
from instil.core.values import Path
from instil.model import groups
from instil.model.groups import grouping
from instil.model.layout import Layout, lay_out_tree
from tests.model.tiny import step


def layout(lengths: list[int]) -> Layout:
    """Paths of these lengths behind one shared beginning of four tokens."""
    shared = np.array([5, 6, 7, 8], np.uint32)
    paths = [Path(np.concatenate([shared, np.full(n, 10 + i, np.uint32)]), 4) for i, n in enumerate(lengths)]
    (row,) = lay_out(paths, max_tokens=100_000)
    return lay_out_tree(row)


@pytest.mark.parametrize("window", [None, 3])
def test_every_token_has_one_place(window: int | None) -> None:
    (row,) = lay_out(step(3), max_tokens=1000)
    tree = lay_out_tree(row)
    plan = grouping(tree, window)
    queries = torch.cat([g.queries_GQ.flatten() for g in plan.groups])
    grouped = queries[queries >= 0].sort().values
    alone = [torch.arange(*row.nodes_N3[node, :2].tolist()) for node in plan.alone]
    assert torch.cat([grouped, *alone])[plan.place_T].tolist() == list(range(tree.num_tokens))


def test_every_query_sees_itself_last_and_padding_sees_something() -> None:
    plan = grouping(layout([3, 9, 5]), None)
    for group in plan.groups:
        assert bool(group.mask_G1QS.any(-1).all())


def test_alike_nodes_share_a_call_and_unlike_ones_do_not() -> None:
    assert len(grouping(layout([30] * 20), None).groups) == 1
    assert len(grouping(layout([60] * 20 + [2]), None).groups) == 1  # one more short node is cheaper than a call
    assert len(grouping(layout([120] * 20 + [2] * 40), None).groups) == 2


def test_long_nodes_stay_alone() -> None:
    tree = layout([groups.LONGEST + 1, 20, 21])
    assert [tree.lengths[node] for node in grouping(tree, None).alone] == [groups.LONGEST + 1]


def test_it_is_worked_out_once_per_window() -> None:
    tree = layout([5, 6])
    assert grouping(tree, None) is grouping(tree, None) and grouping(tree, 2) is not grouping(tree, None)
