"""Dividing weights in a world of one; that the worlds of `tests/train/ranks.py` learn the same is tested there."""

import os
import socket
from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM

from instil.batch.trie import lay_out
from instil.core.errors import UserError
from instil.core.recipe import Lora, Train
from instil.model.adapters import add_lora, round_frozen, save_adapter
from instil.model.attention import tree_attention
from instil.model.head import splits
from instil.model.last import keep_last_layers
from instil.model.shard import divided_like, gather_trained, own_part, release, shard_model, within
from instil.train.objectives import supervised
from instil.train.optimizer import make_optimizer
from tests.model.tiny import Float64, build, step


@pytest.fixture(scope="module")
def mesh() -> Iterator[DeviceMesh]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        os.environ.pop(name, None)


def gradients_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: own_part(p.grad).clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma2", "gemma3_text", "mixtral", "gpt_neox", "phi3", "olmo2"])
def test_the_same_loss_and_gradients(mesh: DeviceMesh, kind: str) -> None:
    row = lay_out(step(), 10_000)[0]
    with Float64():
        plain, divided = build(kind), build(kind)
        splits(divided)
        objective = within(shard_model(divided, mesh), supervised(tree=True))
        with tree_attention(plain), tree_attention(divided):
            expected, found = supervised(tree=True)(plain, row), objective(divided, row)
            expected.total.backward()
            found.total.backward()
    assert found.total.item() == pytest.approx(expected.total.item(), rel=1e-12)
    ours, theirs = gradients_of(divided), gradients_of(plain)
    assert ours.keys() == theirs.keys()
    for name, gradient in theirs.items():
        assert torch.allclose(ours[name], gradient, rtol=0, atol=1e-10), name


def test_recomputed_activations_gather_again(mesh: DeviceMesh) -> None:
    row = lay_out(step(), 10_000)[0]
    found = []
    for recompute in (False, True):
        model = build("llama", torch.float32)
        splits(model)
        if recompute:
            model.gradient_checkpointing_enable({"use_reentrant": False})
            keep_last_layers(model)  # as a run does: else the last MLP runs whole, and products of other shapes round otherwise
        objective = within(shard_model(model, mesh), supervised(tree=True))
        model.train()
        with tree_attention(model):
            objective(model, row).total.backward()
        found.append(gradients_of(model))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_adapters_on_a_rounded_base_are_divided_saved_and_load(mesh: DeviceMesh, tmp_path: object) -> None:
    row = lay_out(step(), 10_000)[0]
    model = add_lora(build("llama", torch.float32), Lora(rank=4), [5, 6])
    round_frozen(model, torch.bfloat16)
    before = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    objective = within(shard_model(model, mesh, torch.bfloat16), supervised(tree=True))
    with tree_attention(model), torch.autocast("cpu", torch.bfloat16):
        objective(model, row).total.backward()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert trained.keys() == before.keys() and all(p.grad is not None and p.grad.dtype == torch.float32 for p in trained.values())
    gather_trained(model, leads=True)
    assert not any(isinstance(p, DTensor) for p in model.parameters() if p.requires_grad)
    save_adapter(model, tmp_path)  # type: ignore[arg-type]
    from peft import PeftModel

    again = PeftModel.from_pretrained(build("llama", torch.float32), str(tmp_path), is_trainable=True)
    for name, parameter in again.named_parameters():
        if parameter.requires_grad:
            assert torch.equal(parameter, before[name]), name


def test_a_whole_model_is_saved_with_its_own_name_and_tied_weights(mesh: DeviceMesh, tmp_path: object) -> None:
    model = build("llama", torch.float32, tie_word_embeddings=True)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    shard_model(model, mesh)
    gather_trained(model, leads=True)
    model.save_pretrained(str(tmp_path))
    again = AutoModelForCausalLM.from_pretrained(str(tmp_path))
    assert type(again).__name__ == "LlamaForCausalLM"
    assert again.lm_head.weight is again.model.embed_tokens.weight
    assert all(torch.equal(p, before[name]) for name, p in again.named_parameters())


def test_outer_weights_are_let_go_after_a_pass_without_gradients(mesh: DeviceMesh) -> None:
    model = build("llama", torch.float32)
    splits(model)
    root = shard_model(model, mesh)
    with tree_attention(model), torch.no_grad():
        within(root, supervised(tree=True))(model, lay_out(step(), 10_000)[0])
        assert all(isinstance(p, DTensor) for p in model.parameters())
        root(supervised(tree=True), lay_out(step(), 10_000)[0])
        assert not all(isinstance(p, DTensor) for p in model.parameters())
        release(root)
    assert all(isinstance(p, DTensor) for p in model.parameters())


def test_divided_like(mesh: DeviceMesh) -> None:
    model = build("llama", torch.float32)
    whole = model.lm_head.weight.detach().clone()
    assert divided_like(whole, whole) is not whole and torch.equal(divided_like(whole, whole), whole)
    shard_model(model, mesh)
    part = divided_like(whole, model.lm_head.weight)
    assert isinstance(part, DTensor) and torch.equal(part.full_tensor(), whole)


def test_states_in_eight_bits_are_refused_where_nobody_asked_before(mesh: DeviceMesh) -> None:
    model = build("llama", torch.float32)
    shard_model(model, mesh)
    with pytest.raises(UserError, match=r"^weights that are divided among ranks are updated by plain AdamW"):
        make_optimizer(model, Train(weights="bf16"), 1e-3)


def test_refused(mesh: DeviceMesh) -> None:
    model = build("llama", torch.float32)
    model.lm_head.weight.quant_state = None
    with pytest.raises(UserError, match=r"^weights in four bits cannot be divided among ranks"):
        shard_model(model, mesh)
    model = build("llama", torch.float32)
    model.model.layers = torch.nn.ModuleList()
    with pytest.raises(UserError, match=r"^LlamaForCausalLM has no decoder blocks to divide among GPUs: set train.parallel: data$"):
        shard_model(model, mesh)
