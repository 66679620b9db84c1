"""Parameters, against the architectures themselves."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from instil.core.errors import UserError
from instil.core.recipe import Lora
from instil.model.adapters import add_lora, trainable_parameters
from instil.plan.shape import KINDS, read_shape

SIZES = {
    "vocab_size": 300,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("tied", [True, False])
def test_parameters_are_those_of_the_model(kind: str, tied: bool) -> None:
    sizes = SIZES if kind != "phi3" else {**SIZES, "head_dim": 8}  # phi3 has no width of its own
    config = AutoConfig.for_model(kind, **sizes, tie_word_embeddings=tied)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert read_shape(config.to_dict()).parameters == sum(p.numel() for p in model.parameters())


def test_adapters() -> None:
    config = AutoConfig.for_model("qwen3", **SIZES)
    model = add_lora(AutoModelForCausalLM.from_config(config), Lora(rank=5))
    assert read_shape(config.to_dict()).lora(5) == trainable_parameters(model)[0]


def test_what_is_not_known() -> None:
    with pytest.raises(UserError, match="does not count the parts of mamba models: it knows gemma, "):
        read_shape({"model_type": "mamba"})
