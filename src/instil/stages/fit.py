"""Whether a run fits, in rows of which size, and recomputing what: decided before any weight is loaded, by `instil plan` and `instil train`
alike. No torch."""

import bisect
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from instil.batch.share import deal, lay_out_shared
from instil.core.errors import UserError
from instil.core.recipe import Recipe
from instil.model.resolve import folder_of
from instil.plan.need import Device, Need, Precision, Way, need
from instil.plan.shape import Shape, read_shape
from instil.plan.ways import ways_that_fit, what_changes
from instil.stages.prepare import Data

SAMPLED = 8, 512
"""Steps that are laid out, and examples in them, to know how much is shared and how large rows become: at least so many, spread over the
run."""
ROOM, TOO_MUCH = 0.87, 1.13
"""Of the memory there is: what may be planned for, and what surely does not fit. Predictions have been up to 13 % off (docs/plan.md); in
between a run is tried, for a refusal that is wrong is worse than none."""
LEAST, BLOCKS = 256, 2**17
"""Tokens of the smallest rows that are advised; blocks of 128 tokens of the largest that are thought of."""


@dataclass(frozen=True)
class Load:
    """What a run computes. `alone`: tokens of a step's examples one by one; `tokens`: as laid out; `row`: the largest row of a step. Of
    several ranks the one with most tokens computes `uneven` times an equal share, in `passes` rows."""

    steps: int
    alone: float
    tokens: float
    row: int
    example: int
    predicted: float
    uneven: float = 1.0
    passes: float = 1.0


@dataclass(frozen=True)
class Fit:
    """How a run goes where it has `memory` bytes: `rows`, its tokens per row at most; `way`, with the tokens that rows really have."""

    shape: Shape
    load: Load
    way: Way
    rows: int
    memory: float
    shards: int = 1

    @property
    def need(self) -> Need:
        return need(self.shape, self.way, self.shards)

    @property
    def fits(self) -> bool:
        return self.need.total <= ROOM * self.memory

    @property
    def hopeless(self) -> bool:
        return self.need.total > TOO_MUCH * self.memory

    @property
    def refused(self) -> bool:
        """By `instil train`: as `hopeless`, and on GPUs, where this count has never been measured, for what is certain in it alone."""
        certain = self.need.weights + self.need.gradients + self.need.states
        return self.hopeless if self.way.device == "cpu" else certain > TOO_MUCH * self.memory

    @property
    def roomy(self) -> bool:
        """Whether freed memory may stay with the process (`train.heap`): it is kept in pieces, and a process then holds up to twice what it
        needs beside its weights."""
        return self.way.device == "gpu" or 2 * self.need.total - self.need.weights < self.memory

    @property
    def largest_row(self) -> int:
        """Tokens, a multiple of 128; 0 where not even weights and states fit."""
        return 128 * max(0, bisect.bisect_left(range(BLOCKS), True, key=self._exceeded) - 1)

    def _exceeded(self, blocks: int) -> bool:
        return not replace(self, way=replace(self.way, tokens=128 * blocks)).fits

    @property
    def gib(self) -> str:
        return f"about {_gib(self.need.total)} GiB of memory, and there are {_gib(self.memory)}"

    @property
    def advice(self) -> str:
        """What would help."""
        row = self.largest_row
        found = [f"train.max_tokens: {row} (and a max_length within it)"] if LEAST <= row < self.way.tokens else []
        smaller = {"full": "method: lora", "lora": "method: qlora"}  # though it is not enough
        found += self.others[:3] or [smaller[method] for method in (self.way.method,) if method in smaller]
        found += [] if self.way.recompute else ["train.checkpointing: on"]
        return ", or ".join(found or ["a smaller model, or a larger device"])

    @property
    def others(self) -> list[str]:
        """Other methods, and smaller weights and states, that would fit; as a recipe says them."""
        ways = ways_that_fit(self.shape, self.way, ROOM * self.memory, self.shards)
        return [changes for way in ways if (changes := what_changes(self.way, way))]


def _gib(size: float) -> str:
    return f"{size / 2**30:.2f}" if size < 10 * 2**30 else f"{size / 2**30:.1f}"


def measure_load(data: Data, ranks: int = 1) -> Load:
    """From steps spread over the run, laid out as they will be."""
    knobs, steps = data.recipe.train, data.num_steps()
    count = min(steps, max(SAMPLED[0], SAMPLED[1] // knobs.batch))
    sampled = [number * steps // count for number in range(count)]
    paths = [data.paths_at(step) for step in sampled]
    rows = [lay_out_shared(step, data.max_tokens, ranks, knobs.average, share=knobs.packing != "alone") for step in paths]
    flat, laid = [path for step in paths for path in step], [row for step in rows for row in step]
    alone, tokens = sum(len(path.tokens) for path in flat), sum(len(row.tokens_T) for row in laid)
    predicted = sum(len(set(row.predicts_S.tolist())) for row in laid)
    largest = max(len(row.tokens_T) for row in laid)
    hands = [[[len(step[index].tokens_T) for index in hand] for hand in deal(step, ranks)] for step in rows]
    return Load(
        steps,
        alone / len(sampled),
        tokens / len(sampled),
        largest,
        round(alone / len(flat)),
        predicted / tokens,
        uneven=ranks * sum(max(map(sum, step)) for step in hands) / tokens,
        passes=sum(max(map(len, step)) for step in hands) / len(sampled),
    )


def choose(
    data: Data,
    load: Load,
    shape: Shape,
    memory: float,
    *,
    device: Device,
    precision: Precision,
    shards: int = 1,
) -> Fit:
    """As the recipe says. What it leaves open: the largest rows that fit; activations recomputed where nothing else does.

    Smaller rows come first, for they cost next to nothing (2,048 to 16,384 tokens: benchmarks/LOG.md), and recomputing a third of a step.
    """
    recipe = data.recipe
    sizes = [recipe.train.max_tokens] if recipe.train.max_tokens else row_sizes(data.max_tokens, data.rules.max_length)
    way = Way(
        method=recipe.method,
        rank=recipe.lora.rank,
        precision=precision,
        weights=recipe.train.weights,
        optimizer=recipe.train.optimizer,
        offload=recipe.train.offload,
        tokens=load.row,
        example=load.example,
        predicted=load.predicted,
        device=device,
    )
    for recompute in {"auto": (False, True), "on": (True,), "off": (False,)}[recipe.train.checkpointing]:
        full = [Fit(shape, load, replace(way, tokens=size, recompute=recompute), size, memory, shards) for size in sizes]
        rows = next((fit.rows for fit in full if fit.fits), sizes[-1])
        found = Fit(shape, load, replace(way, tokens=min(rows, load.row), recompute=recompute), rows, memory, shards)
        if found.fits:
            return _keeping_more(found) if recompute and recipe.train.checkpointing == "auto" else found
    return found


def _keeping_more(fit: Fit) -> Fit:
    """The same with as few layers recomputed as memory demands."""
    counts = range(fit.shape.layers - 1, 1, -1)
    tried = (replace(fit, way=replace(fit.way, kept_layers=count)) for count in counts)
    return next((found for found in tried if found.fits), fit)


def row_sizes(largest: int, least: int) -> Sequence[int]:
    """`largest`, halved again and again down to `least`: the same for a little more memory or a little less."""
    sizes = [largest]
    while sizes[-1] // 2 >= least:
        sizes.append(sizes[-1] // 2)
    return [*sizes, least] if least < sizes[-1] else sizes


def fit_data(data: Data, shape: Shape, memory: float, *, device: Device, precision: Precision, shards: int = 1, ranks: int = 1) -> Fit:
    """`choose` for this data, laid out in the rows that were chosen: a resumed run, which is told them, then decides the same."""
    found = choose(data, measure_load(data, ranks), shape, memory, device=device, precision=precision, shards=shards)
    if found.rows == data.max_tokens:
        return found
    narrower = settled(data, found)
    return choose(narrower, measure_load(narrower, ranks), shape, memory, device=device, precision=precision, shards=shards)


def fit_run(data: Data, memory: float | None, device: Device, precision: Precision, shards: int = 1, ranks: int = 1) -> Fit | None:
    """`fit_data` for `instil train`; None where the architecture's parts are not counted, or nobody says what memory there is."""
    try:
        shape = read_shape(config_of(data.recipe))
    except (UserError, KeyError, TypeError):
        return None
    return None if memory is None else fit_data(data, shape, memory, device=device, precision=precision, shards=shards, ranks=ranks)


def settled(data: Data, fit: Fit | None) -> Data:
    """The data of a recipe that says how long rows are."""
    train = data.recipe.train.model_copy(update={"max_tokens": fit.rows if fit else data.max_tokens})
    return replace(data, recipe=data.recipe.model_copy(update={"train": train}))


def check_fit(fit: Fit) -> None:
    """Raises UserError where a run surely needs more memory than there is."""
    if fit.refused:
        raise UserError(
            f"the run needs {fit.gib}: try {fit.advice}; or set train.memory, if it may take more (`instil plan` shows each part)"
        )


def config_of(recipe: Recipe) -> dict[str, Any]:
    path = folder_of(recipe.model) / "config.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}): give a model folder in Hugging Face's layout, or a hub id") from None
    return found
