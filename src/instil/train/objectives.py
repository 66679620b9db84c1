"""Objectives: `objective(model, row) -> Loss`. A method is a function handed to the loop, not a trainer."""

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch

from instil.batch.trie import Row
from instil.model.step import row_loss


class Loss(NamedTuple):
    """`total`: sum of weight times loss over the row's supervised tokens (a graph to differentiate). `weight`: sum of weights.

    The loop divides once, by the weight of the whole step, so any split into rows and ranks gives the same update. `metrics` are sums, too.
    """

    total: torch.Tensor
    weight: float
    metrics: dict[str, float]


Objective = Callable[[torch.nn.Module, Row], Loss]


def supervised(tree: bool, max_tokens: int | None = None) -> Objective:
    """Cross-entropy of every completion token given what a server has sent and the model has said so far.

    `tree`: rows hold a tree of examples and the model runs under tree attention; else one example a row, with the model's own attention.
    `max_tokens`: see `model.step.row_loss`.
    """

    def objective(model: torch.nn.Module, row: Row) -> Loss:
        return Loss(*row_loss(model, row, tree=tree, max_tokens=max_tokens))

    return objective


def with_embedding_noise(objective: Objective, alpha: float) -> Objective:
    """NEFTune (Jain et al. 2023): while training, uniform noise of scale alpha / sqrt(length x width) on the input embeddings.

    `length` is the mean length of the row's examples, so the noise does not depend on how a step is cut into rows of many examples.
    """

    def noisy(model: torch.nn.Module, row: Row) -> Loss:
        with _noise(model, alpha, mean_length(row)):
            return objective(model, row)

    return noisy


def mean_length(row: Row) -> float:
    """Mean number of tokens of the examples in a row; one that another continues is part of that one."""
    has_child = {int(parent) for parent in row.nodes_N3[:, 2]}
    leaves = [stop - 1 for i, (_, stop, _) in enumerate(row.nodes_N3.tolist()) if i not in has_child]
    return float(row.positions_T[leaves].mean()) + 1


@contextlib.contextmanager
def _noise(model: torch.nn.Module, alpha: float, length: float) -> Iterator[None]:
    def add(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
        scale = alpha / (length * output.shape[-1]) ** 0.5
        return output + torch.empty_like(output).uniform_(-scale, scale)

    handle = model.get_input_embeddings().register_forward_hook(add)  # type: ignore[operator]
    try:
        yield
    finally:
        handle.remove()
