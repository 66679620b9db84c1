"""LoRA layers in one piece: as exact as peft's, with less kept, and peft's own wherever they are not plain."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from instil.core.recipe import Lora
from instil.model.adapters import add_lora, round_frozen
from instil.model.lora import lean_lora
from tests.model.tiny import build

TOKENS, IN, OUT, R = 200, 48, 80, 4


class Two(nn.Module):
    """Two linear layers, so that a gradient passes through the second one."""

    def __init__(self, bias: bool = False):
        super().__init__()
        self.first, self.second = nn.Linear(IN, IN, bias), nn.Linear(IN, OUT, bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.tanh(self.first(x)))


def adapted(bias: bool = False, dtype: torch.dtype = torch.float32, **options: Any) -> Any:
    torch.manual_seed(0)
    model = get_peft_model(Two(bias), LoraConfig(r=R, lora_alpha=12, target_modules=["first", "second"], **options))  # type: ignore[arg-type]
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.3)
    return model.to(dtype)


def passed(model: Any, x: torch.Tensor, autocast: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    x = x.clone().requires_grad_()
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = model(x)
    (out.double() * torch.linspace(-1, 1, OUT)).sum().backward()
    assert x.grad is not None
    return out.detach(), {"x": x.grad, **{n: p.grad for n, p in model.named_parameters() if p.grad is not None}}


def apart(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.double() - b.double()).norm() / b.double().norm())


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("given", [torch.float32, torch.bfloat16])
def test_no_further_from_the_exact_result_than_peft(bias: bool, rounded: bool, given: torch.dtype) -> None:
    """Exact: float64, on the weights and inputs as they are rounded for the products."""
    model, exact = adapted(bias), adapted(bias, torch.float64)
    x = torch.randn(TOKENS, IN).to(given)
    with torch.no_grad():
        for name, parameter in exact.named_parameters():
            parameter.copy_(dict(model.named_parameters())[name].bfloat16())
    if rounded:
        for layer in (model.base_model.model.first, model.base_model.model.second):
            layer.base_layer.bfloat16()
    truth, true_gradients = passed(exact, x.bfloat16().double(), False)
    theirs, their_gradients = passed(model, x, True)
    with lean_lora(model) as count:
        ours, our_gradients = passed(model, x, True)
    assert count == 2 and ours.dtype == theirs.dtype == torch.bfloat16
    assert apart(ours, truth) <= 1.1 * apart(theirs, truth) + 1e-4
    assert our_gradients.keys() == their_gradients.keys()
    for name, gradient in our_gradients.items():
        assert gradient.dtype == their_gradients[name].dtype, name
        assert apart(gradient, true_gradients[name]) <= 1.3 * apart(their_gradients[name], true_gradients[name]) + 2e-3, name


def test_less_is_kept_for_the_backward_pass() -> None:
    model = adapted()

    def kept() -> int:
        seen: dict[int, int] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16):
            held = model(torch.randn(4096, IN, dtype=torch.bfloat16))
        assert held.requires_grad
        return sum(seen.values())

    theirs = kept()
    with lean_lora(model):
        ours = kept()
    assert ours < 0.75 * theirs


@pytest.mark.parametrize(
    "options", [{"use_dora": True}, {"lora_dropout": 0.1}, {"lora_bias": True}], ids=lambda options: next(iter(options))
)
def test_layers_that_are_not_plain_stay_as_peft_writes_them(options: dict[str, Any]) -> None:
    with lean_lora(adapted(bias=True, **options)) as count:
        assert count == 0


def test_two_adapters_and_merged_ones_stay_too() -> None:
    model = adapted()
    model.add_adapter("other", LoraConfig(r=2, target_modules=["first"]))
    model.base_model.set_adapter(["default", "other"])
    with lean_lora(model) as count:
        assert count == 0
    model = adapted()
    model.merge_adapter()
    with lean_lora(model) as count:
        assert count == 0


def test_a_base_that_is_trained_as_well_stays() -> None:
    model = adapted()
    model.base_model.model.first.base_layer.weight.requires_grad_()
    with lean_lora(model) as count:
        assert count == 1


@torch.no_grad()
def test_outside_of_autocast_and_of_the_block_and_switched_off_it_is_pefts_own() -> None:
    model, x = adapted(), torch.randn(TOKENS, IN)
    plain = model(x)
    with model.disable_adapter(), torch.autocast("cpu", torch.bfloat16):
        without = model(x)
    with lean_lora(model):
        assert torch.equal(model(x), plain)
        with model.disable_adapter(), torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(model(x), without)
    assert not any("forward" in vars(module) for module in model.modules())


def test_in_a_real_architecture_every_adapted_layer_is_lean() -> None:
    model = add_lora(build("qwen3", torch.float32), Lora(rank=4), [3, 4])
    round_frozen(model, torch.bfloat16)
    with lean_lora(model) as count:
        assert count == 7 * model.config.num_hidden_layers
