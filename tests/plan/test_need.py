"""Bytes that are counted by hand, against those that autograd really saves."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from instil.batch.trie import lay_out
from instil.core.errors import UserError
from instil.core.recipe import Lora
from instil.core.values import Path
from instil.model.adapters import add_lora, round_frozen, round_weights
from instil.model.attention import tree_attention
from instil.model.head import hidden_states, splits
from instil.model.layout import lay_out_tree
from instil.model.lora import lean_lora
from instil.model.norms import lean_norms
from instil.model.rotary import lean_rotary
from instil.plan.cards import CARDS, card
from instil.plan.need import Way, flops_per_token, kept_per_token, need
from instil.plan.shape import read_shape

EXAMPLE, TOKENS = 256, 1024


def saved_per_token(layers: int, method: str, precision: str, weights: str) -> tuple[float, LlamaConfig]:
    """Bytes of distinct storages that a row's forward pass keeps, the weights and their copies left out."""
    config = LlamaConfig(
        vocab_size=128, hidden_size=256, intermediate_size=512, num_hidden_layers=layers, num_attention_heads=4, num_key_value_heads=2,
        head_dim=64, tie_word_embeddings=True,
    )  # fmt: skip
    model: Any = LlamaForCausalLM(config)
    if method == "lora":
        model = add_lora(model, Lora(rank=8))
        if precision == "bf16":
            round_frozen(model, torch.bfloat16)
    if weights == "bf16":
        round_weights(model, torch.bfloat16)
    splits(model)
    model.train()
    random = np.random.default_rng(0)
    paths = [Path(random.integers(3, 128, EXAMPLE).astype(np.uint32), 1) for _ in range(TOKENS // EXAMPLE)]
    (row,) = lay_out(paths, TOKENS)
    sizes = {tuple(p.shape) for p in model.parameters()} | {tuple(p.t().shape) for p in model.parameters() if p.ndim == 2}
    seen: dict[int, int] = {}
    held = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if tuple(tensor.shape) not in sizes:
            held.append(tensor)
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
    hooks = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
    with lean_norms(model), lean_rotary(model), lean_lora(model), tree_attention(model), autocast, hooks:
        hidden_states(model, torch.from_numpy(row.tokens_T), lay_out_tree(row), torch.arange(TOKENS))
    return sum(seen.values()) / TOKENS, config


@pytest.mark.parametrize(
    ("method", "precision", "weights"),
    [("full", "bf16", "fp32"), ("full", "fp32", "fp32"), ("full", "bf16", "bf16"), ("lora", "bf16", "fp32"), ("lora", "fp32", "fp32")],
)
def test_what_a_layer_keeps(method: Any, precision: Any, weights: Any) -> None:
    few, config = saved_per_token(2, method, precision, weights)
    many, _ = saved_per_token(4, method, precision, weights)
    way = Way(method=method, rank=8, precision=precision, weights=weights, tokens=TOKENS, example=EXAMPLE)
    assert kept_per_token(read_shape(config.to_dict()), way) == pytest.approx((many - few) / 2, rel=0.1)


def test_parts() -> None:
    shape = read_shape(LlamaConfig(hidden_size=512, intermediate_size=1024, num_hidden_layers=6, vocab_size=9000).to_dict())
    full = need(shape, Way())
    assert (full.gradients, full.states) == (4 * shape.parameters, 8 * shape.parameters)
    assert need(shape, Way(), shards=4).states == full.states / 4 and need(shape, Way(), shards=4).kept == full.kept
    assert need(shape, Way(recompute=True)).total < full.total
    sizes = [need(shape, Way(method=method)).weights for method in ("full", "lora", "qlora")]
    assert sizes == sorted(sizes, reverse=True)
    assert need(shape, Way(tokens=16384)).kept == 2 * full.kept


def test_less_of_each() -> None:
    """Two bytes each for weights, gradients and states; states elsewhere are no part of the sum."""
    shape = read_shape(LlamaConfig(hidden_size=512, intermediate_size=1024, num_hidden_layers=6, vocab_size=9000).to_dict())
    n = shape.parameters
    small = need(shape, Way(weights="bf16", optimizer="adamw_8bit"))
    assert (small.weights, small.gradients, small.states) == (2 * n, 2 * n, 2 * (1 + 4 / 256) * n)
    for optimizer, size in (("adamw", 8 * n), ("adamw_8bit", small.states)):
        here, elsewhere = (need(shape, Way(optimizer=optimizer, offload=offload)) for offload in ("none", "states"))  # type: ignore[arg-type]
        assert (here.states, here.host, elsewhere.states, elsewhere.host) == (size, 0, 0, size)
        assert elsewhere.total == here.total - size
    assert need(shape, Way(weights="bf16"), shards=2) == need(shape, Way(weights="bf16")), "not divided"
    adapters = need(shape, Way(method="lora", optimizer="adamw_8bit"))
    assert adapters.states == 2 * (1 + 4 / 256) * shape.lora(16) and adapters.gradients == 4 * shape.lora(16)


def test_weights_that_are_loaded() -> None:
    """In float32, until those that stay frozen are rounded: with a large model and small rows the largest that a process ever holds."""
    shape = read_shape(LlamaConfig().to_dict())
    small = need(shape, Way(method="lora", recompute=True, tokens=128))
    assert small.loading == 4 * shape.parameters and small.total == small.libraries + small.loading
    assert need(shape, Way(method="lora", recompute=True, tokens=128, device="gpu")).loading == 0, "a GPU is given them rounded"
    full = need(shape, Way())
    assert full.total == full.libraries + full.weights + full.gradients + full.states + full.kept + full.passing + full.head


def test_flops() -> None:
    shape = read_shape(LlamaConfig().to_dict())
    way = Way(predicted=1.0, example=0)
    assert flops_per_token(shape, way) == 6 * (shape.linear + shape.embedding)
    for kept, again in ((1, 31), (8, 24), (32, 0)):
        more = 2 * shape.linear * again / 32
        assert flops_per_token(shape, replace(way, recompute=True, kept_layers=kept)) == 6 * (shape.linear + shape.embedding) + more
    assert flops_per_token(shape, replace(way, method="lora")) == 4 * (shape.linear + shape.embedding)


def test_cards() -> None:
    assert card("H200") is CARDS["H200"]
    assert [card(name).memory < box for name, box in (("4060", 8), ("3060", 12), ("4070", 12))] == [True] * 3
    with pytest.raises(UserError, match="no such card; did you mean 'H200'"):
        card("H20")
