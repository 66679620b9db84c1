"""Padding to a budget: few lengths, and the same loss."""

import numpy as np
import pytest
import torch

from instil.batch.trie import lay_out
from instil.core.values import Path
from instil.model.attention import tree_attention
from instil.model.blocks import block_mask
from instil.model.budget import HALVINGS, pad_row, row_budget
from instil.model.compiled import compile_blocks
from instil.model.layout import lay_out_tree
from instil.model.step import row_loss
from tests.model.test_attention import naive_mask
from tests.model.tiny import Float64, build, gradients, naive_loss, step


@pytest.mark.parametrize(
    ("tokens", "max_tokens", "budget"),
    [(1, 8192, 512), (512, 8192, 512), (513, 8192, 1024), (4097, 8192, 8192), (8192, 8192, 8192), (900, 1000, 1024), (1, 100, 128)],
)
def test_budgets(tokens: int, max_tokens: int, budget: int) -> None:
    assert row_budget(tokens, max_tokens) == budget


def test_few_lengths_over_many_steps() -> None:
    """What is compiled for is a length: rows of 200 steps have no more of them than there are budgets."""
    random, lengths, computed, needed = np.random.default_rng(0), set(), 0, 0
    for _ in range(200):
        paths = [Path(random.integers(3, 97, random.integers(5, 200)).astype(np.uint32), 2) for _ in range(64)]
        for row in lay_out(paths, 2048):
            lengths.add(row_budget(len(row.tokens_T), 2048))
            computed, needed = computed + row_budget(len(row.tokens_T), 2048), needed + len(row.tokens_T)
    assert lengths <= {128, 256, 512, 1024, 2048} and len(lengths) <= HALVINGS + 1
    assert computed < 1.15 * needed


def test_padding_sees_itself_alone_and_nobody_sees_it() -> None:
    (row,) = lay_out(step(), max_tokens=1000)
    length = len(row.tokens_T)
    tree = lay_out_tree(pad_row(row.tokens_T, row, 384), "cpu", "blocks")
    seen = naive_mask(tree, None)
    assert torch.equal(seen[:length, :length], naive_mask(lay_out_tree(row), None))
    assert torch.equal(seen[length:], torch.eye(384, dtype=torch.bool)[length:])
    assert not seen[:length, length:].any()
    blocks = block_mask(tree, None).to_dense()[0, 0].bool()
    assert blocks.sum() == 3  # a diagonal


@pytest.mark.parametrize("kind", ["llama", "gemma2", "gpt_oss"])
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@torch.no_grad()
def test_the_loss_is_that_of_the_row_alone(kind: str) -> None:
    """FlexAttention's forward pass, uncompiled, over a padded row, against one path at a time."""
    model, paths = build(kind), step()
    (row,) = lay_out(paths, max_tokens=1000)
    with Float64():
        expected = naive_loss(model, paths)
        with tree_attention(model):
            found = row_loss(model, row, tree=True, max_tokens=1000, backend="blocks")
            again = row_loss(model, row, tree=True, max_tokens=256, backend="blocks")
    assert found.total.item() == pytest.approx(expected.item(), rel=1e-5)  # FlexAttention computes scores in float32
    assert again.total.item() == pytest.approx(found.total.item(), rel=1e-6)
    assert found.metrics["supervised"] == len(row.targets_S)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["llama", "gemma2", "gpt_oss"])
@pytest.mark.parametrize("compiled", [False, True])
def test_on_cuda(kind: str, compiled: bool) -> None:
    """Loss and gradients of padded rows in float32, with compiled FlexAttention and, if `compiled`, compiled blocks, against the CPU."""
    paths = step()
    (row,) = lay_out(paths, max_tokens=1000)
    model = build(kind, torch.float32, hidden_size=128, head_dim=32)
    expected = naive_loss(model, paths)
    expected_gradients = gradients(model, expected)
    model.cuda()
    if compiled:
        compile_blocks(model)
    with tree_attention(model):
        found = row_loss(model, row, tree=True, max_tokens=1000).total
        found_gradients = gradients(model, found)
    assert found.item() == pytest.approx(expected.item(), rel=1e-3)
    for name, gradient in expected_gradients.items():
        if gradient.norm() > 1e-3:
            assert torch.cosine_similarity(found_gradients[name].cpu().flatten(), gradient.flatten(), 0) > 0.99, name
