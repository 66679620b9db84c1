"""Tree attention for short nodes on a CPU: nodes of like shape are gathered, padded, and attend side by side in one call.

A call costs a CPU a third of a millisecond however little it computes, and a step of short rows has hundreds of nodes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from instil.model.layout import Layout, Scores

LONGEST = 512
"""Tokens of a node that is still grouped. Longer ones fill a call by themselves, and their weights would be too large to keep."""
CALL = 50_000
"""What a call costs, in scores (queries times keys of a head) that could be computed meanwhile: how much padding a call saved is worth.
LONGEST and CALL of 512 and 20,000 / 512 and 100,000 / 1,024 and 50,000 train 26.1 / 26.8 / 26.9 examples a second, 128 and 20,000 23.1
(25M parameters, eight heads of 64, 64 Alpaca rows a step, two cores)."""


@dataclass(frozen=True, slots=True)
class Group:
    """G nodes, padded to Q queries and S keys. `queries_GQ`, `keys_GS`: places in the row; `mask_G1QS`: which key each query sees."""

    queries_GQ: Tensor
    keys_GS: Tensor
    mask_G1QS: Tensor


@dataclass(frozen=True, slots=True)
class Grouping:
    """`groups`, and the nodes in none of them (`alone`). `place_T`: where each token's output lies, behind all groups' outputs and then
    those of the nodes alone."""

    groups: tuple[Group, ...]
    alone: tuple[int, ...]
    place_T: Tensor


def grouping(tree: Layout, window: int | None) -> Grouping:
    """How the row's nodes are grouped under a window; worked out once per row."""
    key = ("groups", window)
    if key not in tree.masks:
        tree.masks[key] = _group(tree, window)
    found: Grouping = tree.masks[key]
    return found


def attend_groups(query: Tensor, key: Tensor, value: Tensor, plan: Grouping, scores: Scores) -> list[Tensor]:
    """query [1, H, T, D], key [1, K, T, D], value [1, K, T, E] -> per group [G * Q, H, E], padding included.

    Attention is written out: a CPU's flash kernel takes longer over nodes that are not very long.
    """
    heads, kv_heads = query.shape[1], key.shape[1]
    scale = query.shape[-1] ** -0.5 if scores.scale is None else scores.scale
    out = []
    for group in plan.groups:
        count, queries = group.queries_GQ.shape
        q, k, v = _rows(query, group.queries_GQ), _rows(key, group.keys_GS), _rows(value, group.keys_GS)
        grouped = q.reshape(count, kv_heads, heads // kv_heads * queries, -1)
        if scores.softcap is None and scores.sinks is None:
            logits = ((grouped * scale) @ k.transpose(2, 3)).view(count, heads, queries, -1)
            with torch.no_grad():  # where the weight is zero so is the gradient
                logits.masked_fill_(~group.mask_G1QS, float("-inf"))
            weights = logits.softmax(-1)  # sums in float32, whatever it is given
        else:
            weights = _capped((grouped @ k.transpose(2, 3)).view(count, heads, queries, -1), group.mask_G1QS, scale, scores)
        weights = F.dropout(weights, scores.dropout).to(v.dtype)
        attended = weights.view(count, kv_heads, -1, weights.shape[-1]) @ v
        out.append(attended.view(count, heads, queries, -1).transpose(1, 2).flatten(0, 1))
    return out


def _capped(products_GHQS: Tensor, mask_G1QS: Tensor, scale: float, scores: Scores) -> Tensor:
    """Attention weights under soft-capping or sinks, in float32 or better."""
    wide = torch.promote_types(products_GHQS.dtype, torch.float32)
    logits = products_GHQS.to(wide) * scale
    if scores.softcap is not None:
        logits = torch.tanh(logits / scores.softcap) * scores.softcap
    logits = logits.masked_fill(~mask_G1QS, float("-inf"))
    if scores.sinks is None:
        return logits.softmax(-1)
    count, heads, queries = logits.shape[:3]
    sinks = scores.sinks.to(wide).view(1, heads, 1, 1).expand(count, heads, queries, 1)
    return torch.cat([logits, sinks], -1).softmax(-1)[..., :-1]


def in_place(pieces: Sequence[Tensor], plan: Grouping) -> Tensor:
    """Outputs [N, H, E] of groups, then of the nodes alone, as [1, H, T, E] in the order of the row."""
    joined = torch.cat(list(pieces))
    return F.embedding(plan.place_T, joined.flatten(1)).view(-1, *joined.shape[1:]).transpose(0, 1)[None]


def _rows(tensor: Tensor, places_GN: Tensor) -> Tensor:
    """[1, H, T, D] at some places -> [G, H, N, D]. An embedding lookup: of all ways to gather, its backward is the fastest on a CPU."""
    heads, length, width = tensor.shape[1:]
    table_TC = tensor[0].transpose(0, 1).reshape(length, heads * width)
    return F.embedding(places_GN, table_TC).view(*places_GN.shape, heads, width).transpose(1, 2)


def _group(tree: Layout, window: int | None) -> Grouping:
    starts = [0]
    for length in tree.lengths:
        starts.append(starts[-1] + length)
    spans = {node: _seen_places(tree, starts, node, tree.mask(node, window)[0]) for node, n in enumerate(tree.lengths) if n <= LONGEST}
    groups = _bundles({node: (tree.lengths[node], len(places)) for node, places in spans.items()})
    alone = tuple(node for node in range(len(tree.lengths)) if node not in spans)
    place = torch.empty(tree.num_tokens, dtype=torch.long)
    made, at = [], 0
    for nodes in groups:
        group = _padded(tree, starts, {node: spans[node] for node in nodes}, window)
        for i, node in enumerate(nodes):
            begin = at + i * group.queries_GQ.shape[1]
            place[starts[node] : starts[node + 1]] = torch.arange(begin, begin + tree.lengths[node])
        made.append(group)
        at += group.queries_GQ.numel()
    for node in alone:
        place[starts[node] : starts[node + 1]] = torch.arange(at, at + tree.lengths[node])
        at += tree.lengths[node]
    return Grouping(tuple(made), alone, place.to(tree.ends_T.device))


def _seen_places(tree: Layout, starts: list[int], node: int, first: int) -> Tensor:
    """Places in the row of the node's path, from position `first` on."""
    return torch.cat([torch.arange(starts[n], starts[n + 1]) for n in (*tree.chains[node], node)])[first:]


def _bundles(shapes: dict[int, tuple[int, int]]) -> list[list[int]]:
    """Nodes of like shape (queries, keys) together, the largest first; a bundle grows while all its padding costs less than a call."""
    bundles: list[list[int]] = []
    most_q = most_k = needed = 0
    for node in sorted(shapes, key=lambda n: (shapes[n][1], shapes[n][0], n), reverse=True):
        queries, keys = shapes[node]
        wider, needed = max(most_q, queries), needed + queries * keys
        if bundles and (len(bundles[-1]) + 1) * wider * most_k <= needed + CALL:
            bundles[-1].append(node)
            most_q = wider
        else:
            bundles.append([node])
            most_q, most_k, needed = queries, keys, queries * keys
    return bundles


def _padded(tree: Layout, starts: list[int], spans: dict[int, Tensor], window: int | None) -> Group:
    most_q, most_k = max(tree.lengths[node] for node in spans), max(map(len, spans.values()))
    queries_GQ = torch.zeros(len(spans), most_q, dtype=torch.long)
    keys_GS = torch.zeros(len(spans), most_k, dtype=torch.long)
    mask_GQS = torch.zeros(len(spans), most_q, most_k, dtype=torch.bool)
    for i, (node, places) in enumerate(spans.items()):
        length, keys = tree.lengths[node], len(places)
        queries_GQ[i, :length] = torch.arange(starts[node], starts[node + 1])
        keys_GS[i, :keys] = places
        mask = tree.mask(node, window)[1]
        mask_GQS[i, :length, :keys] = torch.ones(length, keys, dtype=torch.bool).tril() if mask is None else mask
        mask_GQS[i, length:, 0] = True  # padding sees one key: softmax over none is not a number
    device = tree.ends_T.device
    return Group(queries_GQ.to(device), keys_GS.to(device), mask_GQS[:, None].to(device))
