"""Tree attention for unmodified transformers models: query q sees key k iff `k <= q < ends[k]` and, under a sliding window,
`position[q] - position[k] < window`.

The function is registered under `NAME` in transformers' public attention interface; models hand the keyword argument `tree` down to it.
What a layer's own mask allows (a sliding window, or none) is read off the mask function that transformers builds for it: not every model
that uses a window passes `sliding_window` to its attention (qwen2_moe and phimoe do not).
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.masking_utils import AttentionMaskInterface
from transformers.modeling_utils import AttentionInterface, PreTrainedModel

from instil.core.errors import UserError
from instil.model import blocks
from instil.model.groups import attend_groups, grouping, in_place
from instil.model.layout import Layout, Scores
from instil.model.long import attend_long, pays

NAME = "instil_tree"

# What models pass besides what is computed with, and what cannot change the result of one row without a cache.
WITHOUT_EFFECT = {
    "position_ids",
    "position_embeddings",
    "cache_position",
    "use_cache",
    "return_dict",
    "output_router_logits",
    "logits_to_keep",
}


@dataclass(frozen=True)
class Sight:
    """How far back a layer sees along a path: `window` tokens including its own, or all (None)."""

    window: int | None


def read_sight(q_length: int, mask_function: Callable[..., Tensor], device: torch.device, **_: Any) -> Sight:
    """transformers' mask interface: called once per kind of layer with the function (batch, head, query, key) -> visible of one sequence.

    Instead of a mask [T, T] return what the function amounts to. Raises UserError where that is neither causal nor a causal window.
    """
    at = torch.arange(q_length, device=device)
    zero = torch.zeros((), dtype=torch.long, device=device)

    def sees(query: Tensor, key: Tensor) -> Tensor:
        return torch.as_tensor(mask_function(zero, zero, query, key), device=device).expand(torch.broadcast_shapes(query.shape, key.shape))

    window = int(sees(at[-1], at).sum())
    as_expected = bool(sees(at[window - 1 :], at[: q_length - window + 1]).all()) and not (
        bool(sees(at[window:], at[: q_length - window]).any()) or bool(sees(at[:-1], at[1:]).any())
    )
    if not as_expected:
        raise UserError(
            "this model's attention mask is neither causal nor a sliding window, so nothing can be packed: set train.packing: alone"
        )
    return Sight(None if window == q_length else window)


def tree_attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Sight | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    tree: Layout | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    is_causal: bool | None = None,
    **unknown: Any,
) -> tuple[Tensor, None]:
    """query [1, H, T, D], key [1, K, T, D], value [1, K, T, E] -> [1, T, H, E]. Raises UserError for what it cannot honour."""
    if tree is None:
        raise UserError(
            f"{type(module).__name__} is not handed the keyword arguments that its model was called with: set train.packing: alone"
        )
    assert query.shape[:1] == (1,) and query.shape[2] == key.shape[2] == tree.num_tokens, (
        f"{query.shape}, {key.shape}: {tree.num_tokens} tokens"
    )
    refused = [name for name, given in unknown.items() if name not in WITHOUT_EFFECT and given is not None and given is not False]
    refused += ["is_causal=False"] * (is_causal is False)
    refused += ["attention_mask"] * (attention_mask is not None and not isinstance(attention_mask, Sight))
    if refused:
        what = f"{type(module).__name__} passes {', '.join(refused)} to its attention"
        raise UserError(f"{what}, which packed training cannot honour: set train.packing: alone")
    window = attention_mask.window if attention_mask is not None else sliding_window
    if (inner := _autocast_dtype(query)) is not None:  # once per layer, not once per node
        query, key, value = query.to(inner), key.to(inner), value.to(inner)
    attend = attend_nodes if tree.backend == "nodes" or dropout else blocks.attend_blocks
    out = attend(query, key, value, tree, window, Scores(scaling, softcap, s_aux, dropout))
    return out.transpose(1, 2).contiguous(), None


def attend_nodes(query: Tensor, key: Tensor, value: Tensor, tree: Layout, window: int | None, scores: Scores) -> Tensor:
    """Every node over the keys of its ancestors and itself: short nodes of like shape in one call, the others in a call each."""
    plan = grouping(tree, window)
    alone = _attend_each(query, key, value, tree, plan.alone, window, scores)
    if not plan.groups:
        return torch.cat(alone, 2)
    grouped = attend_groups(query, key, value, tree, window, scores)
    return in_place(grouped, [piece[0].transpose(0, 1) for piece in alone], plan)


def _attend_each(
    query: Tensor, key: Tensor, value: Tensor, tree: Layout, nodes: Sequence[int], window: int | None, scores: Scores
) -> list[Tensor]:
    """One attention call per node. Pieces come from `split`, whose backward is one `cat`; slices would each fill a gradient of the whole
    row."""
    if not nodes:
        return []
    queries, keys, values = query.split(tree.lengths, 2), key.split(tree.lengths, 2), value.split(tree.lengths, 2)
    out = []
    for node in nodes:
        first, mask = tree.mask(node, window)
        k, v = (_path(pieces, (*tree.chains[node], node), first) for pieces in (keys, values))
        q, plain = queries[node], scores.softcap is None and scores.sinks is None
        if plain and not scores.dropout and pays(q, k):
            out.append(attend_long(q, k, v, window, scores.scale))
        elif plain:
            wide = query.shape[1] != key.shape[1]
            out.append(F.scaled_dot_product_attention(q, k, v, mask, scores.dropout, mask is None, scale=scores.scale, enable_gqa=wide))
        else:
            out.append(_explicit(q, k, v, mask, scores))
    return out


def _path(pieces: tuple[Tensor, ...], chain: tuple[int, ...], first: int) -> Tensor:
    """The pieces of a path from position `first` on."""
    kept = []
    for node in chain:
        length = pieces[node].shape[2]
        if first < length:
            kept.append(pieces[node][:, :, first:] if first > 0 else pieces[node])
        first -= length
    return kept[0] if len(kept) == 1 else torch.cat(kept, 2)


def _explicit(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scores: Scores) -> Tensor:
    """Attention spelt out, scores and softmax in float32 or better."""
    heads, length, width = query.shape[1:]
    kv_heads = key.shape[1]
    wide = torch.promote_types(query.dtype, torch.float32)
    grouped = query.reshape(kv_heads, heads // kv_heads * length, width)
    logits = (grouped @ key[0].transpose(1, 2)).to(wide).view(kv_heads, -1, length, key.shape[2])
    logits = logits * (width**-0.5 if scores.scale is None else scores.scale)
    if scores.softcap is not None:
        logits = torch.tanh(logits / scores.softcap) * scores.softcap
    seen = torch.ones(length, key.shape[2], dtype=torch.bool, device=query.device).tril() if mask is None else mask
    logits = logits.masked_fill(~seen, float("-inf"))
    if scores.sinks is not None:
        sinks = scores.sinks.to(wide).view(kv_heads, -1, 1, 1).expand(-1, -1, length, 1)
        logits = torch.cat([logits, sinks], -1)
    weights = F.dropout(logits.softmax(-1)[..., : key.shape[2]], scores.dropout).to(value.dtype)
    return (weights.view(kv_heads, -1, key.shape[2]) @ value[0]).view(1, heads, length, -1)


def _autocast_dtype(query: Tensor) -> torch.dtype | None:
    device = query.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) and query.dtype != torch.float64 else None


AttentionInterface.register(NAME, tree_attention_forward)
AttentionMaskInterface.register(NAME, read_sight)


def base_model_of(model: nn.Module) -> PreTrainedModel:
    """The transformers model itself, without peft's wrapper."""
    wrapped: Any = model
    inner = wrapped.get_base_model() if hasattr(model, "get_base_model") else model
    assert isinstance(inner, PreTrainedModel), type(inner)
    return inner


def attends_by_tree(model: PreTrainedModel) -> bool:
    """Whether we are inside `tree_attention(model)`."""
    return any(implementation == NAME for _, implementation in _implementations(model).values())


def _implementations(model: PreTrainedModel) -> dict[int, tuple[Any, str]]:
    """Every config inside the model (composite models have several, and their modules may hold copies) and its attention implementation."""
    configs = [module.config for module in model.modules() if isinstance(module, PreTrainedModel)]
    for config in configs:  # grows while it is read: sub-configs may have sub-configs
        configs += [sub for name in config.sub_configs if (sub := getattr(config, name, None)) is not None]
    return {id(config): (config, config._attn_implementation) for config in configs}


@contextlib.contextmanager
def tree_attention(model: nn.Module) -> Iterator[None]:
    """Inside the block `model` (peft-wrapped or not) attends by tree, and every forward needs `tree=Layout`; afterwards as before.

    Raises UserError where the architecture does not use transformers' attention interface.
    """
    inner = base_model_of(model)
    before = _implementations(inner)
    if not inner._can_set_attn_implementation():
        raise UserError(f"{type(inner).__name__} does not use transformers' attention interface: set train.packing: alone")
    inner.set_attn_implementation(NAME)
    try:
        yield
    finally:
        for config, implementation in before.values():
            config._attn_implementation_internal = implementation
