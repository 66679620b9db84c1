"""Tree attention on CUDA: FlexAttention with a block mask made from `ends` and `positions`; flash attention where nothing is shared."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import AuxRequest, BlockMask, create_block_mask, flex_attention

from instil.model.layout import Layout, Scores, path_bounds

MaskMod = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


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
    """Made once per row and window, shared by all layers."""
    key = ("blocks", window)
    if key not in tree.masks:
        device = tree.ends_T.device
        tree.masks[key] = create_block_mask(
            mask_mod(tree, window), None, None, tree.num_tokens, tree.num_tokens, device=str(device), _compile=device.type == "cuda"
        )
    found: BlockMask = tree.masks[key]
    return found


@functools.cache
def _flex(compiled: bool) -> Any:
    """Uncompiled, FlexAttention materialises all scores: for tests on CPU, without gradients."""
    return torch.compile(flex_attention) if compiled else flex_attention


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
    enable_gqa = query.shape[1] != key.shape[1]
    out = varlen_attn(q, k, v, bounds, bounds, longest, longest, scale=scale, window_size=(before, 0), enable_gqa=enable_gqa)
    assert isinstance(out, Tensor)
    return out.transpose(0, 1)[None]
