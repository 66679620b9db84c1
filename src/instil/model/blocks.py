"""Tree attention on CUDA: FlexAttention with a block mask made from `ends` and `positions`; flash attention where nothing is shared."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import AuxRequest, BlockMask, flex_attention

from instil.model.budget import BLOCK
from instil.model.layout import Layout, Scores, path_bounds

MaskMod = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
VARIANTS = 64
"""Of FlexAttention that may be compiled, instead of PyTorch's 8."""


def attend_blocks(query: Tensor, key: Tensor, value: Tensor, tree: Layout, window: int | None, scores: Scores) -> Tensor:
    """query [1, H, T, D], key [1, K, T, D], value [1, K, T, E] -> [1, H, T, E]. Sinks are one more term in the softmax's denominator:
    the output is scaled by the share that the real keys have in it, `sigmoid(log-sum-exp - sink)`."""
    assert not scores.dropout, "FlexAttention has no dropout: use the loop over nodes"
    if tree.is_forest_of_paths and scores.softcap is None and scores.sinks is None and _flash_can(query, value):
        return _attend_paths(query, key, value, tree, window, scores.scale)
    out, aux = _flex(query.is_cuda)(
        query,
        key,
        value,
        score_mod=None if scores.softcap is None else score_mod(scores.softcap),
        block_mask=block_mask(tree, window),
        scale=scores.scale,
        enable_gqa=query.shape[1] != key.shape[1],
        kernel_options={"BACKEND": "TRITON"},  # the kernel for short rows, which would be taken otherwise, does not exist for every width
        return_aux=AuxRequest(lse=True),
    )
    if scores.sinks is None:
        return out
    share = torch.sigmoid(aux.lse - scores.sinks.to(aux.lse.dtype)[None, :, None])
    return (out * share[..., None]).to(query.dtype)


def score_mod(softcap: float) -> Callable[..., Tensor]:
    """Soft-capping, for FlexAttention."""

    def cap(score: Tensor, batch: Tensor, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return torch.tanh(score / softcap) * softcap

    return cap


def mask_mod(tree: Layout, window: int | None) -> MaskMod:
    """The rule itself, for FlexAttention: (batch, head, query, key) -> visible."""
    ends_T, positions_T = tree.ends_T, tree.positions_T

    def visible(batch: Tensor, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return (k <= q) & (q < ends_T[k])

    if window is None:
        return visible
    reach = window

    def visible_in_window(batch: Tensor, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return visible(batch, head, q, k) & (positions_T[q] - positions_T[k] < reach)

    return visible_in_window


def block_mask(tree: Layout, window: int | None) -> BlockMask:
    """Made once per row and window, shared by all layers. Read off the tree's ends, block by block: PyTorch's `create_block_mask` looks at
    every pair of tokens, and compiles itself anew for lengths that it has not met."""
    key = ("blocks", window)
    if key not in tree.masks:
        seen, whole = visible_blocks(tree, window)
        tree.masks[key] = BlockMask.from_kv_blocks(
            *_ordered(seen & ~whole), *_ordered(whole), BLOCK, mask_mod(tree, window), (tree.num_tokens, tree.num_tokens)
        )
    found: BlockMask = tree.masks[key]
    return found


def visible_blocks(tree: Layout, window: int | None) -> tuple[Tensor, Tensor]:
    """[B, B] each, B blocks of tokens: where a query of the first block may see a key of the second; where all of its queries see all keys.

    The first is exact without a window. With one, a block may be kept in which nothing is visible: what is kept is looked at by the rule.
    """
    count = -(-tree.num_tokens // BLOCK)
    starts = torch.arange(0, count * BLOCK, BLOCK, device=tree.ends_T.device)
    behind = 0, count * BLOCK - tree.num_tokens
    ends = F.pad(tree.ends_T, behind).view(count, BLOCK)  # keys behind the row end before it, so nobody sees them
    seen = torch.ones(count, count, dtype=torch.bool, device=starts.device).tril() & (ends.amax(1) > starts[:, None])
    whole = (starts < starts[:, None]) & (ends.amin(1) >= starts[:, None] + BLOCK)
    if window is not None:
        lowest = F.pad(tree.positions_T, behind, value=tree.num_tokens).view(count, BLOCK).amin(1)
        highest = F.pad(tree.positions_T, behind).view(count, BLOCK).amax(1)
        seen &= lowest[:, None] - highest < window
        whole &= highest[:, None] - lowest < window
    return seen, whole


def _ordered(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """How many blocks each row of blocks sees [1, 1, B], and which, first of all others [1, 1, B, B]."""
    which = blocks.int().argsort(dim=-1, descending=True, stable=True)
    return blocks.sum(-1, dtype=torch.int32)[None, None], which.to(torch.int32)[None, None]


@functools.cache
def _flex(compiled: bool) -> Any:
    """Uncompiled, FlexAttention materialises all scores: for tests on CPU, without gradients. That is also what PyTorch falls back to,
    with a warning, once it has compiled 8 variants; with and without gradients, with and without windows, for a first length and then for
    any, a model can need as many."""
    if not compiled:
        return flex_attention
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, VARIANTS)
    return torch.compile(flex_attention)


def _flash_can(query: Tensor, value: Tensor) -> bool:
    return query.is_cuda and query.dtype in (torch.bfloat16, torch.float16) and query.shape[-1] == value.shape[-1] <= 256


def _attend_paths(query: Tensor, key: Tensor, value: Tensor, tree: Layout, window: int | None, scale: float | None) -> Tensor:
    # Only here: the module registers CUDA operators, and nothing else needs it.
    from torch.nn.attention.varlen import varlen_attn

    if "paths" not in tree.masks:
        tree.masks["paths"] = path_bounds(tree)
    bounds, longest = tree.masks["paths"]
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    before = -1 if window is None else window - 1  # flash attention counts the tokens to the left of the query's own
    told: dict[str, Any] = {"enable_gqa": True} if query.shape[1] != key.shape[1] and _told_of_groups() else {}
    out = varlen_attn(q, k, v, bounds, bounds, longest, longest, scale=scale, window_size=(before, 0), **told)
    assert isinstance(out, Tensor)
    return out.transpose(0, 1)[None]


@functools.cache
def _told_of_groups() -> bool:
    """The kernel takes fewer keys than queries by itself; from torch 2.12 on the function wants to be told."""
    from torch.nn.attention.varlen import varlen_attn

    return "enable_gqa" in inspect.signature(varlen_attn).parameters
