"""Stochastic rounding, against the exact value and its two neighbours."""

import math

import pytest
import torch

from instil.train.rounding import dither, round_randomly, source_of

CPU = torch.device("cpu")
MANY = 2**16


def neighbours(value: float) -> tuple[float, float]:
    """The bf16 numbers around `value`, by float64 arithmetic: eight significant bits."""
    spacing = 2.0 ** (math.floor(math.log2(abs(value))) - 7)
    return math.floor(value / spacing) * spacing, math.ceil(value / spacing) * spacing


@pytest.mark.parametrize("value", [1 + 0.3 * 2**-7, -1 - 0.3 * 2**-7, 3.14159, 1e-5, -2.7e-20, 255.9, 6.5e30])
def test_the_mean_is_exact(value: float) -> None:
    exact = torch.full((MANY,), value)
    rounded = round_randomly(exact, source_of(CPU, 0)).double()
    low, high = neighbours(exact[0].item())
    assert set(rounded.tolist()) == {low, high}
    share = (exact[0].item() - low) / (high - low)
    deviation = math.sqrt(share * (1 - share) / MANY)
    for place in range(4):  # four numbers are cut out of each draw
        assert ((rounded[place::4] - low) / (high - low)).mean().item() == pytest.approx(share, abs=8 * deviation)


def test_what_bf16_holds_stays() -> None:
    exact = torch.randn(1001).bfloat16()
    special = torch.tensor([0.0, -0.0, math.inf, -math.inf, 1e-40]).bfloat16()
    for kept in (exact, special):
        assert torch.equal(round_randomly(kept.float(), source_of(CPU, 1)), kept)


def test_bits_are_a_function_of_the_numbers() -> None:
    exact = torch.rand(1000)
    first = round_randomly(exact, source_of(CPU, 0, 3, 7))
    assert torch.equal(first, round_randomly(exact, source_of(CPU, 0, 3, 7)))
    for other in ((1, 3, 7), (0, 4, 7), (0, 3, 8), (0, 37)):
        same = (round_randomly(exact, source_of(CPU, *other)) == first).float().mean()
        assert 0.5 < same < 0.8, "a third differs where each goes up with a probability of its own"


def stored_in_bf16() -> torch.nn.Linear:
    layer = torch.nn.Linear(200, 300)
    with torch.no_grad():
        layer.weight.copy_(layer.weight.bfloat16())
        layer.weight[0, :4] = torch.tensor([0.0, -0.0, 1.0, -(2.0**-20)])
    return layer


def test_dithered_weights_are_rounded_to_what_was_stored() -> None:
    layer = stored_in_bf16()
    stored, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    assert dither(layer, 3) == stored.numel() - 2
    assert torch.equal(layer.weight.bfloat16().float(), stored)
    assert torch.equal(layer.bias, bias), "it was not stored in bf16"
    assert torch.equal(layer.weight[0, :2], torch.zeros(2)) and (layer.weight != stored).float().mean() > 0.99
    assert dither(layer, 3) == 0, "once is enough"
    again, other = stored_in_bf16(), stored_in_bf16()
    for linear, seed in ((again, 3), (other, 4)):
        with torch.no_grad():
            linear.weight.copy_(stored)
        dither(linear, seed)
    assert torch.equal(again.weight, layer.weight) and not torch.equal(other.weight, layer.weight)


@pytest.mark.parametrize("step", [1e-3, 1e-2, 0.1])
def test_the_mean_of_dithered_weights_moves_as_the_update_says(step: float) -> None:
    """A step is given as a share of the spacing of bf16: below a half, weights on its numbers do not move at all."""
    layer = torch.nn.Linear(1000, 1000, bias=False)
    with torch.no_grad():
        layer.weight.fill_(1.5)
        moved = layer.weight + step * 2**-7
        assert (moved.bfloat16() == 1.5).all()
        dither(layer, 0)
        layer.weight.add_(step * 2**-7)
        mean = (layer.weight.bfloat16().double() - 1.5).mean().item() / 2**-7
    assert mean == pytest.approx(step, abs=5 * math.sqrt(step) / 1000)
