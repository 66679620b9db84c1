"""The loop. It exists once: what is trained on, against what, and with which optimizer comes in as arguments.

The batch of step s, and every random number drawn in it, is a function of (seed, s). So a run is resumed by its step number alone, and
a resumed run is the same run.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from instil.batch.trie import Row
from instil.core.errors import UserError
from instil.model.shard import own_part
from instil.train.checkpoint import State
from instil.train.distributed import World
from instil.train.memory import Autocast
from instil.train.objectives import Objective
from instil.train.optimizer import set_rate


@dataclass(frozen=True)
class Every:
    """When the loop pauses, in steps."""

    evaluate: int
    checkpoint: int


@dataclass(frozen=True)
class StepResult:
    """One optimizer step, over all ranks. `loss` is the step's weighted mean; `norm` is the gradient's before clipping."""

    loss: float
    norm: float
    tokens: int
    supervised: int
    metrics: dict[str, float]


def train(
    model: torch.nn.Module,
    *,
    state: State,
    steps: int,
    rows_at: Callable[[int], Sequence[Row]],
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    rate_at: Callable[[int], float],
    seed: int,
    every: Every,
    evaluate: Callable[[torch.nn.Module], dict[str, float]] | None,
    save: Callable[[State], None],
    report: Callable[[dict[str, Any]], None],
    where: Callable[[int], str],
    stop: Callable[[], bool] = lambda: False,
    clip: float | None = 1.0,
    autocast: Autocast = lambda: torch.autocast("cpu", enabled=False),
    world: World = World(),  # noqa: B008  frozen
) -> State:
    """Train from `state.step` to `steps`, and return how far it came: less than `steps` if `stop()` asked for an end.

    `report` gets one record a step and one per held-out loss. `where(step)` names the rows of a step for error messages.
    Raises UserError where the loss is not finite or the gradient is exactly zero; nothing is saved after that point.
    """
    if state.step == 0 and evaluate is not None:
        state = _held_out(model, evaluate, state, report)
    while state.step < steps:
        began = time.monotonic()
        rate = rate_at(state.step)
        set_rate(optimizer, rate)
        result = take_step(model, rows_at(state.step), state.step, objective, optimizer, seed, clip, autocast, world, where)
        state = replace(state, step=state.step + 1)
        report(_record(state.step, result, rate, time.monotonic() - began))
        asked = world.any(stop())
        ends = state.step == steps or asked
        if evaluate is not None and (state.step % every.evaluate == 0 or state.step == steps):
            state = _held_out(model, evaluate, state, report)
        if state.step % every.checkpoint == 0 or state.best_step == state.step or ends:
            save(state)
        if asked:
            break
    return state


def take_step(
    model: torch.nn.Module,
    rows: Sequence[Row],
    step: int,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    seed: int,
    clip: float | None,
    autocast: Autocast,
    world: World,
    where: Callable[[int], str],
) -> StepResult:
    """Forward and backward over this rank's rows, then one update. The only division is by the weight of the whole step."""
    model.train()
    optimizer.zero_grad(set_to_none=True)
    total = torch.zeros((), dtype=torch.float64, device=next(model.parameters()).device)
    sums = dict.fromkeys(("weight", "tokens", "supervised"), 0.0)
    for index, counts in world.turns(rows):
        row = rows[index]
        torch.manual_seed(_random_seed(seed, step, index))  # dropout and noise belong to the row, not to the rank that computes it
        with autocast():
            loss = objective(model, row)
        (loss.total if counts else 0.0 * loss.total).backward()
        if not counts:
            continue
        total += loss.total.detach()
        found = {"weight": loss.weight, "tokens": len(row.tokens_T), "supervised": len(row.targets_S), **loss.metrics}
        sums = {name: sums.get(name, 0.0) + value for name, value in found.items()}
    sums = world.sum({**sums, "loss": float(total)})
    parameters = [p for p in model.parameters() if p.requires_grad]
    world.sum_gradients(parameters)
    weight = sums.pop("weight")
    norm = _divide_and_clip([own_part(p.grad) for p in parameters if p.grad is not None], weight, clip, world)
    loss_mean = sums.pop("loss") / weight
    _check(loss_mean, norm, step, where)
    optimizer.step()
    return StepResult(loss_mean, norm, int(sums.pop("tokens")), int(sums.pop("supervised")), sums)


def _divide_and_clip(gradients: list[torch.Tensor], weight: float, clip: float | None, world: World) -> float:
    """Gradient of the mean, at most `clip` long. Returns its norm before clipping."""
    if not gradients:
        return 0.0
    wide = torch.promote_types(gradients[0].dtype, torch.float32)  # bf16 would leave the norm three digits
    norm = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients, 2, wide)))) / weight
    if world.shards:  # this was the norm of this rank's share
        norm = math.sqrt(world.sum({"squares": norm**2})["squares"] * world.shards / world.size)
    torch._foreach_mul_(gradients, (clip / norm if clip is not None and norm > clip else 1.0) / weight)  # one pass for both
    return norm


def _check(loss: float, norm: float, step: int, where: Callable[[int], str]) -> None:
    """A run that cannot learn any more ends here, before the update, so that the last checkpoint is still good."""
    if not math.isfinite(loss) or not math.isfinite(norm):
        what = "loss" if not math.isfinite(loss) else "gradient"
        raise UserError(
            f"step {step + 1}: the {what} is not a finite number; rows: {where(step)}; try a lower train.learning_rate, a longer "
            "train.warmup, or train.precision: fp32; what was saved before is intact"
        )
    if norm == 0:
        raise UserError(
            f"step {step + 1}: the gradient is exactly zero, nothing would be learned; rows: {where(step)}; check that the method trains "
            "parameters that these rows use (lora.targets, weights of the messages)"
        )


def _held_out(
    model: torch.nn.Module, evaluate: Callable[[torch.nn.Module], dict[str, float]], state: State, report: Callable[[dict[str, Any]], None]
) -> State:
    began = time.monotonic()
    found = evaluate(model)
    report({"step": state.step, "held_out": found, "speed": {"seconds": round(time.monotonic() - began, 3)}})
    if state.best_loss is None or found["loss"] < state.best_loss:
        return replace(state, best_loss=found["loss"], best_step=state.step)
    return state


def _record(step: int, result: StepResult, rate: float, seconds: float) -> dict[str, Any]:
    """A step's line in metrics.jsonl. What depends on the clock stands under `speed`: all the rest is the same in every resumed run."""
    return {
        "step": step,
        "loss": result.loss,
        "gradient_norm": result.norm,
        "learning_rate": rate,
        "tokens": result.tokens,
        "supervised": result.supervised,
        **result.metrics,
        "speed": {
            "seconds": round(seconds, 3),
            "tokens_per_second": round(result.tokens / seconds, 1),
            "supervised_per_second": round(result.supervised / seconds, 1),
        },
    }


def _random_seed(seed: int, step: int, row: int) -> int:
    """A different generator state for every row of every step, the same in every run with this seed (splitmix64's finalizer)."""
    x = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + row * 0x94D049BB133111EB + 1) & (2**64 - 1)
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
    return (x ^ (x >> 31)) >> 1


def mean_loss(rows: Sequence[Row], objective: Objective, autocast: Autocast, world: World) -> Callable[[torch.nn.Module], dict[str, float]]:
    """Held-out evaluation: weighted mean loss and share of tokens that the model would have chosen, over `rows`. Draws no random number."""

    @torch.no_grad()
    def evaluate(model: torch.nn.Module) -> dict[str, float]:
        model.eval()
        sums = {"total": 0.0, "weight": 0.0, "correct": 0.0, "count": 0.0}
        for index, counts in world.turns(rows):
            row = rows[index]
            with autocast():
                loss = objective(model, row)
            if not counts:
                continue
            found = {"total": float(loss.total), "weight": loss.weight, "correct": loss.metrics["correct"], "count": len(row.targets_S)}
            sums = {name: sums[name] + found[name] for name in sums}
        sums = world.sum(sums)
        return {"loss": sums["total"] / sums["weight"], "accuracy": sums["correct"] / sums["count"]}

    return evaluate
