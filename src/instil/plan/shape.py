"""The sizes of a decoder, read off its config, and how many parameters it has: exact, or refused."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from instil.core.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A decoder of gated MLPs. `norms`: norm vectors of hidden width per layer; `extra`: further parameters per layer (biases, norms of
    queries and keys)."""

    hidden: int
    wide: int
    layers: int
    heads: int
    groups: int
    width: int
    vocabulary: int
    tied: bool
    norms: int = 2
    extra: int = 0

    @property
    def queries(self) -> int:
        return self.heads * self.width

    @property
    def keys(self) -> int:
        return self.groups * self.width

    @property
    def linear(self) -> int:
        """Weights of the decoder's linear layers."""
        attention = 2 * self.hidden * (self.queries + self.keys)
        return self.layers * (attention + 3 * self.hidden * self.wide)

    @property
    def embedding(self) -> int:
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        rest = self.layers * (self.norms * self.hidden + self.extra) + self.hidden
        return self.linear + rest + self.embedding * (1 if self.tied else 2)

    def lora(self, rank: int) -> int:
        """Parameters of adapters on every linear layer."""
        ends = 2 * (self.hidden + self.queries) + 2 * (self.hidden + self.keys) + 3 * (self.hidden + self.wide)
        return self.layers * rank * ends


TIED = {"gemma", "gemma2", "gemma3_text"}
"""Architectures whose embeddings are tied where the config does not say."""


def read_shape(config: Mapping[str, Any]) -> Shape:
    """From config.json. Raises UserError for an architecture whose parameters are not counted here."""
    config = config.get("text_config") or config
    kind = str(config.get("model_type"))
    if kind not in KINDS:
        raise UserError(f"instil plan does not count the parts of {kind} models: it knows {', '.join(sorted(KINDS))}")
    heads = config["num_attention_heads"]
    shape = Shape(
        hidden=config["hidden_size"],
        wide=config["intermediate_size"],
        layers=config["num_hidden_layers"],
        heads=heads,
        groups=config.get("num_key_value_heads") or heads,
        width=config.get("head_dim") or config["hidden_size"] // heads,
        vocabulary=config["vocab_size"],
        tied=config.get("tie_word_embeddings", kind in TIED),
    )
    return KINDS[kind](shape)


def _plain(shape: Shape) -> Shape:
    return shape


def _with_biases(shape: Shape) -> Shape:
    return replace(shape, extra=shape.queries + 2 * shape.keys)


def _with_head_norms(shape: Shape) -> Shape:
    return replace(shape, extra=2 * shape.width)


def _with_wide_norms(shape: Shape) -> Shape:
    return replace(shape, extra=shape.queries + shape.keys)


def _gemma2(shape: Shape) -> Shape:
    return replace(shape, norms=4)


def _gemma3(shape: Shape) -> Shape:
    return replace(shape, norms=4, extra=2 * shape.width)


KINDS = {
    **dict.fromkeys(("llama", "mistral", "gemma", "phi3", "smollm3", "granite"), _plain),
    "qwen2": _with_biases,
    "qwen3": _with_head_norms,
    "olmo2": _with_wide_norms,
    "gemma2": _gemma2,
    "gemma3_text": _gemma3,
}
