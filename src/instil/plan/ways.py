"""Ways to train, from what changes nothing to what changes most, and the first of them that a memory holds."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from instil.plan.need import Way, need
from instil.plan.shape import Shape

FULL: dict[str, Any] = {"method": "full", "weights": "fp32", "optimizer": "adamw", "offload": "none"}
LADDER: tuple[dict[str, Any], ...] = (
    FULL,
    {**FULL, "offload": "states"},
    {**FULL, "weights": "bf16"},
    {**FULL, "weights": "bf16", "offload": "states"},
    {**FULL, "weights": "bf16", "optimizer": "adamw_8bit"},
    {**FULL, "weights": "bf16", "optimizer": "adamw_8bit", "offload": "states"},
    {**FULL, "method": "lora"},
    {**FULL, "method": "qlora"},
)
"""Offloaded states are the same run, slower; weights in bf16 and states in eight bits are nearly the same; adapters are another one."""


def ways_that_fit(shape: Shape, way: Way, memory: float, shards: int = 1) -> Iterator[Way]:
    """`way` on each rung of the ladder that `memory` bytes hold, with activations recomputed only where that is needed."""
    for rung in LADDER:
        if way.device == "cpu" and rung["offload"] == "states" or way.precision == "fp32" and rung["weights"] == "bf16":
            continue
        for recompute in (False, True):
            found = replace(way, **rung, recompute=recompute)
            if need(shape, found, shards).total <= memory:
                yield found
                break


def what_changes(way: Way, other: Way) -> str:
    """The knobs in which `other` differs from `way`, as a recipe says them."""
    changed = {name: getattr(other, name) for name in FULL if getattr(other, name) != getattr(way, name)}
    return " with ".join(f"{name if name == 'method' else f'train.{name}'}: {value}" for name, value in changed.items())
