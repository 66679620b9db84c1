"""A model whose weights are divided among ranks (FSDP2, `torch.distributed.fsdp.fully_shard`; Zhao et al. 2023): each rank keeps its share
of every tensor, with gradients and optimizer states for that share, and gathers one decoder block's weights at a time to compute with.

Blocks gather for themselves. What is left (embeddings, last norm, head) belongs to a root around the whole computation of a loss, because
decoder and head are called separately (`model/head.py`), which FSDP knows nothing about.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers.modeling_layers import GradientCheckpointingLayer

from instil.core.errors import UserError
from instil.model.attention import base_model_of
from instil.plan.shards import NOT_FOUR_BITS


class Root(nn.Module):
    """Computes functions of a model while its outer weights are gathered."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(self.model, *args)


def shard_model(model: nn.Module, mesh: DeviceMesh, precision: torch.dtype | None = None) -> Root:
    """Divide `model` (peft-wrapped or not), in place, over the last dimension of `mesh`; along a first one, where there is one, shares are
    copied. Weights move to the mesh's device block by block, so that no device ever holds them all.

    `precision`: what weights are rounded to before a block gathers them; gradients are summed in float32 at least. Every rank must call
    the returned root equally often, forward and backward. Raises UserError for a model without blocks, or in four bits.
    """
    inner = base_model_of(model)
    blocks = [module for module in inner.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not blocks:
        raise UserError(f"{type(inner).__name__} has no decoder blocks to divide among GPUs: set train.parallel: data")
    if any(hasattr(p, "quant_state") for p in model.parameters()):
        raise UserError(NOT_FOUR_BITS)
    policy = MixedPrecisionPolicy(param_dtype=precision, reduce_dtype=torch.float32 if precision else None, cast_forward_inputs=False)
    root = Root(model)
    for part in (*blocks, root):
        divided = fully_shard(part, mesh=mesh, mp_policy=policy)
        divided.set_gradient_divide_factor(1.0)  # the loop divides, by the weight of the whole step
        divided.set_force_sum_reduction_for_comms(True)
    return root


def within(root: Root, objective: Callable[[nn.Module, Any], Any]) -> Callable[[nn.Module, Any], Any]:
    """`objective(model, row)`, computed inside the root. Its result must be a tuple of tensors and plain values."""

    def computed(model: nn.Module, row: Any) -> Any:
        assert model is root.model
        found = root(objective, row)
        if not torch.is_grad_enabled():
            release(root)
        return found

    return computed


def release(root: Root) -> None:
    """Let go of the outer weights, which the root keeps after a forward pass for the backward pass to come."""
    assert isinstance(root, FSDPModule)
    root.reshard()


def own_part(tensor: torch.Tensor) -> torch.Tensor:
    """This rank's share of a divided tensor, the tensor itself otherwise; the same memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def divided_like(whole: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """`whole`, which every rank has, on `other`'s device and divided as `other` is. Copied in any case."""
    if not isinstance(other, DTensor):
        return whole.to(other.device, copy=True)
    placed = whole.to(other.device)
    return distribute_tensor(placed, other.device_mesh, other.placements, src_data_rank=None)


def gather_trained(model: nn.Module, leads: bool) -> None:
    """Put the trained parameters together again, on the CPU of the rank that `leads`; on the others they stay divided. Every rank calls
    it, and the model can then be saved, not run."""
    whole: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if not parameter.requires_grad or not isinstance(parameter, DTensor):
                continue
            if id(parameter) not in whole:  # tied weights are gathered once
                full = parameter.full_tensor()  # every rank takes part
                whole[id(parameter)] = nn.Parameter(full.detach().cpu()) if leads else parameter
            module._parameters[name] = whole[id(parameter)]
