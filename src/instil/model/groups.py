"""Tree attention for short nodes on a CPU: nodes of like shape are gathered, padded, and attend side by side in one call.

A call costs a CPU a third of a millisecond however little it computes, and a step of short rows has hundreds of nodes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from instil.model.layout import Layout, Scores
from instil.model.long import cuts

LONGEST = 512
"""Tokens of a node that is still grouped. Longer ones fill a call by themselves, and their weights would be too large to keep."""
CALL = 10_000
"""What a call costs, in scores (queries times keys of a head) that could be computed meanwhile: how much padding a call saved is worth."""
Piece = tuple[int, int, int]
"""A node, and its tokens from, to."""


@dataclass(frozen=True, slots=True)
class Group:
    """G nodes or pieces of nodes, padded to Q queries and S keys. `queries_GQ`, `keys_GS`: places in the row, -1 where padded;
    `mask_G1QS`: which key each query sees."""

    queries_GQ: Tensor
    keys_GS: Tensor
    mask_G1QS: Tensor


@dataclass(frozen=True, slots=True)
class Grouping:
    """`groups`, and the nodes in none of them (`alone`). `place_T`: where each token's output lies: the tokens of all groups in the
    order of the row, then those of the nodes alone."""

    groups: tuple[Group, ...]
    alone: tuple[int, ...]
    place_T: Tensor


@dataclass(frozen=True, slots=True)
class Gather:
    """Rows of a table [T * H, D] (a token's heads side by side), laid out for the groups' products: [G, H, places] of each group, one
    behind the other. And back: the places of row r are `uses[offsets[r]:offsets[r + 1]]`, none of them padding."""

    rows: Tensor
    uses: Tensor
    offsets: Tensor

    def __call__(self, table_RD: Tensor) -> Tensor:
        return F.embedding(self.rows, table_RD)

    def back(self, gathered_PD: Tensor) -> Tensor:
        """The transpose: every row of the table gets the sum of its places, summed in float32 or better."""
        return F.embedding_bag(self.uses, gathered_PD, self.offsets, mode="sum")


def grouping(tree: Layout, window: int | None) -> Grouping:
    """How the row's nodes are grouped under a window; worked out once per row."""
    key = ("groups", window)
    if key not in tree.masks:
        tree.masks[key] = _group(tree, window)
    found: Grouping = tree.masks[key]
    return found


def attend_groups(query: Tensor, key: Tensor, value: Tensor, tree: Layout, window: int | None, scores: Scores) -> Tensor:
    """query [1, H, T, D], key [1, K, T, D], value [1, K, T, E] -> [the groups' tokens in the row's order, H, E].

    Attention is written out: a CPU's flash kernel takes longer over nodes that are not very long.
    """
    plan, (heads, kv_heads) = grouping(tree, window), (query.shape[1], key.shape[1])
    by_query, by_key = (_gather(tree, window, which, count) for which, count in (("queries_GQ", heads), ("keys_GS", kv_heads)))
    scale = query.shape[-1] ** -0.5 if scores.scale is None else scores.scale
    tables = _table(query), _table(key), _table(value)
    if scores.softcap is None and scores.sinks is None and not scores.dropout:
        biases = _biases(tree, window, query.dtype)
        out = _Attend.apply(*tables, plan.groups, biases, by_query, by_key, scale, heads, kv_heads)
    else:
        out = _capped(*tables, plan.groups, by_query, by_key, heads, kv_heads, replace(scores, scale=scale))
    return out.view(-1, heads, value.shape[-1])


class _Attend(torch.autograd.Function):
    """Plain attention, all groups in one node of the graph: one gather for all of them, and a backward pass without a scatter per group."""

    @staticmethod
    def forward(
        ctx: Any,
        query_RD: Tensor,
        key_RD: Tensor,
        value_RE: Tensor,
        groups: tuple[Group, ...],
        biases: tuple[Tensor, ...],
        by_query: Gather,
        by_key: Gather,
        scale: float,
        heads: int,
        kv_heads: int,
    ) -> Tensor:
        queries, keys, values = by_query(query_RD).mul_(scale), by_key(key_RD), by_key(value_RE)
        out, kept = queries.new_empty(len(queries), values.shape[1]), []
        by_group = _split(groups, "queries_GQ", heads, kv_heads, queries, out), _split(groups, "keys_GS", kv_heads, kv_heads, keys, values)
        for (q, o), (k, v), bias in zip(*by_group, biases, strict=True):
            logits = torch.bmm(q, k.transpose(1, 2))
            logits.view(len(bias), heads, *bias.shape[2:]).add_(bias)
            weights = logits.softmax(-1)  # sums in float32, whatever it is given
            torch.bmm(weights, v, out=o)
            kept.append(weights)
        ctx.save_for_backward(queries, keys, values, *kept)
        ctx.about = groups, by_query, by_key, scale, heads, kv_heads
        return F.embedding(by_query.uses, out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_RE: Tensor) -> tuple[Tensor | None, ...]:
        groups, by_query, by_key, scale, heads, kv_heads = ctx.about
        queries, keys, values, *kept = ctx.saved_tensors
        grads = grad_RE.new_zeros(len(queries), grad_RE.shape[1])
        grads[by_query.uses] = grad_RE
        grad_q, grad_k, grad_v = torch.empty_like(queries), torch.empty_like(keys), torch.empty_like(values)
        for (q, dq, do), (k, v, dk, dv), weights in zip(
            _split(groups, "queries_GQ", heads, kv_heads, queries, grad_q, grads),
            _split(groups, "keys_GS", kv_heads, kv_heads, keys, values, grad_k, grad_v),
            kept,
            strict=True,
        ):
            torch.bmm(weights.transpose(1, 2), do, out=dv)
            of_weights = torch.bmm(do, v.transpose(1, 2))
            of_logits = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
            torch.bmm(of_logits, k, out=dq)
            torch.bmm(of_logits.transpose(1, 2), q, out=dk)
        return by_query.back(grad_q.mul_(scale)), by_key.back(grad_k), by_key.back(grad_v), *[None] * 7


def _capped(
    query_RD: Tensor,
    key_RD: Tensor,
    value_RE: Tensor,
    groups: tuple[Group, ...],
    by_query: Gather,
    by_key: Gather,
    heads: int,
    kv_heads: int,
    scores: Scores,
) -> Tensor:
    """The same with soft-capping, sinks or dropout; logits in float32 or better."""
    queries, keys, values = by_query(query_RD), by_key(key_RD), by_key(value_RE)
    out = []
    for (q,), (k, v), group in zip(
        _split(groups, "queries_GQ", heads, kv_heads, queries),
        _split(groups, "keys_GS", kv_heads, kv_heads, keys, values),
        groups,
        strict=True,
    ):
        products = (q @ k.transpose(1, 2)).view(len(group.mask_G1QS), heads, *group.mask_G1QS.shape[2:])
        weights = F.dropout(_weights(products, group.mask_G1QS, scores), scores.dropout).to(v.dtype)
        out.append((weights.view(len(q), -1, k.shape[1]) @ v).flatten(0, 1))
    return F.embedding(by_query.uses, torch.cat(out))


def _weights(products_GHQS: Tensor, mask_G1QS: Tensor, scores: Scores) -> Tensor:
    wide = torch.promote_types(products_GHQS.dtype, torch.float32)
    assert scores.scale is not None
    logits = products_GHQS.to(wide) * scores.scale
    if scores.softcap is not None:
        logits = torch.tanh(logits / scores.softcap) * scores.softcap
    logits = logits.masked_fill(~mask_G1QS, float("-inf"))
    if scores.sinks is None:
        return logits.softmax(-1)
    count, heads, queries = logits.shape[:3]
    sinks = scores.sinks.to(wide).view(1, heads, 1, 1).expand(count, heads, queries, 1)
    return torch.cat([logits, sinks], -1).softmax(-1)[..., :-1]


def in_place(grouped: Tensor, alone: Sequence[Tensor], plan: Grouping) -> Tensor:
    """Outputs [N, H, E] of the groups, then of the nodes alone, as [1, H, T, E] in the order of the row."""
    if alone:
        joined = torch.cat([grouped, *alone])
        grouped = F.embedding(plan.place_T, joined.flatten(1)).view(joined.shape)
    return grouped.transpose(0, 1)[None]


def _table(tensor: Tensor) -> Tensor:
    """[1, H, T, D] -> [T * H, D]."""
    return tensor[0].transpose(0, 1).reshape(-1, tensor.shape[-1])


def _split(groups: Sequence[Group], which: str, heads: int, kv_heads: int, *tables: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Per group, its part [G * K, heads per key head * places, D] of each table."""
    at = 0
    for group in groups:
        count, places = getattr(group, which).shape
        rows = count * heads * places
        yield tuple(table[at : at + rows].view(count * kv_heads, -1, table.shape[1]) for table in tables)
        at += rows


def _gather(tree: Layout, window: int | None, which: str, heads: int) -> Gather:
    """Worked out once per row, window and number of heads. An embedding lookup, and back a sum of bags: of all ways to gather and to
    scatter, the fastest on a CPU."""
    key = (which, window, heads)
    if key not in tree.masks:
        head_H1 = torch.arange(heads, device=tree.ends_T.device)[:, None]
        places = [getattr(group, which)[:, None] for group in grouping(tree, window).groups]
        rows_P = torch.cat([torch.where(p < 0, p, p * heads + head_H1).flatten() for p in places])
        real = rows_P >= 0
        uses = torch.argsort(rows_P, stable=True)[int((~real).sum()) :]
        counts = torch.bincount(rows_P[real], minlength=tree.num_tokens * heads)
        tree.masks[key] = Gather(rows_P.clamp(min=0), uses, counts.cumsum(0) - counts)
    found: Gather = tree.masks[key]
    return found


def _biases(tree: Layout, window: int | None, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """The groups' masks as what is added to their logits: faster than filling."""
    key = ("biases", window, dtype)
    if key not in tree.masks:
        masks = [group.mask_G1QS for group in grouping(tree, window).groups]
        tree.masks[key] = tuple(torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, float("-inf")) for mask in masks)
    found: tuple[Tensor, ...] = tree.masks[key]
    return found


def _group(tree: Layout, window: int | None) -> Grouping:
    starts = [0, *accumulate(tree.lengths)]
    spans: dict[Piece, Tensor] = {}
    for node, length in enumerate(tree.lengths):
        if length <= LONGEST:
            seen = _seen_places(tree, starts, node, tree.mask(node, window)[0])
            for begin, end in pairwise(cuts(length)):
                spans[node, begin, end] = seen[: len(seen) - length + end]
    groups = _bundles({piece: (piece[2] - piece[1], len(places)) for piece, places in spans.items()})
    grouped = sorted({node for node, _, _ in spans})
    alone = tuple(node for node in range(len(tree.lengths)) if tree.lengths[node] > LONGEST)
    made = tuple(_padded(tree, starts, {piece: spans[piece] for piece in pieces}, window) for pieces in groups)
    place, at = torch.empty(tree.num_tokens, dtype=torch.long), 0
    for node in (*grouped, *alone):
        place[starts[node] : starts[node + 1]] = torch.arange(at, at + tree.lengths[node])
        at += tree.lengths[node]
    return Grouping(made, alone, place.to(tree.ends_T.device))


def _seen_places(tree: Layout, starts: list[int], node: int, first: int) -> Tensor:
    """Places in the row of the node's path, from position `first` on."""
    return torch.cat([torch.arange(starts[n], starts[n + 1]) for n in (*tree.chains[node], node)])[first:]


def _bundles(shapes: dict[Piece, tuple[int, int]]) -> list[list[Piece]]:
    """Pieces of like shape (queries, keys) together, the largest first; a bundle grows while all its padding costs less than a call."""
    bundles: list[list[Piece]] = []
    most_q = most_k = needed = 0
    for piece in sorted(shapes, key=lambda p: (shapes[p][1], shapes[p][0], p), reverse=True):
        queries, keys = shapes[piece]
        wider, needed = max(most_q, queries), needed + queries * keys
        if bundles and (len(bundles[-1]) + 1) * wider * most_k <= needed + CALL:
            bundles[-1].append(piece)
            most_q = wider
        else:
            bundles.append([piece])
            most_q, most_k, needed = queries, keys, queries * keys
    return bundles


def _padded(tree: Layout, starts: list[int], spans: dict[Piece, Tensor], window: int | None) -> Group:
    most_q, most_k = max(end - begin for _, begin, end in spans), max(map(len, spans.values()))
    most_k += most_k % 2  # bf16 products take their inner dimension in pairs: an odd one costs up to a third more
    queries_GQ = torch.full((len(spans), most_q), -1)
    keys_GS = torch.full((len(spans), most_k), -1)
    mask_GQS = torch.zeros(len(spans), most_q, most_k, dtype=torch.bool)
    for i, ((node, begin, end), places) in enumerate(spans.items()):
        length, keys = end - begin, len(places)
        queries_GQ[i, :length] = torch.arange(starts[node] + begin, starts[node] + end)
        keys_GS[i, :keys] = places
        mask = tree.mask(node, window)[1]
        causal = torch.ones(length, keys, dtype=torch.bool).tril(begin) if mask is None else mask[begin:end, :keys]
        mask_GQS[i, :length, :keys] = causal
        mask_GQS[i, length:, 0] = True  # padding sees one key: softmax over none is not a number
    device = tree.ends_T.device
    return Group(queries_GQ.to(device), keys_GS.to(device), mask_GQS[:, None].to(device))
