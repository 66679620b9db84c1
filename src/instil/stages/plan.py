"""What a run will need, said before it begins. The data is prepared; of the model only config.json is read."""

import importlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from rich.console import Console

from instil.core.errors import UserError
from instil.core.recipe import Recipe
from instil.plan.cards import PCIE_4, UTILISATION, UTILISATION_CPU, card, card_called
from instil.plan.need import Device, Precision, flops_per_token, recomputed_layers
from instil.plan.network import Network, exchange, network_of
from instil.plan.shape import read_shape
from instil.plan.shards import choose_shards
from instil.stages.beside import DISK, FORWARD, LIBRARIES, START, Beside, beside
from instil.stages.fit import Fit, config_of, fit_data
from instil.stages.prepare import Data, prepare
from instil.stages.say import Teller

if TYPE_CHECKING:  # torch takes seconds
    from instil.stages.pace import Pace

WITHIN = (0.85, 1.4)
"""Of a measured time, what a run takes: whole runs took 0.9 to 1.04 times it (25M) and 1.08 to 1.47 (3M), for a small model's first steps
are faster than later ones (docs/plan.md)."""
NOTICED = 0.02
"""Share of a step that waits for the network, from which on the plan says so."""


@dataclass(frozen=True)
class Machine:
    """Where a run would go: bytes of `memory`, FLOP/s, the share of them that training reaches (from, to), how to call it. `here`: it is
    the machine that plans. `network`: between several of them."""

    kind: Device
    precision: Precision
    memory: float
    rate: float
    share: tuple[float, float]
    name: str
    here: bool
    network: Network


def plan(
    recipe: Recipe,
    *,
    gpu: str | None = None,
    gpus: int = 1,
    price: float | None = None,
    measure: bool = True,
    as_json: bool = False,
    console: Console | None = None,
) -> bool:
    """Print the plan. `measure`: a few layers are timed where the run would go to this machine. Returns False where it surely does not fit.
    Raises UserError: an unknown card or architecture, whatever `prepare` raises."""
    tell = Teller(console or Console(), quiet=as_json)
    shape = read_shape(config_of(recipe))
    libraries = _libraries() if measure and gpu is None else LIBRARIES
    machine = _here(recipe, gpus) if gpu is None else _card(gpu, gpus, recipe)
    with tell.preparing() as tick:
        data = prepare(recipe, lambda _: None, tick)
    shards = choose_shards(recipe, gpus, lambda: machine.memory, lambda: shape.parameters) or 1
    fit = fit_data(data, shape, machine.memory, device=machine.kind, precision=machine.precision, shards=shards, ranks=gpus)
    pace = _pace(data, fit, machine.rate) if measure and machine.here else None
    trained = shape.parameters if recipe.method == "full" else shape.lora(recipe.lora.rank)
    taken = run_time(fit, beside(data, fit, trained), machine, gpus, pace, START * libraries)
    facts = {
        "parameters": shape.parameters,
        "trained": trained,
        "way": asdict(fit.way),
        "load": asdict(fit.load),
        "need": {**asdict(fit.need), "total": fit.need.total},
        "memory": fit.memory,
        "shards": shards,
        "fits": not fit.hopeless,
        "tight": not fit.hopeless and not fit.fits,
        "rows": fit.rows,
        "largest_row": fit.largest_row,
        "others": fit.others,
        "hours": taken.hours,
        "beside_hours": taken.beside,
        "network": taken.network,
        "measured_layers": pace.layers if pace else 0,
        "busy": pace is not None and pace.busy,
        "money": None if price is None else tuple(h * price * gpus for h in taken.hours),
    }
    if as_json:
        print(json.dumps(facts))
    else:
        _say(tell, recipe, facts, fit, machine)
    return not fit.hopeless


@dataclass(frozen=True)
class Time:
    """From and to. `hours` of the whole run; `beside`: of them, those besides its steps; `network`: share of a step in which ranks wait for
    each other's weights and gradients."""

    hours: tuple[float, float]
    beside: tuple[float, float]
    network: tuple[float, float]


def run_time(fit: Fit, other: Beside, machine: Machine, gpus: int, pace: "Pace | None", start: float = START * LIBRARIES) -> Time:
    """As measured on this machine, else counted from the rate. `start`: seconds before the base model is read."""
    load, token = fit.load, flops_per_token(fit.shape, fit.way)
    rank = replace(fit.way, tokens=round(load.tokens * load.uneven / gpus / load.passes))  # the one with most to do, of its rows the mean
    rates = (token / pace.token,) * 2 if pace else tuple(machine.rate * share for share in machine.share[::-1])
    found = []
    for rate, off, disk in zip(rates, WITHIN if pace else (1, 1), DISK, strict=True):
        step = exchange(fit.shape, rank, gpus, fit.shards, rate, machine.network, load.passes)
        steps = load.steps * (step.seconds + (pace.update / fit.shards if pace else 0))
        byte = (pace and pace.byte) or 1 / disk
        held = other.held * token / rate * FORWARD[fit.way.method] / gpus
        rest = start + other.read / disk + held + other.written * byte
        found.append((off * (steps + rest) / 3600, off * rest / 3600, 1 - step.efficiency))
    return Time(*zip(*found, strict=True))


def _libraries() -> float:
    """Seconds, by importing them; where they are already, those of another machine."""
    known, began = "torch" in sys.modules, time.perf_counter()
    importlib.import_module("instil.stages.tune")
    return LIBRARIES if known else time.perf_counter() - began


def _pace(data: Data, fit: Fit, rate: float) -> "Pace | None":
    from instil.model.load import load_config
    from instil.stages.pace import PASSES, measure_pace

    recipe = data.recipe
    config = load_config(recipe.model, trust_remote_code=recipe.trust_remote_code)
    steps = [data.paths_at(step) for step in range(min(1 + PASSES[1], fit.load.steps))]
    used = {int(i) for path in steps[0] for i in path.tokens} & data.contract.control_ids  # most bases were never trained on them
    taught = sorted(i for i in used if i < config.get_text_config().vocab_size)
    return measure_pace(recipe, config, steps, fit, rate, taught=taught)


def _card(gpu: str, gpus: int, recipe: Recipe) -> Machine:
    """As its maker states it."""
    chosen, knobs = card(gpu), recipe.train
    memory = (knobs.memory or chosen.memory) * 2**30
    precision: Precision = "fp32" if knobs.precision == "fp32" else "bf16"
    return Machine("gpu", precision, memory, chosen.rate * 1e12, UTILISATION, f"{gpus} x {gpu}", False, network_of(chosen))


def _here(recipe: Recipe, gpus: int) -> Machine:
    """As it is now; its rate is measured. Raises UserError where several GPUs are asked for, and there is none."""
    import torch  # takes seconds, and is of use only for what is measured here

    from instil.train.memory import choose_precision, device_of_run, memory_of_run

    knobs = recipe.train
    if knobs.threads:
        torch.set_num_threads(knobs.threads)
    device = device_of_run()
    if device.type == "cpu" and gpus > 1:
        raise UserError(f"--gpus {gpus}: there is no GPU here; say with --gpu which card the run will have")
    dtype = choose_precision(knobs.computed_in, device)
    memory = memory_of_run(device, knobs.memory)
    if memory is None:
        raise UserError("nobody says what memory this machine has: set train.memory, in GiB")
    precision: Precision = "bf16" if dtype == torch.bfloat16 else "fp32"
    if device.type == "cpu":
        rate = measure_rate(device, dtype, 1024)
        return Machine("cpu", precision, memory, rate, UTILISATION_CPU, "this machine's CPU", True, Network())
    name = f"{gpus} x this machine's GPU" if gpus > 1 else "this machine's GPU"
    known = card_called(torch.cuda.get_device_name(device))
    network = network_of(known) if known else Network(inside=PCIE_4 * 1e9, between=PCIE_4 * 1e9)
    return Machine("gpu", precision, memory, measure_rate(device, dtype, 4096), UTILISATION, name, True, network)


def measure_rate(device: Any, dtype: Any, width: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """FLOP/s of products of matrices [2 width, width] and [width, width]."""
    import torch

    a, b = (torch.randn(rows, width, dtype=dtype, device=device) for rows in (2 * width, width))
    a @ b
    began, done = clock(), 0
    while clock() - began < 0.5:
        (a @ b)[0, 0].item()  # which waits for a GPU
        done += 1
    return done * 4 * width**3 / (clock() - began)


def _say(tell: Teller, recipe: Recipe, facts: dict[str, Any], fit: Fit, machine: Machine) -> None:
    gib = {name: value / 2**30 for name, value in facts["need"].items()}
    load = fit.load
    shared = f", {load.alone / load.tokens:.2f}x fewer than its examples hold" if load.alone > load.tokens else ""
    tell.line("model", f"{recipe.model} · {_count(facts['parameters'])} parameters, {_count(facts['trained'])} trained")
    tell.line("data", f"{load.steps:,} steps of {load.tokens:,.0f} tokens to compute{shared}; rows of up to {fit.way.tokens:,} tokens")
    tell.line("memory", f"{gib['total']:.2f} GiB of {facts['memory'] / 2**30:.1f} GiB on {machine.name}, at the peak")
    for name, text in PARTS.items():
        tell.say(f"{gib[name]:9.2f} GiB  {text}")
    if fit.need.host:
        tell.say(f"{gib['host']:9.2f} GiB  optimizer states, in the machine's memory and not part of the sum")
    if fit.shards > 1:
        tell.say(f"of weights, gradients and states each GPU holds one of {fit.shards} parts (train.parallel: fsdp)")
    again = recomputed_layers(fit.shape, fit.way)
    mode = f"activations are recomputed in {again} of {fit.shape.layers} layers" if again else "nothing is recomputed"
    verdict = "fits" if fit.fits else "too large" if fit.hopeless else "tight"
    tell.line(verdict, f"{mode}; rows are filled to {fit.rows:,} tokens, and the largest that fits has {facts['largest_row']:,}")
    if not fit.fits:
        tell.say(f"what would help: {fit.advice}")
    low, high = facts["hours"]
    how = f"measured on {facts['measured_layers']} layers with random weights" if facts["measured_layers"] else "counted from its rate"
    how += ", beside other work: less on a quiet machine" if facts["busy"] else ""
    rest = f"start, held-out losses and checkpoints {_duration(sum(facts['beside_hours']) / 2)} of it"
    if max(facts["network"]) >= NOTICED:
        least, most = (100 * share for share in sorted(facts["network"]))
        rest += f", waiting for the network {least:.0f} to {most:.0f} % of a step"
    tell.line("time", f"{_duration(low)} to {_duration(high)}, {how}; {rest}; the evaluation at its end not counted")
    if facts["money"]:
        tell.line("money", f"{facts['money'][0]:,.2f} to {facts['money'][1]:,.2f}")


PARTS = {
    "weights": "weights, and their copies in bf16",
    "gradients": "gradients",
    "states": "optimizer states",
    "kept": "kept for the backward pass",
    "passing": "passing through one layer's backward pass",
    "head": "logits of a chunk, and the head's gradients",
    "loading": "weights in float32, before the first step (not at the same time)",
    "libraries": "Python and libraries",
}


def _count(number: float) -> str:
    return f"{number / 1e9:.2f}B" if number >= 1e9 else f"{number / 1e6:.1f}M"


def _duration(hours: float) -> str:
    return (
        f"{hours:,.1f} hours"
        if hours >= 1
        else f"{hours * 60:.0f} minutes"
        if hours * 60 >= 2
        else f"{hours * 3600:.{int(hours * 3600 < 10)}f} seconds"
    )
