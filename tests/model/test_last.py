"""The last layer where something is predicted: same hidden states, same gradients, fewer tokens through its MLP."""

import pytest
import torch

from instil.model.head import hidden_states, splits
from instil.model.last import decoder_output, keep_last_layers, narrows
from instil.model.norms import lean_norms
from tests.model.tiny import build

TOKENS, ROWS = torch.arange(3, 33)[None], torch.tensor([2, 9, 10, 28])


@pytest.mark.parametrize("kind", ["llama", "gemma3_text", "cohere2"])
def test_same_gradients_from_fewer_tokens(kind: str) -> None:
    model = build(kind)
    assert splits(model) and narrows(model)
    seen: list[int] = []
    parameters = list(model.get_decoder().parameters())
    expected = model.get_decoder()(TOKENS, use_cache=False)[0][0, ROWS]
    narrow = (model.get_decoder().layers[-1].mlp.down_proj, model.get_decoder().norm)
    hooks = [module.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[1])) for module in narrow]
    found = hidden_states(model, TOKENS[0], None, ROWS)
    for hook in hooks:
        hook.remove()
    assert seen == [len(ROWS), len(TOKENS[0])], "the norm is given all, and takes what it needs"
    assert not any("forward" in vars(module) for module in model.modules())
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    for a, b in zip(*(torch.autograd.grad((out**3).sum(), parameters) for out in (found, expected)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_beside_lean_norms() -> None:
    model = build("llama", torch.float32)
    splits(model)
    with torch.autocast("cpu", torch.bfloat16), lean_norms(model):
        before = model.model.norm.forward
        expected = model.get_decoder()(TOKENS, use_cache=False)[0][0, ROWS]
        found = hidden_states(model, TOKENS[0], None, ROWS)
        assert model.model.norm.forward is before
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(("kind", "may"), [("gpt2", False), ("mixtral", False), ("qwen2_moe", False)])
def test_other_layers_run_whole(kind: str, may: bool) -> None:
    model = build(kind)
    splits(model)
    assert narrows(model) == may


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_kept_layers_change_no_bit_and_are_not_computed_again(kept: int) -> None:
    calls = {recompute: [0] * 3 for recompute in (False, True)}
    gradients = {}
    for recompute in (False, True):
        model = build("llama", torch.float32, num_hidden_layers=3).train()
        splits(model)
        if recompute:
            model.gradient_checkpointing_enable({"use_reentrant": False})
            keep_last_layers(model, kept)
        for i, layer in enumerate(model.model.layers):
            layer.self_attn.register_forward_pre_hook(lambda *_, i=i, seen=calls[recompute]: seen.__setitem__(i, seen[i] + 1))
        decoder_output(model, {"input_ids": TOKENS, "use_cache": False}, ROWS).sum().backward()
        gradients[recompute] = [p.grad for p in model.parameters()]
    assert calls == {False: [1, 1, 1], True: [2] * (3 - kept) + [1] * kept}
    assert all(torch.equal(a, b) for a, b in zip(gradients[False], gradients[True], strict=True) if a is not None)


def test_where_it_does_not_pay_or_would_be_recomputed() -> None:
    model = build("llama").train()
    splits(model)
    seen: list[int] = []
    model.model.layers[-1].mlp.down_proj.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[1]))
    inputs = {"input_ids": TOKENS, "use_cache": False}
    decoder_output(model, inputs, torch.arange(29))
    model.gradient_checkpointing_enable({"use_reentrant": False})
    decoder_output(model, inputs, ROWS).sum().backward()
    assert seen == [30, 30, 30]
    keep_last_layers(model)
    decoder_output(model, inputs, ROWS).sum().backward()
    assert seen[3:] == [len(ROWS)]
