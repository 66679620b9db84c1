"""The next token of every answer of a batch, and how likely it was. B: answers, V: vocabulary."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

COLDEST = 1e-6
"""A temperature at which no other token than the likeliest is ever drawn; logits divided by much less are infinite."""


@dataclass(frozen=True)
class Draw:
    """How one answer's token is drawn. `uniform` in [0, 1): its random number. `allowed` bool [V]: what a constraint leaves; None: all."""

    temperature: float = 0.0
    top_p: float = 1.0
    uniform: float = 0.0
    allowed: np.ndarray | None = None


def choose(logits_BV: Tensor, draws: Sequence[Draw]) -> list[int]:
    """One token per row. Temperature 0: the likeliest, of equals the first. `top_p`: nucleus sampling (Holtzman et al. 2020); the likeliest
    token can always be drawn. Nothing depends on the other rows."""
    if any(draw.allowed is not None for draw in draws):
        logits_BV = _constrained(logits_BV, draws)
    tokens = logits_BV.argmax(-1).tolist()
    warm = [row for row, draw in enumerate(draws) if draw.temperature > COLDEST]
    if warm:
        for row, token in zip(warm, _drawn(logits_BV[warm], [draws[row] for row in warm]), strict=True):
            tokens[row] = token
    return tokens


def _constrained(logits_BV: Tensor, draws: Sequence[Draw]) -> Tensor:
    logits_BV = logits_BV.clone()
    for row, draw in enumerate(draws):
        if draw.allowed is not None:
            mask_V = torch.zeros(logits_BV.shape[1], dtype=torch.bool)
            size = min(len(draw.allowed), len(mask_V))  # embeddings may have spare rows
            mask_V[:size] = torch.from_numpy(draw.allowed[:size])
            logits_BV[row, ~mask_V.to(logits_BV.device)] = float("-inf")
    return logits_BV


def _drawn(logits_BV: Tensor, draws: Sequence[Draw]) -> list[int]:
    def column(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64, device=logits_BV.device)[:, None]

    p_BV = (logits_BV.double() / column([draw.temperature for draw in draws])).softmax(-1)
    p_BV, ids_BV = p_BV.sort(descending=True, stable=True)
    before_BV = p_BV.cumsum(-1) - p_BV
    cumulative_BV = p_BV.masked_fill(before_BV >= column([draw.top_p for draw in draws]), 0).cumsum(-1)
    aim_B1 = cumulative_BV[:, -1:] * column([draw.uniform for draw in draws])
    at_B1 = torch.searchsorted(cumulative_BV, aim_B1, right=True).clamp(max=ids_BV.shape[1] - 1)
    return ids_BV.gather(1, at_B1)[:, 0].tolist()


def named(logits_BV: Tensor, tokens: Sequence[int], count: int) -> list[tuple[float, tuple[tuple[int, float], ...]]]:
    """Per row: the log-probability of its token, and the `count` likeliest tokens with theirs, under the model's own distribution."""
    logp_BV = logits_BV.float().log_softmax(-1)
    own_B = logp_BV[torch.arange(len(tokens)), list(tokens)].tolist()
    top, ids = logp_BV.topk(min(count, logp_BV.shape[1]), -1)
    return [(own, tuple(zip(i, t, strict=True))) for own, i, t in zip(own_B, ids.tolist(), top.tolist(), strict=True)]
