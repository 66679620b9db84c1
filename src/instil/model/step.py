"""A row's loss: what training, held-out evaluation and the start-up probe all call."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from instil.core.values import Path
from instil.model.attention import base_model_of
from instil.model.budget import pad_row, row_budget
from instil.model.head import LEAST_CHUNK, LOGITS_PER_CHUNK, chunked_cross_entropy, head_of, hidden_states
from instil.model.layout import Backend, Layout, default_backend, lay_out_tree
from instil.model.tails import Row, without_tails


class RowLoss(NamedTuple):
    """`total`: sum over pairs of weight * -log p(target), with a gradient unless gradients are off. `weight`: sum of the weights.

    `metrics`, to be summed over rows: `supervised`, how many pairs; `correct`, how many of their targets are the likeliest token.
    """

    total: Tensor
    weight: float
    metrics: dict[str, float]


def row_loss(model: nn.Module, row: Row, *, tree: bool, max_tokens: int | None = None, backend: Backend | None = None) -> RowLoss:
    """The loss of one row. `tree`: the row is a tree and we are inside `tree_attention(model)`; otherwise it must hold a single path, and
    the model attends as it always does. `max_tokens`: of a row; with it, rows are padded to a few budgets where attention is compiled.
    `backend`: see `lay_out_tree`."""
    assert tree or len(row.nodes_N3) == 1, "only a row with a single path can do without tree attention"
    device = next(model.parameters()).device
    needed = without_tails(row)
    tokens_T, layout = needed.tokens_T, None
    if tree:
        backend = backend or default_backend(device)
        padded = pad_row(tokens_T, needed, row_budget(len(tokens_T), max_tokens)) if backend == "blocks" and max_tokens else needed
        tokens_T, layout = padded.tokens_T, lay_out_tree(padded, device, backend)
    total, correct = _pair_losses(model, tokens_T, layout, needed.predicts_S, row.targets_S, row.weights_S)
    return RowLoss(total, float(row.weights_S.sum()), {"supervised": float(len(row.targets_S)), "correct": float(correct)})


def _pair_losses(
    model: nn.Module, tokens_T: np.ndarray, layout: Layout | None, predicts_S: np.ndarray, targets_S: np.ndarray, weights_S: np.ndarray
) -> tuple[Tensor, Tensor]:
    """Weighted sum of -log p(target) and number of likeliest targets, both 0-d."""
    device = next(model.parameters()).device
    rows_U, rows_S = np.unique(predicts_S, return_inverse=True)
    tokens = torch.from_numpy(tokens_T.astype(np.int64)).to(device)
    hidden_UD = hidden_states(model, tokens, layout, torch.from_numpy(rows_U).to(device))
    return chunked_cross_entropy(hidden_UD, head_of(model), rows_S, targets_S, weights_S, _chunk(model, device))


def _chunk(model: nn.Module, device: torch.device) -> int:
    vocabulary = base_model_of(model).config.get_text_config().vocab_size
    return max(LEAST_CHUNK, LOGITS_PER_CHUNK.get(device.type, LOGITS_PER_CHUNK["cpu"]) // vocabulary)


@torch.no_grad()
def path_log_likelihoods(model: nn.Module, paths: Sequence[Path]) -> list[float]:
    """log p(completion | context) in nats, one number per path, each computed alone with the model's native attention."""
    return [-float(_path_loss(model, path)) for path in paths]


def _path_loss(model: nn.Module, path: Path) -> Tensor:
    tokens_T = path.tokens.astype(np.int64)
    predicts_S = np.arange(path.num_context - 1, len(tokens_T) - 1)
    return _pair_losses(model, tokens_T[:-1], None, predicts_S, tokens_T[predicts_S + 1], np.ones(len(predicts_S)))[0]
