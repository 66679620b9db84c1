"""Weights that learn from updates far below the spacing of bf16: rounded stochastically, or begun between its numbers."""

import hashlib

import torch
from torch import Tensor, nn

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


@torch.no_grad()
def dither(model: nn.Module, seed: int) -> int:
    """Draw the lower halves of float32 weights that were stored in bf16, in place, so that rounding gives back what was stored. Returns how
    many weights that were.

    Computation in bf16 rounds weights to the nearest, and those that begin on a number of bf16 are rounded back to it until they have moved
    by half its spacing: 1/256 of themselves or less, which at usual learning rates takes tens of steps. Begun anywhere between, as many
    cross a border as the update is long, and the mean weight moves from the first step on (dither: Schuchman 1964). Zeros stay.
    """
    drawn = 0
    for place, parameter in enumerate(model.parameters()):
        if parameter.dtype != torch.float32 or not parameter.is_contiguous():
            continue
        bits = parameter.view(torch.int32)
        stored = (bits & ~KEPT == 0) & (parameter != 0)
        count = int(stored.sum())
        if 2 * count < parameter.numel():  # not stored in bf16: a few of its weights lie there by chance
            continue
        source = source_of(bits.device, seed, place)
        offsets = torch.randint(-(2**15) + 1, 2**15, bits.shape, dtype=torch.int32, generator=source, device=bits.device)
        bits.add_(offsets.masked_fill_(~stored, 0))
        drawn += count
    return drawn


def source_of(device: torch.device, *numbers: int) -> torch.Generator:
    """A generator whose draws are a function of `numbers` (seed, step, parameter): a resumed run rounds as one that was never stopped."""
    seed = hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(seed, "big"))
