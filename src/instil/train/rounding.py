"""Stochastic rounding: weights in bf16 that still learn from updates far below their spacing."""

import hashlib

import torch
from torch import Tensor

KEPT = -(2**16)
"""Mask of a float32's upper half: its bf16, cut off."""


def round_randomly(exact_N: Tensor, source: torch.Generator) -> Tensor:
    """float32 [N] -> bf16 [N]: one of the two neighbours, the nearer the likelier, so that the mean over many roundings is the exact value.

    Rounded to the nearest, a weight of 1 never moves by less than 2^-9, and most updates of tuning are smaller (Zamirai et al. 2020,
    "Revisiting BFloat16 Training"). Sixteen random bits are added below the ones that are kept, and what carries over is the rounding.
    """
    count = exact_N.numel()
    drawn = torch.empty(-(-count // 4), dtype=torch.int64, device=exact_N.device).random_(-(2**63), None, generator=source)
    bits_N = drawn.view(torch.int16)[:count].int().bitwise_and_(~KEPT)
    return exact_N.view(torch.int32).add(bits_N).bitwise_and_(KEPT).view(torch.float32).to(torch.bfloat16)


def source_of(device: torch.device, *numbers: int) -> torch.Generator:
    """A generator whose draws are a function of `numbers` (seed, step, parameter): a resumed run rounds as one that was never stopped."""
    seed = hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(seed, "big"))
