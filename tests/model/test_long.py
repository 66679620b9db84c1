"""Long nodes piece by piece: the same outputs and gradients as the rule, token by token."""

import pytest
import torch
import torch.nn.functional as F

from instil.batch.trie import lay_out
from instil.model import groups, long
from instil.model.attention import attend_nodes
from instil.model.groups import grouping
from instil.model.layout import Scores, lay_out_tree
from instil.model.long import attend_long, pays
from tests.model.test_attention import draw, naive_attention, naive_mask
from tests.model.tiny import step


@pytest.mark.parametrize("width", [8, 6])
@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("window", [None, 1, 5, 12, 1000])
@pytest.mark.parametrize("piece", [1, 4, 128])
def test_trees_of_long_nodes(piece: int, window: int | None, scale: float | None, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "LONGEST", 2)
    monkeypatch.setattr(long, "PIECE", piece)
    (row,) = lay_out(step(), max_tokens=1000)
    tree = lay_out_tree(row)
    assert len(grouping(tree, window).alone) > 5
    inputs, scores = draw(tree.num_tokens, value_width=width), Scores(scale)
    found = attend_nodes(*inputs, tree, window, scores)
    expected = naive_attention(*inputs, naive_mask(tree, window), scores)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    upstream = torch.randn_like(found)
    for a, b in zip(torch.autograd.grad(found, inputs, upstream), torch.autograd.grad(expected, inputs, upstream), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("window", [None, 40])
def test_in_bf16(window: int | None) -> None:
    """600 tokens behind 34 others, gradients of keys summed over five pieces: within bf16's rounding of float64, as PyTorch's own are."""
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, heads, n, 16, dtype=torch.bfloat16) for heads, n in ((4, 600), (2, 634), (2, 634)))
    upstream = torch.randn(1, 4, 600, 16, dtype=torch.bfloat16)
    mask = torch.ones(600, 634, dtype=torch.bool).tril(34)
    mask = mask if window is None else mask.triu(34 - window + 1)

    def gradients(own: bool, dtype: torch.dtype) -> list[torch.Tensor]:
        inputs = [x.to(dtype).requires_grad_() for x in (query, key, value)]
        out = attend_long(*inputs, window, None) if own else F.scaled_dot_product_attention(*inputs, mask, enable_gqa=True)
        return [out.detach(), *torch.autograd.grad(out, inputs, upstream.to(dtype))]

    exact, ours, theirs = gradients(False, torch.float64), gradients(True, torch.bfloat16), gradients(False, torch.bfloat16)
    for wanted, found, peer in zip(exact, ours, theirs, strict=True):
        assert found.dtype == torch.bfloat16
        apart, theirs_apart = ((x - wanted).norm() / wanted.norm() for x in (found, peer))
        assert apart < 2**-7 and apart < 2.5 * theirs_apart, (apart, theirs_apart)


def test_where_it_pays() -> None:
    few, many = torch.empty(1, 1, long.MOST_KEYS, 2), torch.empty(1, 1, long.MOST_KEYS + 1, 2)
    assert pays(few, few) and not pays(many, many) and pays(many.bfloat16(), many.bfloat16())
    assert not pays(few.to("meta"), few.to("meta"))
