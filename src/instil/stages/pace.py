"""How fast a run is on this machine: measured on a few layers with random weights, before any weight is loaded."""

import contextlib
import copy
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path as Folder
from typing import Any

import torch
from rich.console import Console
from safetensors.torch import save_file
from transformers.configuration_utils import PreTrainedConfig
from transformers.modeling_utils import PreTrainedModel
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from instil.batch.trie import Row, lay_out
from instil.core.errors import UserError
from instil.core.files import atomic_folder, hash_file
from instil.core.recipe import Recipe
from instil.core.values import Path
from instil.model.attention import tree_attention
from instil.model.probe import probe
from instil.plan.need import Way, flops_per_token, need
from instil.stages.build import adapt, lean, ready_blocks
from instil.stages.fit import ROOM, Fit
from instil.stages.say import Teller
from instil.train.heap import give_back_freed_memory, keep_freed_memory
from instil.train.memory import autocast_for
from instil.train.objectives import supervised
from instil.train.optimizer import make_optimizer

PASSES = (3, 60)
"""Times that each model is timed, after one that is not: at least, and at most while all of them have not taken `SECONDS`."""
SECONDS = 5.0
"""That one pass may take, about, and all of them together, if they are short: longer rows are measured on a part of their examples. A token
of a part costs less: 7 % in rows of 2,500 instead of 7,000 tokens, 25M with LoRA, beside other work."""
RUNNING = 0.75
"""Of the time that its threads could run: what a process gets that has the machine to itself."""
MOST = 5
"""Layers that are measured at most."""


@dataclass(frozen=True)
class Pace:
    """Seconds of the whole model: `token`, forward and backward of one in a row; `update`, clipping and the optimizer; `byte`, of one that
    a checkpoint writes and hashes, where that can be tried. `layers`: as many were measured. `busy`: other work kept this process waiting,
    so that a quiet machine is faster."""

    token: float
    update: float
    layers: int
    busy: bool = False
    byte: float | None = None

    def step(self, tokens: float) -> float:
        """Of a step of `tokens` tokens in rows of this kind."""
        return tokens * self.token + self.update


def measure_pace(
    recipe: Recipe,
    config: PreTrainedConfig,
    steps: Sequence[Sequence[Path]],
    fit: Fit,
    rate: float,
    clock: Callable[[], float] = time.perf_counter,
    taught: Sequence[int] = (),
) -> Pace | None:
    """`steps`: paths of some, each to fill a row; no two rows are alike in a run, and the same one again would be faster. `rate`: FLOP/s of
    this device. `clock`: seconds. `taught`: ids of tokens whose rows adapters train as well. None where a few layers do not fit in memory.

    A decoder's time is that of one layer with embeddings and head, and the same again for every further layer: so a model of one layer and
    one of several are timed in turn, in the run's own way, and a line is drawn through both.
    """
    shape, way = fit.shape, fit.way
    few = shape.layers if shape.layers <= 2 else 1
    smalls = [replace(shape, layers=layers) for layers in range(min(shape.layers, MOST), few, -1)] or [shape]
    fitting = (small for small in smalls if 2 * need(small, way).total < ROOM * fit.memory)  # both models are there at once
    if (small := next(fitting, None)) is None:
        return None
    many = small.layers
    (keep_freed_memory if fit.roomy else give_back_freed_memory)()
    most = int(SECONDS * rate / flops_per_token(small, way) / 2)
    rows = (_row(paths, way, most, recipe) for paths in islice(cycle(steps), 1 + PASSES[1]))
    timers = [_Timer(recipe, config, count, steps[0], way, clock, taught) for count in dict.fromkeys((few, many))]
    began = time.perf_counter(), time.process_time()
    for done, row in enumerate(rows):
        if done > PASSES[0] and time.perf_counter() - began[0] > SECONDS:
            break
        for timer in timers:
            timer.go(row)
    waited = time.process_time() - began[1] < RUNNING * torch.get_num_threads() * (time.perf_counter() - began[0])
    first, last = timers[0].seconds(), timers[-1].seconds()
    further = (shape.layers - few) / max(1, many - few)
    token_s, update_s = (a + further * max(0.0, b - a) for a, b in zip(first, last, strict=True))
    if way.recompute:  # of what was timed, all but the last layer were recomputed, which is a quarter of their time
        token_s -= (way.kept_layers - 1) * max(0.0, last[0] - first[0]) / max(1, many - few) / 4
    return Pace(token_s, update_s, many, waited and way.device == "cpu", byte_seconds(Folder(recipe.runs)))


def _row(paths: Sequence[Path], way: Way, most: int, recipe: Recipe) -> Row:
    """The row of the step that the average token is in; of one with more than `most` tokens a part."""
    tree = recipe.train.packing != "alone"
    rows = lay_out(paths, way.tokens, recipe.train.average, share=tree)
    lengths = [len(row.tokens_T) for row in rows]
    typical = sum(length**2 for length in lengths) / sum(lengths)
    row = min(rows, key=lambda row: abs(len(row.tokens_T) - typical))
    if not tree or len(row.tokens_T) <= most:
        return row
    inside = [paths[index] for index in row.paths]
    return lay_out(inside, max(most, *(len(path.tokens) for path in paths)), recipe.train.average)[0]


class _Timer:
    """A model of `layers` layers, trained as the run would train it."""

    def __init__(
        self,
        recipe: Recipe,
        config: PreTrainedConfig,
        layers: int,
        paths: Sequence[Path],
        way: Way,
        clock: Callable[[], float],
        taught: Sequence[int],
    ):
        self.device = torch.device("cuda", torch.cuda.current_device()) if way.device == "gpu" else torch.device("cpu")
        precision = torch.bfloat16 if way.precision == "bf16" else torch.float32
        self.autocast, self.knobs, self.clock = autocast_for(precision, self.device), recipe.train, clock
        base: PreTrainedModel = AutoModelForCausalLM.from_config(with_layers(config, layers), dtype=torch.float32)
        probe(base, [*paths, *paths][:2])  # as a run does: it learns here what the last layer may leave out
        self.model: Any = adapt(base, recipe, list(taught), precision, self.device)[0].to(self.device)
        ready_blocks(base, way.recompute, recipe, Teller(Console(), quiet=True))
        self.tree = recipe.train.packing != "alone"
        self.objective = supervised(self.tree, way.tokens)
        self.optimizer = make_optimizer(self.model, recipe.train, recipe.learning_rate)
        self.found: list[tuple[float, int, float]] = []

    def go(self, row: Row) -> None:
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        with tree_attention(self.model) if self.tree else contextlib.nullcontext(), lean(self.model, self.knobs.compile == "on"):
            began = self._now()
            with self.autocast():
                loss = self.objective(self.model, row)
            loss.total.backward()
            done = self._now()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.knobs.clip or float("inf"))
        self.optimizer.step()
        self.found.append((done - began, len(row.tokens_T), self._now() - done))

    def seconds(self) -> tuple[float, float]:
        """Means, as a run is a sum: of a token, of an update. The first time does not count, nor the first third: a processor that has
        rested is faster for a second or two than it is in a run, by a third on the machine where this was seen."""
        passes, tokens, updates = zip(*self.found[max(1, len(self.found) // 3) :], strict=True)
        return sum(passes) / sum(tokens), statistics.fmean(updates)

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return self.clock()


def byte_seconds(runs: Folder, size: int = 2**26) -> float | None:
    """Of a byte that a checkpoint writes and hashes, on the disk that `runs` will lie on, tried with `size` bytes. None where nothing can
    be written there."""
    place = next(folder for folder in (runs.absolute(), *runs.absolute().parents) if folder.is_dir())
    tensor = torch.rand(size // 4)
    with contextlib.suppress(OSError, UserError), tempfile.TemporaryDirectory(dir=place) as folder:
        began = time.perf_counter()  # by the wall: a disk is waited for
        with atomic_folder(Folder(folder) / "try") as temporary:
            save_file({"try": tensor}, temporary / "try")
            hash_file(temporary / "try")
        return (time.perf_counter() - began) / size
    return None


def with_layers(config: PreTrainedConfig, count: int) -> PreTrainedConfig:
    """The same model with its first `count` layers."""
    found = copy.deepcopy(config)
    text = found.get_text_config()
    text.num_hidden_layers = count
    if getattr(text, "layer_types", None):
        text.layer_types = list(text.layer_types)[:count]
    return found
