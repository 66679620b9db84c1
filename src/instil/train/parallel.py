"""Whether the ranks of a run divide weights among them."""

import torch
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from instil.core.recipe import Recipe
from instil.model.load import load_config
from instil.plan import shards
from instil.train.distributed import World
from instil.train.memory import free_memory


def choose_shards(recipe: Recipe, world: World, device: torch.device) -> int:
    """As `plan.shards` chooses, by what is free on this rank's GPU: over how many of the ranks; 0: each has weights whole. Only config.json
    is read."""

    def free() -> int | None:  # ranks on a CPU are processes of the same memory
        return None if device.type == "cpu" else free_memory(device)

    def parameters() -> int:
        config = load_config(recipe.model, trust_remote_code=recipe.trust_remote_code)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=recipe.trust_remote_code)
        return sum(p.numel() for p in model.parameters())

    return shards.choose_shards(recipe, world.size, free, parameters)
