"""The last layer where something is predicted: same hidden states, same gradients, fewer tokens through its MLP."""

import pytest
import torch

from instil.model.head import hidden_states, splits
from instil.model.last import decoder_output, keep_last_layer, narrows
from tests.model.tiny import build

TOKENS, ROWS = torch.arange(3, 33)[None], torch.tensor([2, 9, 10, 28])


@pytest.mark.parametrize("kind", ["llama", "gemma3_text", "cohere2"])
def test_same_gradients_from_fewer_tokens(kind: str) -> None:
    model = build(kind)
    assert splits(model) and narrows(model)
    seen: list[int] = []
    parameters = list(model.get_decoder().parameters())
    expected = model.get_decoder()(TOKENS, use_cache=False)[0][0, ROWS]
    hook = model.get_decoder().layers[-1].mlp.down_proj.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[1]))
    found = hidden_states(model, TOKENS[0], None, ROWS)
    hook.remove()
    assert seen == [len(ROWS)]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    for a, b in zip(*(torch.autograd.grad((out**3).sum(), parameters) for out in (found, expected)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("kind", "may"), [("gpt2", False), ("mixtral", False), ("qwen2_moe", False)])
def test_other_layers_run_whole(kind: str, may: bool) -> None:
    model = build(kind)
    splits(model)
    assert narrows(model) == may


def test_where_it_does_not_pay_or_would_be_recomputed() -> None:
    model = build("llama").train()
    splits(model)
    seen: list[int] = []
    model.model.layers[-1].mlp.down_proj.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[1]))
    inputs = {"input_ids": TOKENS, "use_cache": False}
    decoder_output(model, inputs, torch.arange(29))
    model.activation_checkpointing_enable()
    decoder_output(model, inputs, ROWS).sum().backward()
    assert seen == [30, 30, 30]
    keep_last_layer(model)
    decoder_output(model, inputs, ROWS).sum().backward()
    assert seen[3:] == [len(ROWS)]
