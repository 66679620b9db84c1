"""Rotary positions in one piece: the numbers of the model files' own, and only where these hold."""

import sys

import pytest
import torch

from instil.model import rotary
from instil.model.rotary import lean_rotary
from tests.model.tiny import build


def test_against_the_models_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several blocks, the last one not full: forward what bf16 makes of the model's own, backward close to float64."""
    monkeypatch.setattr(rotary, "BLOCK", 64)
    model = build("llama").float()
    file = sys.modules[type(model).__module__]
    own = file.apply_rotary_pos_emb
    torch.manual_seed(1)
    q, k, up = (torch.randn(1, 11, heads, 8).bfloat16().transpose(1, 2).requires_grad_() for heads in (4, 2, 4))
    cos, sin = torch.randn(1, 11, 8), torch.randn(1, 11, 8)
    with lean_rotary(model) as count, torch.autocast("cpu", torch.bfloat16):
        turned, turned_k = file.apply_rotary_pos_emb(q, k, cos, sin)
        assert file.apply_rotary_pos_emb(q.float(), k.float(), cos, sin)[0].dtype == torch.float32
    assert count == 1 and file.apply_rotary_pos_emb is own
    assert turned.dtype == torch.bfloat16 and turned.shape == q.shape
    for found, expected in zip((turned, turned_k), own(q, k, cos, sin), strict=True):
        torch.testing.assert_close(found, expected.bfloat16(), rtol=2**-7, atol=1e-6)
    exact = q.detach().double().requires_grad_()
    (expected,) = torch.autograd.grad(own(exact, k.double(), cos.double(), sin.double())[0], exact, up.double())
    (found,) = torch.autograd.grad(turned, q, up)
    torch.testing.assert_close(found.double(), expected, rtol=2**-7, atol=1e-6)


@pytest.mark.parametrize(("kind", "count"), [("qwen3", 1), ("cohere2", 0), ("glm4", 0), ("opt", 0)])
def test_only_where_halves_are_turned(kind: str, count: int) -> None:
    """Cohere turns neighbours, GLM a part of each head, OPT nothing."""
    with lean_rotary(build(kind)) as found:
        assert found == count


def test_it_is_undone_after_an_error() -> None:
    model = build("llama")
    file = sys.modules[type(model).__module__]
    own = file.apply_rotary_pos_emb
    with pytest.raises(KeyError), lean_rotary(model):
        raise KeyError
    assert file.apply_rotary_pos_emb is own
