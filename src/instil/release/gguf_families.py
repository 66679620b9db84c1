"""How each family of models is laid out in a GGUF file: one table of names and rules.

Sources: llama.cpp's `src/models/*.cpp` (which tensors and keys each architecture reads, and what it computes with them) and transformers'
`models/*/modeling_*.py` (what the same weights mean there). Where the two would compute something different, the model is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from instil.core.errors import UserError

GLOBAL = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
_ATTENTION = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output"}
_MLP = {"mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
_PLAIN = {**_ATTENTION, **_MLP, "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
_HEAD_NORMS = {"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"}
_AFTER = {"post_attention_layernorm": "post_attention_norm", "post_feedforward_layernorm": "post_ffw_norm"}
_GEMMA = {**_PLAIN, **_AFTER, "pre_feedforward_layernorm": "ffn_norm"}
_FUSED = {"self_attn.qkv_proj": "attn_qkv", "mlp.gate_up_proj": "ffn_up"}
_PHI3 = {**_FUSED, **{k: v for k, v in _PLAIN.items() if k.split(".")[-1] in ("o_proj", "down_proj") or "norm" in k}}
_OLMO2 = {**_ATTENTION, **_MLP, **_HEAD_NORMS, **_AFTER}
_QKV = frozenset({"attn_q", "attn_k", "attn_v"})


@dataclass(frozen=True, slots=True)
class Family:
    """`arch`: llama.cpp's name. `layer`: module inside a layer -> tensor of a block. `permuted`: rows of q and k are stored in the order of
    the original Llama, halves of a head interleaved. `shifted`: norms multiply by 1 + weight, and llama.cpp by the weight. `square`:
    llama.cpp takes heads x head width to be the hidden size. `biases`: block tensors that may have one. `global_every`: every n-th layer
    sees everything, the others a window; 0 where llama.cpp knows no window. `head`: llama.cpp wants an own output matrix (True), never
    reads one (False), or takes the embedding where there is none (None). `ropes`: kinds of position scaling that both compute alike.
    """

    arch: str
    layer: Mapping[str, str]
    permuted: bool = False
    shifted: bool = False
    square: bool = False
    activation: str = "silu"
    biases: frozenset[str] = frozenset()
    global_every: int = 0
    head: bool | None = None
    ropes: frozenset[str] = frozenset({"default", "linear", "yarn"})


_LLAMA = Family(
    "llama", _PLAIN, permuted=True, biases=_QKV | {*_MLP.values(), "attn_output"}, ropes=frozenset({"default", "linear", "llama3"})
)

FAMILIES: Mapping[str, Family] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": Family("qwen2", _PLAIN, square=True, biases=_QKV),
    "qwen3": Family("qwen3", {**_PLAIN, **_HEAD_NORMS}),
    "gemma2": Family(
        "gemma2", _GEMMA, shifted=True, activation="gelu_pytorch_tanh", global_every=2, head=False, ropes=frozenset({"default"})
    ),
    "gemma3_text": Family(
        "gemma3",
        {**_GEMMA, **_HEAD_NORMS},
        shifted=True,
        activation="gelu_pytorch_tanh",
        global_every=6,
        ropes=frozenset({"default", "linear"}),
    ),
    "phi3": Family("phi3", _PHI3, square=True, ropes=frozenset({"default", "longrope"})),
    "smollm3": Family("smollm3", _PLAIN, permuted=True),
    "olmo2": Family("olmo2", _OLMO2, square=True, head=True),
}
"""By `model_type` of config.json."""


def family_of(config: Mapping[str, Any], where: str) -> Family:
    """The family of a model. Raises UserError naming what is known, or what in the config llama.cpp would compute differently."""
    kind = str(config.get("model_type"))
    if kind not in FAMILIES:
        raise UserError(f"{where}: no GGUF layout is known for model_type '{kind}' (known: {', '.join(FAMILIES)}): choose another export")
    family = FAMILIES[kind]
    shape = shape_of(config)
    _refuse(where, "a hidden_act", activation_of(config), family.activation)
    if family.square:
        _refuse(where, "heads x head_dim", shape.heads * shape.width, shape.hidden)
    if kind == "smollm3":
        layers = range(1, shape.layers + 1)
        _refuse(where, "no_rope_layers", config.get("no_rope_layers"), [int(i % 4 != 0) for i in layers])
    if kind in ("gemma2", "gemma3_text"):
        large = {"gemma2": 46, "gemma3_text": 62}[kind]  # the layers by which llama.cpp recognises the 27B models, which scale differently
        scalar = shape.hidden // shape.heads if shape.layers == large else shape.width
        _refuse(where, "a query_pre_attn_scalar", config.get("query_pre_attn_scalar", 256), scalar)
    if kind == "gemma3_text":
        _refuse(where, "an attn_logit_softcapping", config.get("attn_logit_softcapping"), None)
        _refuse(where, "use_bidirectional_attention", config.get("use_bidirectional_attention") or False, False)
    return family


def activation_of(config: Mapping[str, Any]) -> str:
    return str(config.get("hidden_activation") or config.get("hidden_act", "silu"))


def _refuse(where: str, what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise UserError(f"{where}: {what} of {found} cannot be written, because llama.cpp computes with {wanted}: choose another export")


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a model; `width` is that of one head."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    width: int


def shape_of(config: Mapping[str, Any]) -> Shape:
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    return Shape(config["num_hidden_layers"], hidden, heads, kv_heads, config.get("head_dim") or hidden // heads)


@dataclass(frozen=True, slots=True)
class Layout:
    """Keys of the file without the architecture's prefix, extra tensors, and what a person should know."""

    keys: dict[str, Any]
    tensors: dict[str, list[float]] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def block_name(family: Family, name: str) -> str | None:
    """The GGUF name of a tensor, None for one that has no place there."""
    module, _, kind = name.rpartition(".")
    if module in GLOBAL:
        return f"{GLOBAL[module]}.{kind}" if kind == "weight" else None
    parts = module.split(".", 3)
    if len(parts) < 4 or parts[:2] != ["model", "layers"] or parts[3] not in family.layer:
        return None
    stem = family.layer[parts[3]]
    allowed = kind == "weight" or (kind == "bias" and stem in family.biases)
    return f"blk.{parts[2]}.{stem}.{kind}" if allowed else None
