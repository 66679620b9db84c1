"""Whether ranks divide weights among them."""

import torch
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from instil.core.errors import UserError
from instil.core.recipe import Recipe
from instil.model.load import load_config
from instil.train.distributed import World
from instil.train.memory import free_memory
from instil.train.optimizer import is_lean

ROOM = 0.6
"""Of a GPU's free memory: what weights, gradients and optimizer states may take before they are divided. The rest is for a row."""
BYTES = {"full": 18, "lora": 4.5, "qlora": 1.2}
"""Per parameter. full: float32 weight, gradient and two moments, and a rounded copy; adapters: a rounded weight, now and then a float32
one, and little beside it."""


def choose_shards(recipe: Recipe, world: World, device: torch.device) -> int:
    """Over how many of the ranks weights are divided; 0: each has them whole. Only config.json is read.

    Raises UserError where `train.shard_ranks` does not fit the number of ranks, or the method cannot be divided.
    """
    knobs = recipe.train
    if knobs.shard_ranks is not None and knobs.parallel == "data":
        raise UserError("train.shard_ranks is for train.parallel: fsdp, and the recipe says data: leave one of them out")
    if world.size == 1 or knobs.parallel == "data":
        return 0
    if knobs.parallel == "auto" and (recipe.method == "qlora" or is_lean(knobs) or _fits_one(recipe, device)):
        return 0
    if is_lean(knobs):
        raise UserError(
            "weights that are divided among ranks are updated by plain AdamW: set train.parallel: data, or leave out train.optimizer, "
            "train.weights and train.offload"
        )
    if recipe.method == "qlora":
        raise UserError("weights in four bits cannot be divided among ranks: set train.parallel: data, or method: lora")
    shards = knobs.shard_ranks or world.size
    if world.size % shards:
        raise UserError(f"train.shard_ranks: {shards} does not divide the {world.size} ranks: choose a divisor of {world.size}")
    return shards if shards > 1 else 0


def _fits_one(recipe: Recipe, device: torch.device) -> bool:
    free = free_memory(device)
    if device.type == "cpu" or free is None:  # ranks on a CPU are processes of the same memory
        return True
    config = load_config(recipe.model, trust_remote_code=recipe.trust_remote_code)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=recipe.trust_remote_code)
    return BYTES[recipe.method] * sum(p.numel() for p in model.parameters()) <= ROOM * free
