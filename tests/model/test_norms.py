"""Norms in one piece: the numbers of the model's own, and only where these hold."""

import pytest
import torch
from torch import Tensor, nn

from instil.model.norms import BLOCK, lean_norms
from tests.model.tiny import build


def gradients(norm: nn.Module, hidden: Tensor, upstream: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    hidden = hidden.clone().requires_grad_()
    out = norm(hidden)
    of_hidden, of_weight = torch.autograd.grad(out, [hidden, norm.weight], upstream.to(out.dtype))
    return out.detach(), of_hidden, of_weight


def test_against_float64() -> None:
    """Several blocks, the last one not full; forward exactly what autocast makes of the module's own output, backward close to exact."""
    model = build("llama").float()
    norm = model.model.layers[0].input_layernorm
    norm.weight.data = torch.rand(32) + 0.5
    torch.manual_seed(1)
    tokens = 2 * BLOCK // 32 + 7
    hidden, upstream = 3 * torch.randn(1, tokens, 32), torch.randn(1, tokens, 32).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        own = norm(hidden)
        with lean_norms(model) as count:
            out, of_hidden, of_weight = gradients(norm, hidden, upstream)
    assert count == 5 and own.dtype == torch.float32 and out.dtype == torch.bfloat16
    assert (out != own.bfloat16()).float().mean() < 1e-3 and torch.allclose(out.float(), own, rtol=2**-7)
    assert norm(hidden).dtype == torch.float32 and "forward" not in vars(norm)
    _, exact_hidden, exact_weight = gradients(norm.double(), hidden.double(), upstream)
    assert (of_hidden - exact_hidden).norm() < 1e-6 * exact_hidden.norm()
    assert (of_weight - exact_weight).norm() < 1e-5 * exact_weight.norm()


def test_the_last_norm_gives_float32() -> None:
    model = build("llama").float()
    norm, hidden, upstream = model.model.norm, 3 * torch.randn(1, 50, 32), torch.randn(1, 50, 32)
    with torch.autocast("cpu", torch.bfloat16):
        expected = gradients(norm, hidden, upstream)
        with lean_norms(model):
            found = gradients(norm, hidden, upstream)
            assert "forward" in vars(norm)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("kind", "count"), [("gemma", 0), ("olmo2", 1), ("mixtral", 3), ("gpt_neox", 0)])
def test_only_plain_norms(kind: str, count: int) -> None:
    """Gemma's is another formula, OLMo 2's stand behind the layers, Mixtral's second one feeds experts, GPT-NeoX has none."""
    with lean_norms(build(kind).float()) as found:
        assert found == count


def test_without_autocast_nothing_changes() -> None:
    model = build("llama")
    tokens = torch.arange(3, 20)[None]
    with torch.no_grad():
        expected = model(tokens).logits
        with lean_norms(model.double()):
            assert torch.equal(model(tokens).logits, expected)
