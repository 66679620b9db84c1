"""FlexAttention's side. Without a GPU: its mask, and its forward pass uncompiled; on a GPU also gradients, and flash attention."""

import numpy as np
import pytest
import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

from instil.batch.trie import lay_out
from instil.core.values import Path
from instil.model.blocks import attend_blocks, block_mask, mask_mod
from instil.model.layout import Layout, Scores, lay_out_tree, path_bounds
from tests.model.test_attention import SCORES, draw, naive_attention, naive_mask
from tests.model.tiny import step


def layout(device: str = "cpu", share: bool = True) -> Layout:
    rows = lay_out(step(), max_tokens=1000, share=share)
    return lay_out_tree(rows[0], device, "blocks")


@pytest.mark.parametrize("window", [None, 1, 7, 30])
def test_mask_is_the_rule(window: int | None) -> None:
    tree = layout()
    at = torch.arange(tree.num_tokens)
    zero = torch.zeros((), dtype=torch.long)
    found = mask_mod(tree, window)(zero, zero, at[:, None], at[None, :])
    assert torch.equal(found, naive_mask(tree, window))


def test_block_mask_covers_the_rule() -> None:
    """Blocks that the mask leaves out hold nothing visible, over several blocks of 128."""
    paths = [path for seed in range(12) for path in step(seed)]
    (row,) = lay_out(paths, max_tokens=100_000)
    tree = lay_out_tree(row, "cpu", "blocks")
    assert tree.num_tokens > 5 * 128
    visible = naive_mask(tree, 7)
    kept = block_mask(tree, 7).to_dense()[0, 0].bool().repeat_interleave(128, 0).repeat_interleave(128, 1)
    assert not (visible & ~kept[: tree.num_tokens, : tree.num_tokens]).any()
    assert not kept.all()
    assert block_mask(tree, 7) is block_mask(tree, 7)


@pytest.mark.parametrize("seed", range(4))
def test_block_mask_is_torchs_own(seed: int) -> None:
    """Without a window to the block, and in every field; with one, what torch keeps is kept, and what is taken whole is whole."""
    paths = [path for number in range(6) for path in long_paths(seed * 100 + number)]
    (row,) = lay_out(paths, max_tokens=100_000)
    tree = lay_out_tree(row, "cpu", "blocks")
    for window in (None, 40, 300):
        found = block_mask(tree, window)
        expected = create_block_mask(mask_mod(tree, window), None, None, tree.num_tokens, tree.num_tokens, device="cpu")
        dense = [blocks_of(found), blocks_of(expected)]
        if window is None:
            assert found.seq_lengths == expected.seq_lengths and found.BLOCK_SIZE == expected.BLOCK_SIZE
            assert dense[0][1].any() and dense[0][0].any()
            for name in ("kv_num_blocks", "kv_indices", "full_kv_num_blocks", "full_kv_indices", "q_num_blocks", "q_indices"):
                assert torch.equal(getattr(found, name), getattr(expected, name)), name
                assert getattr(found, name).dtype == torch.int32
        else:
            (partial, whole), (torchs_partial, torchs_whole) = dense
            assert not ((torchs_partial | torchs_whole) & ~(partial | whole)).any()
            assert not (whole & ~torchs_whole).any() and not (partial & whole).any()
            assert (partial | whole).sum() <= 2 * (torchs_partial | torchs_whole).sum()


def long_paths(seed: int) -> list[Path]:
    """A prompt of some hundred tokens with two answers."""
    random = np.random.default_rng(seed)
    prompt, *answers = (random.integers(3, 97, random.integers(20, 400)).astype(np.uint32) for _ in range(3))
    return [Path(np.concatenate([prompt, answer]), len(prompt), 1.0) for answer in answers]


def blocks_of(mask: BlockMask) -> list[torch.Tensor]:
    """Blocks that are looked at token by token, and blocks that are taken whole [B, B]."""
    found = []
    for counts, indices in ((mask.kv_num_blocks, mask.kv_indices), (mask.full_kv_num_blocks, mask.full_kv_indices)):
        dense = torch.zeros(indices.shape[-2:], dtype=torch.bool)
        for row, (count, which) in enumerate(zip(counts[0, 0], indices[0, 0], strict=True)):
            dense[row, which[:count].long()] = True
        found.append(dense)
    return found


@pytest.mark.parametrize("window", [None, 7])
@pytest.mark.parametrize("kind", SCORES)
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_forward(kind: str, window: int | None) -> None:
    tree = layout()
    inputs = [x.detach() for x in draw(tree.num_tokens)]
    found = attend_blocks(*inputs, tree, window, SCORES[kind])
    expected = naive_attention(*inputs, naive_mask(tree, window), SCORES[kind])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_bounds_of_a_row_without_sharing() -> None:
    (row,) = lay_out([step(seed)[6] for seed in range(3)], max_tokens=1000)
    tree = lay_out_tree(row)
    assert tree.is_forest_of_paths and not layout().is_forest_of_paths
    bounds, longest = path_bounds(tree)
    assert bounds.tolist() == [0, 21, 42, 63] and longest == 21 and bounds.dtype == torch.int32


@pytest.mark.gpu
@pytest.mark.parametrize("window", [None, 7])
@pytest.mark.parametrize("kind", SCORES)
@pytest.mark.parametrize("share", [True, False])
def test_on_cuda(kind: str, window: int | None, share: bool) -> None:
    """Values and gradients in bf16, against the rule in float64. Head width 64: kernels know nothing narrower."""
    tree = layout("cuda", share)
    generator = torch.Generator().manual_seed(1)
    shapes = [(1, heads, tree.num_tokens, 64) for heads in (4, 2, 2)]
    exact = [torch.randn(shape, generator=generator, dtype=torch.float64).cuda().requires_grad_() for shape in shapes]
    rounded = [x.detach().bfloat16().requires_grad_() for x in exact]
    sinks = SCORES[kind].sinks
    scores = Scores(SCORES[kind].scale, SCORES[kind].softcap, None if sinks is None else sinks.cuda())
    found = attend_blocks(*rounded, tree, window, scores)
    expected = naive_attention(*exact, naive_mask(tree, window).cuda(), scores)
    torch.testing.assert_close(found.double(), expected, rtol=3e-2, atol=3e-2)
    upstream = torch.randn_like(expected)
    for a, b in zip(torch.autograd.grad(found, rounded, upstream.bfloat16()), torch.autograd.grad(expected, exact, upstream), strict=True):
        assert torch.cosine_similarity(a.double().flatten(), b.flatten(), 0) > 0.999
