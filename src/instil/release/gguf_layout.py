"""What a config.json becomes in a GGUF file: sizes, windows, positions."""

import math
from collections.abc import Mapping
from typing import Any

from instil.core.errors import UserError
from instil.release.gguf_families import Family, Layout, Shape, shape_of


def layout_of(config: Mapping[str, Any], family: Family, where: str) -> Layout:
    """The keys of the model's architecture. Raises UserError where llama.cpp would compute positions differently."""
    shape = shape_of(config)
    positions = _positions(config, family, shape, where)
    context, window_keys, remarks = _windows(config, family)
    keys: dict[str, Any] = {
        "block_count": shape.layers,
        "context_length": context,
        "embedding_length": shape.hidden,
        "feed_forward_length": config["intermediate_size"],
        "attention.head_count": shape.heads,
        "attention.head_count_kv": shape.kv_heads,
        "attention.key_length": shape.width,
        "attention.value_length": shape.width,
        "attention.layer_norm_rms_epsilon": float(config["rms_norm_eps"]),
        **window_keys,
        **positions.keys,
    }
    for name in ("attn_logit_softcapping", "final_logit_softcapping"):
        if config.get(name):
            keys[name] = float(config[name])
    return Layout(keys, positions.tensors, (*remarks, *positions.remarks))


def _windows(config: Mapping[str, Any], family: Family) -> tuple[int, dict[str, Any], tuple[str, ...]]:
    """The context, keys about windows, remarks."""
    context, window, kinds = int(config["max_position_embeddings"]), int(config.get("sliding_window") or 0), config.get("layer_types")
    used = window and config.get("use_sliding_window") is not False and (kinds is None or "sliding_attention" in kinds)
    if family.global_every == 0:
        if not used or context <= window:
            return context, {}, ()
        remark = f"llama.cpp knows no sliding window for this family: the context is {window} tokens, where it makes no difference"
        return window, {}, (remark,)
    layers = config["num_hidden_layers"]
    built_in = [(i + 1) % family.global_every != 0 for i in range(layers)]
    pattern = built_in if kinds is None else [kind == "sliding_attention" for kind in kinds]
    keys: dict[str, Any] = {"attention.sliding_window": window} if window else {}
    return context, keys if pattern == built_in else keys | {"attention.sliding_window_pattern": pattern}, ()


def rope_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of rotary positions as transformers 5 saves them, made from the older `rope_theta` and `rope_scaling` where need be."""
    found = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    if "full_attention" not in found:
        found.setdefault("rope_theta", config.get("rope_theta", 10000.0))
        found["rope_type"] = found.get("rope_type") or found.get("type") or "default"
    return found


def _positions(config: Mapping[str, Any], family: Family, shape: Shape, where: str) -> Layout:
    parameters = rope_of(config)
    rope = parameters.get("full_attention", parameters)
    kind = {"su": "longrope"}.get(rope["rope_type"], rope["rope_type"])
    if kind not in family.ropes:
        known = ", ".join(sorted(family.ropes))
        raise UserError(
            f"{where}: positions of rope_type '{kind}' cannot be written for {family.arch} (only {known}): choose another export"
        )
    partial = float(config.get("partial_rotary_factor") or rope.get("partial_rotary_factor") or 1.0)
    if partial != 1.0 and family.arch != "phi3":
        raise UserError(f"{where}: a partial_rotary_factor of {partial} cannot be written for {family.arch}: choose another export")
    rotary = int(shape.width * partial)
    keys: dict[str, Any] = {"rope.dimension_count": rotary, "rope.freq_base": float(rope["rope_theta"])}
    if local := parameters.get("sliding_attention"):
        keys["rope.freq_base_swa"] = float(local["rope_theta"])
    if kind == "linear":
        keys |= {"rope.scaling.type": "linear", "rope.scaling.factor": float(rope["factor"])}
    elif kind == "llama3":
        return Layout(keys, {"rope_freqs.weight": _llama3_factors(rope, rotary)})
    elif kind == "yarn":
        return Layout(keys | _yarn(rope, config, where))
    elif family.arch == "phi3":
        return _phi3(keys, rope, config, rotary)
    return Layout(keys)


def _llama3_factors(rope: Mapping[str, Any], rotary: int) -> list[float]:
    """What each frequency is divided by: 1 for short waves, `factor` for long ones, blended between.

    transformers, `modeling_rope_utils.py`, `_compute_llama3_parameters`.
    """
    factor, low, high = float(rope["factor"]), float(rope["low_freq_factor"]), float(rope["high_freq_factor"])
    trained = float(rope["original_max_position_embeddings"])
    divisors = []
    for i in range(0, rotary, 2):
        wave = 2 * math.pi * float(rope["rope_theta"]) ** (i / rotary)
        if wave < trained / high:
            divisors.append(1.0)
        elif wave > trained / low:
            divisors.append(factor)
        else:
            smooth = (trained / wave - low) / (high - low)
            divisors.append(1 / ((1 - smooth) / factor + smooth))
    return divisors


def _yarn(rope: Mapping[str, Any], config: Mapping[str, Any], where: str) -> dict[str, Any]:
    for name, default in (("attention_factor", None), ("mscale", None), ("beta_fast", 32), ("beta_slow", 1), ("truncate", True)):
        if rope.get(name) not in (None, default):
            raise UserError(f"{where}: yarn positions with {name}={rope[name]} cannot be written: choose another export")
    trained = rope.get("original_max_position_embeddings") or config["max_position_embeddings"]
    found = {"type": "yarn", "factor": float(rope["factor"]), "original_context_length": int(trained)}
    return {f"rope.scaling.{name}": value for name, value in found.items()}


def _phi3(keys: dict[str, Any], rope: Mapping[str, Any], config: Mapping[str, Any], rotary: int) -> Layout:
    whole = int(config["max_position_embeddings"])
    trained = int(rope.get("original_max_position_embeddings") or config.get("original_max_position_embeddings") or whole)
    keys = keys | {"rope.scaling.original_context_length": trained, "attention.sliding_window": int(config.get("sliding_window") or 0)}
    if rope["rope_type"] == "default":
        return Layout(keys)
    scale = whole / trained
    attention = rope.get("attention_factor") or (math.sqrt(1 + math.log(scale) / math.log(trained)) if scale > 1 else 1.0)
    keys |= {"rope.scaling.type": "longrope", "rope.scaling.attn_factor": float(attention)}
    tensors = {f"rope_factors_{length}.weight": [float(f) for f in rope[f"{length}_factor"]] for length in ("long", "short")}
    remark = (
        f"positions: llama.cpp takes the long factors wherever the context that it is started with exceeds {trained} tokens, transformers "
        "only for prompts that do: start it with the context you need"
    )
    return Layout(keys, tensors, (remark,))
