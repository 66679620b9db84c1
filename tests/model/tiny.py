"""Tiny random models of real architectures, a step of paths, and the naive computation that everything in the room is compared with."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from instil.core.values import Path
from instil.model.load import with_exact_attention

VOCABULARY = 97
SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
WINDOW = 7  # shorter than every path of `step`
ALTERNATING = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": WINDOW}
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
LATENT = {
    "q_lora_rank": 16,
    "kv_lora_rank": 8,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 6,
    "head_dim": 4,
    "num_key_value_heads": 4,
    "n_routed_experts": 4,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
}

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {},
    "mistral": {"sliding_window": WINDOW},
    "ministral": ALTERNATING,
    "gemma": {},
    "gemma2": {**ALTERNATING, "attn_logit_softcapping": 0.05, "final_logit_softcapping": 0.5, "query_pre_attn_scalar": 8},
    "gemma3_text": {**ALTERNATING, "query_pre_attn_scalar": 8},
    "phi3": {"sliding_window": WINDOW},
    "olmo2": {},
    "smollm3": {},
    "granite": {"attention_multiplier": 0.3, "logits_scaling": 3.0, "residual_multiplier": 0.5, "embedding_multiplier": 2.0},
    "gpt_neox": {},
    "starcoder2": {"sliding_window": WINDOW},
    "cohere2": {**ALTERNATING, "logit_scale": 0.25},
    "glm4": {},
    "exaone4": ALTERNATING,
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "gpt2": {},
    "mixtral": EXPERTS,
    "qwen2_moe": {**EXPERTS, "shared_expert_intermediate_size": 24, "use_sliding_window": True, **ALTERNATING},
    "qwen3_moe": EXPERTS,
    "olmoe": EXPERTS,
    "gpt_oss": {**EXPERTS, **ALTERNATING},
    "phimoe": {**EXPERTS, "sliding_window": WINDOW},  # does not tell its attention about the window; neither does qwen2_moe
    "deepseek_v3": {**EXPERTS, **LATENT},  # keys and values of different width
    "phi": {},  # the head has a bias
    "modernbert-decoder": {"global_attn_every_n_layers": 2, "local_attention": 2 * WINDOW},  # its head cannot be run alone
}


class Float64(TorchFunctionMode):
    """Let models compute in float64 throughout: their casts to float32 (norms, rotary angles, softmax) keep float64.

    Otherwise what is compared differs by float32's rounding, and a tolerance that allows for it would also hide small mistakes.
    """

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args = tuple(torch.float64 if arg is torch.float32 else arg for arg in args)
        kwargs = {k: torch.float64 if v is torch.float32 else v for k, v in (kwargs or {}).items()}
        if func is torch.Tensor.float:
            func = torch.Tensor.double
        return func(*args, **kwargs)


def build(kind: str, dtype: torch.dtype = torch.float64, **changes: Any) -> PreTrainedModel:
    """Weights are spread wider than transformers initialises them, so that attention is far from uniform."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{**SMALL, **ARCHITECTURES.get(kind, {}), **changes})
    model = with_exact_attention(AutoModelForCausalLM.from_config(config).to(dtype).eval())
    if dtype == torch.float64:
        model.set_experts_implementation("eager")  # the grouped matrix product knows no float64
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, dtype=torch.float64)
            parameter.copy_(parameter + 0.2 * noise if "norm" in name else (0.3 if parameter.ndim > 1 else 0.1) * noise)
    return model


def step(seed: int = 0) -> list[Path]:
    """Paths with a shared preamble, several answers to one prompt, a conversation of two turns, two answers that part inside, one example
    that continues another, one that is the same as another, and one that shares nothing."""
    random = np.random.default_rng(seed)

    def draw(count: int) -> list[int]:
        return random.integers(3, VOCABULARY, count).tolist()

    preamble, question, answer = draw(9), draw(5), draw(8)
    first = preamble + question
    turn = first + answer + draw(6)
    examples = [
        (first, answer, 1.0),
        (first, draw(4), 1.0),
        (first, answer[:3] + draw(5), 0.5),
        (turn, draw(7), 1.0),
        (preamble + draw(4), draw(12), 2.0),
        (preamble + draw(4), answer, 1.0),
        (draw(15), draw(6), 1.0),
        (first, answer, 1.0),
    ]
    return [Path(np.array(context + completion, np.uint32), len(context), weight) for context, completion, weight in examples]


def naive_loss(model: PreTrainedModel, paths: list[Path]) -> torch.Tensor:
    """One path at a time, eager attention, all logits: the sum over completion tokens of weight * -log p."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    total = torch.zeros((), dtype=torch.float64)
    for path in paths:
        tokens = torch.from_numpy(path.tokens.astype(np.int64))
        labels = torch.where(torch.arange(len(tokens)) >= path.num_context, tokens, -100)
        logits = model(tokens[None], use_cache=False).logits[0]
        total = total + path.weight * F.cross_entropy(logits[:-1].double(), labels[1:], reduction="sum")
    model.set_attn_implementation(before)
    return total


def gradients(model: PreTrainedModel, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    found = {name: p.grad.clone() if p.grad is not None else torch.zeros_like(p) for name, p in model.named_parameters() if p.requires_grad}
    model.zero_grad()
    return found
