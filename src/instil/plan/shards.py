"""Over how many ranks weights, gradients and optimizer states are divided: by one rule, in `instil plan` and in `instil train`."""

from collections.abc import Callable

from instil.core.errors import UserError
from instil.core.recipe import Recipe, Train

ROOM = 0.6
"""Of a GPU's free memory: what weights, gradients and optimizer states may take before they are divided. The rest is for a row."""
BYTES = {"full": 18, "lora": 4.5, "qlora": 1.2}
"""Per parameter. full: float32 weight, gradient and two moments, and a rounded copy; adapters: a rounded weight, now and then a float32
one, and little beside it."""

NOT_LEAN = (
    "weights that are divided among ranks are updated by plain AdamW: set train.parallel: data, or leave out train.optimizer, "
    "train.weights and train.offload"
)
NOT_FOUR_BITS = "weights in four bits cannot be divided among ranks: set train.parallel: data, or method: lora"


def choose_shards(recipe: Recipe, ranks: int, free: Callable[[], float | None], parameters: Callable[[], int]) -> int:
    """Over how many of the ranks weights are divided; 0: each has them whole. Asked for only where nothing else decides: `free` bytes of a
    rank's own GPU, None where it has none, and the model's `parameters`.

    Raises UserError where `train.shard_ranks` does not fit the number of ranks, or the method cannot be divided.
    """
    knobs = recipe.train
    if knobs.shard_ranks is not None and knobs.parallel == "data":
        raise UserError("train.shard_ranks is for train.parallel: fsdp, and the recipe says data: leave one of them out")
    if ranks == 1 or knobs.parallel == "data":
        return 0
    if knobs.parallel == "auto" and (recipe.method == "qlora" or is_lean(knobs) or _fits_one(recipe, free(), parameters)):
        return 0
    if is_lean(knobs):
        raise UserError(NOT_LEAN)
    if recipe.method == "qlora":
        raise UserError(NOT_FOUR_BITS)
    shards = knobs.shard_ranks or ranks
    if ranks % shards:
        raise UserError(f"train.shard_ranks: {shards} does not divide the {ranks} ranks: choose a divisor of {ranks}")
    return shards if shards > 1 else 0


def is_lean(train: Train) -> bool:
    """Whether anything is held smaller or elsewhere than plain AdamW holds it."""
    return (train.optimizer, train.weights, train.offload) != ("adamw", "fp32", "none")


def _fits_one(recipe: Recipe, free: float | None, parameters: Callable[[], int]) -> bool:
    return free is None or BYTES[recipe.method] * parameters() <= ROOM * free
