"""The learning rate of every step, and AdamW, against formulas written down a second time."""

import math

import numpy as np
import pytest
import torch

from instil.core.recipe import Lora, Train
from instil.model.adapters import add_lora
from instil.train.optimizer import make_optimizer, rate_at, set_rate
from tests.model.tiny import build


def rates_by_hand(steps: int, train: Train, peak: float) -> np.ndarray:
    """The whole curve at once: a ramp that would reach the peak at the first step after it, then the schedule from peak to end."""
    warm = math.ceil(train.warmup * steps)
    ramp = np.linspace(0, peak, warm + 2)[1:-1]
    end = peak * train.final_share
    rest = {
        "constant": np.full(steps - warm, peak),
        "linear": np.linspace(peak, end, steps - warm),
        "cosine": end + (peak - end) * (0.5 + 0.5 * np.cos(np.linspace(0, np.pi, steps - warm))),
    }[train.schedule]
    return np.concatenate([ramp, rest])


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
@pytest.mark.parametrize("run", [(100, 0.03, 0.1), (37, 0.0, 0.0), (10, 0.5, 1.0), (3, 0.03, 0.2), (1, 0.03, 0.1)])
def test_rate_of_every_step(schedule: str, run: tuple[int, float, float]) -> None:
    steps, warmup, final_share = run
    train = Train(schedule=schedule, warmup=warmup, final_share=final_share)
    found = [rate_at(step, steps, train, 3e-4) for step in range(steps)]
    assert found == pytest.approx(rates_by_hand(steps, train, 3e-4).tolist(), rel=1e-12, abs=1e-18)
    assert all(0 <= rate <= 3e-4 for rate in found)


def test_warm_up_of_the_whole_run() -> None:
    """Never zero, always rising, below the peak: even where nothing follows."""
    found = [rate_at(step, 8, Train(warmup=1.0), 1.0) for step in range(8)]
    assert found == pytest.approx([n / 9 for n in range(1, 9)])


def test_ends() -> None:
    train = Train(warmup=0.1, final_share=0.1)
    found = [rate_at(step, 50, train, 1.0) for step in range(50)]
    assert found[5] == 1.0 and found[-1] == pytest.approx(0.1)
    assert found[:6] == sorted(found[:6]) and found[5:] == sorted(found[5:], reverse=True)


def test_decay_shrinks_matrices_only() -> None:
    model = build("llama")
    optimizer = make_optimizer(model, Train(weight_decay=0.5), 1.0)
    set_rate(optimizer, 0.1)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    kinds = set()
    for name, parameter in model.named_parameters():
        expected = before[name] * (1 - 0.1 * 0.5) if parameter.ndim == 2 else before[name]
        assert torch.allclose(parameter, expected, rtol=1e-12, atol=0), name
        kinds.add(parameter.ndim)
    assert kinds == {1, 2}, "norms and matrices"


def test_only_what_is_trained_has_states() -> None:
    model = add_lora(build("llama"), Lora(rank=2))
    optimizer = make_optimizer(model, Train(), 1.0)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in model.parameters() if p.requires_grad}
    assert all("lora_" in name for name, p in model.named_parameters() if id(p) in held)


def test_adamw_by_hand() -> None:
    """Loshchilov & Hutter 2019, algorithm 2, with the moments that the recipe names, over four steps of changing rates."""
    train = Train(beta1=0.8, beta2=0.95, weight_decay=0.1)
    layer = torch.nn.Linear(3, 2, bias=False, dtype=torch.float64)
    optimizer = make_optimizer(layer, train, 1.0)
    weight, m, v = layer.weight.detach().numpy().copy(), np.zeros((2, 3)), np.zeros((2, 3))
    random = np.random.default_rng(0)
    for step, rate in enumerate([0.1, 0.2, 0.05, 0.01], 1):
        gradient = random.normal(size=(2, 3))
        layer.weight.grad = torch.from_numpy(gradient)
        set_rate(optimizer, rate)
        optimizer.step()
        m, v = 0.8 * m + 0.2 * gradient, 0.95 * v + 0.05 * gradient**2
        update = (m / (1 - 0.8**step)) / (np.sqrt(v / (1 - 0.95**step)) + 1e-8)
        weight = weight - rate * 0.1 * weight - rate * update
        assert np.allclose(layer.weight.detach().numpy(), weight, rtol=1e-12, atol=1e-14)
