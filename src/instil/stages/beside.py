"""What a run does besides its steps: it starts, takes held-out losses, writes checkpoints and the model's folder. No torch."""

from dataclasses import dataclass

from instil.batch.trie import lay_out
from instil.core.recipe import Recipe
from instil.plan.need import EIGHT_BITS
from instil.stages.fit import Fit
from instil.stages.prepare import Data

LIBRARIES = 3.2
"""Seconds that importing what a run stands on takes, where that is not measured: two cores (`benchmarks/results/start.json`)."""
START = 1.4
"""So many times that is a run's start, with opening what was prepared, loading a small model and the probe: 1.25 and 1.46 on two
processors."""
DISK = (2e9, 5e8)
"""Bytes a second, written and hashed, or read and looked through, where that is not measured: at best, at worst. An assumption."""
FORWARD = {"full": 1 / 3, "lora": 1 / 2, "qlora": 1 / 2}
"""Of a token's operations in a step, and of its time, those of the forward pass, with which a held-out loss ends: measured 0.29 to 0.35
for full, 0.35 to 0.48 for LoRA (3M, 25M)."""


@dataclass(frozen=True)
class Beside:
    """`held`: tokens of all held-out losses. Bytes: `read`, the base model; `written`, all checkpoints and the model's folder."""

    held: int
    read: float
    written: float


def pauses(recipe: Recipe, steps: int) -> tuple[int, int]:
    """Steps between held-out losses, and between checkpoints."""
    evaluate = recipe.train.evaluate_every or max(1, steps // 10)
    return evaluate, recipe.train.checkpoint_every or evaluate


def beside(data: Data, fit: Fit, trained: int) -> Beside:
    """As the loop goes: a held-out loss before the first step, then with its pauses and at the end; a checkpoint as well where that is the
    lowest, which each may be."""
    steps, knobs = fit.load.steps, data.recipe.train
    evaluate, checkpoint = pauses(data.recipe, steps)
    measured = {*range(0, steps, evaluate), steps} if data.held else set()
    saved = {*range(checkpoint, steps, checkpoint), *measured, steps} - {0}
    held = lay_out(data.held_paths(), fit.rows, knobs.average, share=knobs.packing != "alone") if data.held else []
    size = 2 if knobs.weights == "bf16" else 4
    states = EIGHT_BITS if knobs.optimizer == "adamw_8bit" else 8
    model = size * (fit.shape.parameters if data.recipe.method == "full" else trained)
    return Beside(
        held=len(measured) * sum(len(row.tokens_T) for row in held),
        read=4 * fit.shape.parameters,
        written=len(saved) * (size + states) * trained + model,
    )
