"""AdamW and the learning rate of a step."""

import math

import torch
from torch.distributed.tensor import DTensor

from instil.core.errors import UserError
from instil.core.recipe import Train
from instil.plan.shards import NOT_LEAN, is_lean
from instil.train.lean import LeanAdamW, eight_bit_kernel, host_of


def make_optimizer(model: torch.nn.Module, train: Train, learning_rate: float, seed: int = 0) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019) over the trainable parameters: torch's fused one, or the lean one where the recipe asks for less
    memory. Weight decay on matrices only, not on norms and biases. `seed`: of stochastic rounding.

    Raises UserError as `check_optimizer` does, and for the lean one where weights are divided among ranks.
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": train.weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [g for g in groups if g["params"]]
    device, betas = trainable[0].device, (train.beta1, train.beta2)
    check_optimizer(train, device)
    if not is_lean(train):
        return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, fused=True)
    if any(isinstance(p, DTensor) for p in trainable):
        raise UserError(NOT_LEAN)
    elsewhere = host_of(device) if train.offload == "states" else None
    return LeanAdamW(groups, lr=learning_rate, betas=betas, eight_bits=train.optimizer == "adamw_8bit", elsewhere=elsewhere, seed=seed)


def check_optimizer(train: Train, device: torch.device) -> None:
    """Raises UserError for what this machine cannot do: states moved off a GPU where there is none, eight bits without bitsandbytes."""
    if train.offload == "states" and device.type != "cuda":
        raise UserError("train.offload: states moves optimizer states out of a GPU's memory, and there is no GPU here: leave it out")
    if train.optimizer == "adamw_8bit":
        eight_bit_kernel()


def rate_at(step: int, steps: int, train: Train, peak: float) -> float:
    """Learning rate of step `step` (from 0) of `steps`: linear warm-up, then the schedule down to `final_share` of the peak."""
    warmup = math.ceil(train.warmup * steps)
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    done = (step - warmup) / max(steps - 1 - warmup, 1)
    low = train.final_share
    shape = {
        "constant": 1.0,
        "linear": 1 - (1 - low) * done,
        "cosine": low + (1 - low) * (1 + math.cos(math.pi * done)) / 2,
    }[train.schedule]
    return peak * shape


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
