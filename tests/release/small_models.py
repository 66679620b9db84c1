"""A small random model of every family that GGUF files are written for; norms and biases too, so that nothing is 1 or 0 by luck."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoModelForCausalLM

from instil.release.expected import Expected, expect
from instil.release.hf import write_ends
from instil.template.contract import Contract, make_contract
from instil.template.saved import save_contract
from instil.template.tokenizer import from_record
from tests.fakes import BOS, EOS, OWN_TEMPLATE, byte_level_tokenizer

CONTEXT = 512
FIN = "<|fin|>"
"""An end of turn that llama.cpp does not know by its text: it stops there only if the file says so."""

SMALL = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.15,
    "pad_token_id": None,
}
GEMMA = {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 24}
LONG = [1.0 + k for k in range(8)]

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {}),
    "mistral": ("MistralConfig", {"head_dim": 16, "sliding_window": None}),
    "qwen2": ("Qwen2Config", {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3Config", {"head_dim": 32}),
    "gemma2": ("Gemma2Config", GEMMA),
    "gemma3": ("Gemma3TextConfig", {**GEMMA, "num_hidden_layers": 7}),
    "phi3": ("Phi3Config", {}),
    "smollm3": ("SmolLM3Config", {"num_hidden_layers": 5}),
    "olmo2": ("Olmo2Config", {}),
}
"""Family -> its config class, what is changed in it."""

POSITIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama3": (
        "LlamaConfig",
        {
            "attention_bias": True,
            "mlp_bias": True,
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 10000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            },
        },
    ),
    "linear": ("LlamaConfig", {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}}),
    "yarn": (
        "Qwen3Config",
        {
            "head_dim": 16,
            "rope_parameters": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 128},
        },
    ),
    "longrope": (
        "Phi3Config",
        {
            "original_max_position_embeddings": 512,
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 10000.0,
                "short_factor": LONG,
                "long_factor": LONG,
                "original_max_position_embeddings": 512,
            },
        },
    ),
}
"""Kinds of position scaling -> the same."""


@dataclass(frozen=True)
class Small:
    """A folder of merged weights, and what its model says in transformers."""

    folder: Path
    contract: Contract
    expected: Expected


def small_tokenizer() -> dict[str, Any]:
    """A tokenizer.json: that of the fakes with an end of its own and one word of two digits, which some pre-tokenizers cut through."""
    record: dict[str, Any] = json.loads(byte_level_tokenizer().to_str().replace(EOS, FIN))
    record["model"]["vocab"]["12"] = record["model"]["vocab"].pop("ou")
    record["model"]["merges"][-1] = ["1", "2"]
    return record


def small_contract(tokenizer: dict[str, Any] | None = None) -> Contract:
    text = json.dumps(tokenizer or small_tokenizer())
    special = {"bos_token": BOS, "eos_token": FIN}
    record = {"tokenizer": text, "special": special, "templates": {"default": OWN_TEMPLATE}, "eos_ids": []}
    return make_contract(from_record(record), "own", where="small")


def small_model(name: str, rows: int) -> nn.Module:
    kind, changes = {**MODELS, **POSITIONS}[name]
    config = getattr(transformers, kind)(**{**SMALL, "vocab_size": rows, "bos_token_id": None, "eos_token_id": None, **changes})
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter += 0.3 * torch.randn_like(parameter)
    return model


def write_small(folder: Path, name: str, contract: Contract | None = None) -> Small:
    contract = contract or small_contract()
    model = small_model(name, contract.tokenizer.vocab_size)
    model.save_pretrained(folder)
    save_contract(contract, folder, CONTEXT)
    write_ends(folder, contract)
    return Small(folder, contract, expect(model, contract, CONTEXT))


def edit_config(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
