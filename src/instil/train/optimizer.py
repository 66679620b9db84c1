"""AdamW and the learning rate of a step."""

import math

import torch

from instil.core.recipe import Train


def make_optimizer(model: torch.nn.Module, train: Train, learning_rate: float) -> torch.optim.AdamW:
    """Fused AdamW (Loshchilov & Hutter 2019) over the trainable parameters; weight decay on matrices only, not on norms and biases."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": train.weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [g for g in groups if g["params"]]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(train.beta1, train.beta2), fused=True)


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
