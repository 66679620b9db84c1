"""What a run will need, said before it begins. The data is prepared; of the model only config.json is read."""

import json
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich.console import Console

from instil.batch.trie import lay_out
from instil.core.errors import UserError
from instil.core.recipe import Recipe
from instil.model.resolve import folder_of
from instil.plan.cards import UTILISATION, UTILISATION_CPU, card
from instil.plan.need import Need, Way, flops_per_token, need
from instil.plan.shape import Shape, read_shape
from instil.plan.ways import in_knobs, ways_that_fit
from instil.stages.prepare import Data, prepare
from instil.stages.say import Teller

SAMPLED = 8
"""Steps that are laid out, to know how much is shared and how large rows become."""
ROOM = 0.95
"""Of the memory there is: what may be planned for."""


@dataclass(frozen=True)
class Load:
    """What a run computes. `alone`: tokens of a step's examples one by one; `tokens`: as laid out; `row`: the largest row of a step."""

    steps: int
    alone: float
    tokens: float
    row: int
    example: int
    predicted: float


def plan(
    recipe: Recipe,
    *,
    gpu: str | None = None,
    gpus: int = 1,
    price: float | None = None,
    as_json: bool = False,
    console: Console | None = None,
) -> bool:
    """Print the plan. Returns whether it fits. Raises UserError: an unknown card or architecture, whatever `prepare` raises."""
    tell = Teller(console or Console(), quiet=as_json)
    shape = read_shape(_config(recipe))
    memory, rate = _machine(gpu, recipe.train.precision)
    with tell.preparing() as tick:
        load = measure_load(prepare(recipe, lambda _: None, tick), recipe)
    way = choose_way(recipe, shape, load, gpu is not None, memory, gpus)
    found = need(shape, way, gpus)
    low, high = UTILISATION_CPU if gpu is None else UTILISATION
    flops = load.steps * load.tokens * flops_per_token(shape, way)
    hours = tuple(flops / (rate * share * gpus) / 3600 for share in (high, low))
    facts = {
        "parameters": shape.parameters,
        "trained": shape.parameters if way.method == "full" else shape.lora(way.rank),
        "way": asdict(way),
        "load": asdict(load),
        "need": {**asdict(found), "total": found.total},
        "memory": memory,
        "fits": found.total <= ROOM * memory,
        "largest_row": largest_row(shape, way, memory, gpus),
        "others": [in_knobs(other) for other in ways_that_fit(shape, way, ROOM * memory, gpus) if in_knobs(other) != in_knobs(way)],
        "hours": hours,
        "money": None if price is None else tuple(h * price * gpus for h in hours),
    }
    if as_json:
        print(json.dumps(facts))
    else:
        _say(tell, recipe, facts, found, gpu, gpus)
    return bool(facts["fits"])


def measure_load(data: Data, recipe: Recipe) -> Load:
    """From the first steps, laid out as they will be."""
    steps = data.num_steps()
    sampled = range(min(SAMPLED, steps))
    paths = [data.paths_at(step) for step in sampled]
    rows = [lay_out(step, recipe.train.max_tokens, recipe.train.average) for step in paths]
    flat, laid = [path for step in paths for path in step], [row for step in rows for row in step]
    alone, tokens = sum(len(path.tokens) for path in flat), sum(len(row.tokens_T) for row in laid)
    predicted = sum(len(set(row.predicts_S.tolist())) for row in laid)
    largest = max(len(row.tokens_T) for row in laid)
    return Load(steps, alone / len(sampled), tokens / len(sampled), largest, round(alone / len(flat)), predicted / tokens)


def choose_way(recipe: Recipe, shape: Shape, load: Load, on_gpu: bool, memory: float, shards: int) -> Way:
    """As the recipe says; where it says auto, activations are recomputed if nothing else fits."""
    way = Way(
        method=recipe.method,
        rank=recipe.lora.rank,
        precision="fp32" if recipe.train.precision == "fp32" else "bf16",
        weights=recipe.train.weights,
        optimizer=recipe.train.optimizer,
        offload=recipe.train.offload,
        recompute=recipe.train.checkpointing == "on",
        tokens=load.row,
        example=load.example,
        predicted=load.predicted,
        device="gpu" if on_gpu else "cpu",
    )
    if recipe.train.checkpointing == "auto" and need(shape, way, shards).total > ROOM * memory:
        return replace(way, recompute=True)
    return way


def largest_row(shape: Shape, way: Way, memory: float, shards: int) -> int:
    """Tokens, a multiple of 128; 0 where not even weights and states fit."""
    base, step = need(shape, replace(way, tokens=0), shards).total, need(shape, replace(way, tokens=12800), shards).total
    room = ROOM * memory - base
    return max(0, int(room / ((step - base) / 12800)) // 128 * 128) if room > 0 else 0


def _config(recipe: Recipe) -> dict[str, Any]:
    path = folder_of(recipe.model) / "config.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}): give a model folder in Hugging Face's layout, or a hub id") from None
    return found


def _machine(gpu: str | None, precision: str = "auto") -> tuple[float, float]:
    """Bytes of memory and FLOP/s: of the card as stated, of this CPU as measured."""
    if gpu is not None:
        chosen = card(gpu)
        return chosen.memory * 2**30, chosen.rate * 1e12
    import torch  # only to measure this processor

    from instil.train.memory import choose_precision, free_memory

    device = torch.device("cpu")
    dtype = choose_precision(precision, device)
    a, b = (torch.randn(2048, 1024, dtype=dtype), torch.randn(1024, 1024, dtype=dtype))
    a @ b
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < 0.5:
        a @ b
        done += 1
    rate = done * 2 * 2048 * 1024 * 1024 / (time.perf_counter() - began)
    return float(free_memory(device) or 0), rate


def _say(tell: Teller, recipe: Recipe, facts: dict[str, Any], found: Need, gpu: str | None, gpus: int) -> None:
    gib = {name: value / 2**30 for name, value in facts["need"].items()}
    way, load = facts["way"], facts["load"]
    where = f"{gpus} x {gpu}" if gpu else "this machine's CPU"
    shared = f", {load['alone'] / load['tokens']:.2f}x fewer than its examples hold" if load["alone"] > load["tokens"] else ""
    tell.line("model", f"{recipe.model} · {_count(facts['parameters'])} parameters, {_count(facts['trained'])} trained")
    tell.line("data", f"{load['steps']:,} steps of {load['tokens']:,.0f} tokens to compute{shared}; rows of up to {load['row']:,} tokens")
    tell.line("memory", f"{gib['total']:.2f} GiB of {facts['memory'] / 2**30:.1f} GiB on {where}, at the peak of a step")
    for name, text in PARTS.items():
        tell.say(f"{gib[name]:9.2f} GiB  {text}")
    if found.host:
        tell.say(f"{gib['host']:9.2f} GiB  optimizer states, in the machine's memory and not part of the sum")
    mode = "activations are recomputed" if way["recompute"] else "nothing is recomputed"
    tell.line("fits" if facts["fits"] else "too large", f"{mode}; the largest row that fits has {facts['largest_row']:,} tokens")
    if not facts["fits"]:
        tell.say("what would help: " + "; ".join(_advice(way, facts["largest_row"], facts["others"])))
    low, high = facts["hours"]
    tell.line("time", f"{_duration(low)} to {_duration(high)}, evaluation not counted")
    if facts["money"]:
        tell.line("money", f"{facts['money'][0]:,.2f} to {facts['money'][1]:,.2f}")


PARTS = {
    "weights": "weights, and their copies in bf16",
    "gradients": "gradients",
    "states": "optimizer states",
    "kept": "kept for the backward pass",
    "passing": "passing through one layer's backward pass",
    "head": "logits of a chunk, and the head's gradients",
    "libraries": "Python and libraries",
}


def _advice(way: dict[str, Any], largest: int, others: list[str]) -> list[str]:
    found = [f"train.max_tokens of {largest:,} or less (and a max_length within it)"] if largest >= 256 else []
    found += others[:3]
    found += ["train.checkpointing: on"] if not way["recompute"] else []
    return found or ["a smaller model, or a larger device"]


def _count(number: float) -> str:
    return f"{number / 1e9:.2f}B" if number >= 1e9 else f"{number / 1e6:.1f}M"


def _duration(hours: float) -> str:
    return f"{hours:,.1f} hours" if hours >= 1 else f"{hours * 60:.0f} minutes" if hours * 60 >= 2 else f"{hours * 3600:.0f} seconds"
