"""NF4: what is computed is what the unpacked weights compute, and what is saved is a plain adapter."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import nn

from instil.batch.trie import lay_out
from instil.core.errors import UserError
from instil.core.recipe import Lora
from instil.model import quantize
from instil.model.adapters import add_lora, save_adapter, trainable_parameters
from instil.model.attention import tree_attention
from instil.model.load import load_model
from instil.model.step import row_loss
from tests.model.test_adapters import disturb
from tests.model.tiny import build, gradients, step

WIDE = {"hidden_size": 64, "intermediate_size": 128, "moe_intermediate_size": 64, "head_dim": 16}
CPU = torch.device("cpu")


def bytes_of(model: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters())


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3_moe"])
def test_computes_what_the_unpacked_weights_do(kind: str) -> None:
    """Loss and the adapters' gradients, against LoRA on the same weights unpacked into plain linear layers. qwen2 has biases."""
    functional = pytest.importorskip("bitsandbytes.functional")
    plain, quantized = build(kind, torch.float32, **WIDE), build(kind, torch.float32, **WIDE)
    before = bytes_of(quantized)
    count = quantize.quantize_linear(quantized, torch.float32, CPU)
    assert count >= 8 and bytes_of(quantized) < before
    for name, module in quantized.named_modules():
        if type(module).__name__ == "Linear4bit":
            weight = functional.dequantize_4bit(module.weight.data, module.weight.quant_state)
            original = plain.get_submodule(name).weight.data
            assert 0.05 < (weight - original).norm() / original.norm() < 0.1
            plain.get_submodule(name).weight.data = weight
    (row,) = lay_out(step(), max_tokens=1000)
    found = []
    for base in (plain, quantized):
        model = add_lora(base, Lora(rank=2))
        disturb(model)
        with tree_attention(model):
            loss = row_loss(model, row, tree=True).total
            found.append((loss.item(), gradients(model, loss)))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-5)
    assert found[0][1].keys() == found[1][1].keys()
    for name, gradient in found[0][1].items():
        torch.testing.assert_close(found[1][1][name], gradient, rtol=1e-3, atol=1e-4)


def test_the_adapter_is_a_plain_one(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    build("llama", torch.float32, **WIDE).save_pretrained(tmp_path / "base")
    model = load_model(tmp_path / "base")
    whole = trainable_parameters(model)[1]
    quantize.quantize_linear(model, torch.float32, CPU)
    adapted = add_lora(model, Lora(rank=2), [5])
    disturb(adapted)
    trained, everything = trainable_parameters(adapted)
    assert 0 < trained == everything - whole
    save_adapter(adapted, tmp_path / "adapter")
    loaded = PeftModel.from_pretrained(load_model(tmp_path / "base"), tmp_path / "adapter")
    ours = {name: p for name, p in adapted.named_parameters() if p.requires_grad}
    theirs = dict(loaded.named_parameters())
    assert all(torch.equal(theirs[name], p) for name, p in ours.items())


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no linear layers") if quantize_there() else pytest.raises(UserError, match="bitsandbytes"):
        quantize.quantize_linear(build("gpt2", torch.float32), torch.float32, CPU)
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes.nn.modules", None)
    with pytest.raises(UserError, match=r"pip install 'instil\[qlora\]'"):
        quantize.quantize_linear(build("llama", torch.float32), torch.float32, CPU)


def quantize_there() -> bool:
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        return False
    return True


@pytest.mark.gpu
def test_on_cuda() -> None:
    pytest.importorskip("bitsandbytes")
    losses = []
    for device in ("cpu", "cuda"):
        model = build("llama", torch.float32, **WIDE)
        quantize.quantize_linear(model, torch.float32, torch.device(device))
        model.to(device)
        adapted = add_lora(model, Lora(rank=2))
        (row,) = lay_out(step(), max_tokens=1000)
        with tree_attention(adapted), torch.no_grad():
            losses.append(row_loss(adapted, row, tree=True).total.item())
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
