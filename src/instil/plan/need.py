"""Memory of a training run, part by part. Sizes are counted: which tensors a decoder layer keeps for its backward pass, in which precision.

Letters in comments: h hidden width, w feed-forward width, q width of all queries, k of all keys.
"""

from dataclasses import dataclass
from typing import Literal

from instil.plan.shape import Shape

Device = Literal["cpu", "gpu"]
Precision = Literal["bf16", "fp32"]

GROUPED = 512
"""Up to this length a CPU attends in groups and keeps the weights of attention (`model/groups.py`)."""
LOGITS = {"cpu": 2**24, "gpu": 2**27}
LIBRARIES = {"cpu": 435 * 2**20, "gpu": 600 * 2**20}
"""What a process holds before it has a model: on a CPU Python with torch, transformers and peft (measured), on a GPU the CUDA context."""
NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes per weight: four bits, one byte of scale per 64 weights, one float32 per 256 scales."""
EIGHT_BITS = 2 * (1 + 4 / 256)
"""Bytes per trained weight of both optimizer states: a byte each, and one float32 of scale per 256."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a run trains. `tokens`: of a row; `example`: of a typical example; `predicted`: share of a row's tokens that predict. `weights`,
    `optimizer`, `offload`: as in the recipe's section `train`. `kept_layers`: the last ones, whose activations are kept where those of the
    others are recomputed."""

    method: Literal["full", "lora", "qlora"] = "full"
    rank: int = 16
    precision: Precision = "bf16"
    weights: Literal["fp32", "bf16"] = "fp32"
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    offload: Literal["none", "states"] = "none"
    recompute: bool = False
    kept_layers: int = 1
    tokens: int = 8192
    example: int = 256
    predicted: float = 0.5
    device: Device = "cpu"

    @property
    def lean(self) -> bool:
        """Whether anything is held smaller or elsewhere than plain AdamW holds it: such weights are not divided among ranks."""
        return (self.weights, self.optimizer, self.offload) != ("fp32", "adamw", "none")


@dataclass(frozen=True, kw_only=True)
class Need:
    """Bytes. `weights` with their copies in bf16, `states` of the optimizer, `kept` for the backward pass, `passing` while one layer's
    backward pass runs, `head`: logits of a chunk and the gradient that flows back from them. `loading`: weights before the first step, in
    float32 until those that stay frozen are rounded. `host`: states in the machine's memory instead, not part of the total."""

    weights: float
    gradients: float
    states: float
    kept: float
    passing: float
    head: float
    libraries: float
    host: float = 0.0
    loading: float = 0.0

    @property
    def total(self) -> float:
        step = self.weights + self.gradients + self.states + self.kept + self.passing + self.head
        return self.libraries + max(step, self.loading)


def need(shape: Shape, way: Way, shards: int = 1) -> Need:
    """At the peak of a step. `shards`: over how many devices weights, gradients and states are divided, unless the way is lean; the rest is
    each device's own."""
    shards = 1 if way.lean else shards
    trained = shape.parameters if way.method == "full" else shape.lora(way.rank)
    layer = kept_per_token(shape, way)
    vector = 2 if way.weights == "bf16" else 4  # bytes of what passes from layer to layer
    again = recomputed_layers(shape, way)
    kept = again * vector * shape.hidden + (shape.layers - again) * layer
    positions = int(way.tokens * way.predicted)
    chunk = min(positions, max(256, LOGITS[way.device] // shape.vocabulary))
    states = (EIGHT_BITS if way.optimizer == "adamw_8bit" else 8) * trained / shards
    return Need(
        weights=weights(shape, way, trained) / shards + (gathered(shape, way) if shards > 1 else 0),
        gradients=vector * trained / shards,
        states=0.0 if way.offload == "states" else states,
        kept=way.tokens * kept,
        passing=way.tokens * layer,
        # logits and their gradient, both in bf16 under autocast, and float32 in between; the head's own gradient, until it is added up
        head=chunk * shape.vocabulary * (6 if way.precision == "bf16" else 8)
        + positions * shape.hidden * 2 * vector
        + (6 * shape.embedding if way.method == "full" else 0),
        libraries=LIBRARIES[way.device],
        host=states if way.offload == "states" else 0.0,
        loading=4 * shape.parameters if way.device == "cpu" else 0,  # what a GPU gets is rounded before it is moved there
    )


def weights(shape: Shape, way: Way, trained: int) -> float:
    """Trained weights are bf16, or float32 with autocast's bf16 copies of the matrices; frozen linear layers are kept as they are
    multiplied."""
    if way.weights == "bf16":
        return 2 * shape.parameters
    matrices = shape.linear + shape.embedding * (1 if shape.tied else 2)
    rounded = way.precision == "bf16"
    if way.method == "full":
        return 4 * shape.parameters + (2 * matrices if rounded else 0)
    linear = NF4 if way.method == "qlora" else 2 if rounded else 4
    rest = shape.parameters - shape.linear
    return linear * shape.linear + 4 * rest + (4 + 2 * rounded) * trained + (2 * shape.embedding if rounded else 0)


def recomputed_layers(shape: Shape, way: Way) -> int:
    """How many layers are computed a second time in the backward pass, instead of kept: the first ones. The last ones' turn comes before,
    and what they kept is gone when the first is computed again, so that nothing comes on top."""
    return max(0, shape.layers - max(1, way.kept_layers)) if way.recompute else 0


def gathered(shape: Shape, way: Way) -> float:
    """Of weights that are divided: two blocks and the outer ones, which are whole while they compute."""
    size = 2 if way.precision == "bf16" else 4
    return size * (2 * shape.linear / shape.layers + shape.embedding * (1 if shape.tied else 2))


def kept_per_token(shape: Shape, way: Way) -> float:
    """Bytes that one layer keeps per token, by what it computes on this device."""
    h, w = shape.hidden, shape.wide
    divided = 8 * h if way.method == "full" else 0  # what norms divided: for the gradient of their weights
    if way.precision == "fp32":
        attention = _attention(shape, way, 4)
        return 16 * h + divided + attention + 16 * w + _adapters(way)  # two sums, two norms; gate, up, silu, product
    attention = _attention(shape, way, 2)
    if way.weights == "bf16":  # of each norm its input and what it divided, and once more rounded, as the linear layers share it
        return 16 * h + attention + 8 * w
    if way.device == "cpu":
        return 8 * h + 4 * h + attention + 8 * w + _adapters(way)  # two sums in float32, two norms in one piece
    # on a GPU norms are as transformers writes them, and autocast rounds their output once per linear layer
    return 8 * h + divided + 10 * h + attention + 8 * w + _adapters(way)


def _attention(shape: Shape, way: Way, size: int) -> float:
    """Queries, keys, values, the output behind attention and in front of the projection, and on a CPU the weights of short examples."""
    q, k = shape.queries, shape.keys
    grouped = way.device == "cpu" and way.example <= GROUPED
    return size * (q + 2 * k + q + (shape.heads * way.example if grouped else q))


def _adapters(way: Way) -> float:
    """Seven small products; their inputs are the linear layers' own (`model/lora.py`)."""
    return 0 if way.method == "full" else 14 * way.rank


def flops_per_token(shape: Shape, way: Way) -> float:
    """Of one trained token, forward and backward: two per weight forward, two for the gradient of what comes in, two for the weight's own
    where it is trained; the same forward again where it is recomputed. Attention over half the example on average."""
    passes = 6 if way.method == "full" else 4
    again = recomputed_layers(shape, way) / shape.layers
    attention = 2 * shape.layers * shape.queries * way.example * (3 + again)
    return (passes + 2 * again) * shape.linear + passes * shape.embedding * way.predicted + attention
