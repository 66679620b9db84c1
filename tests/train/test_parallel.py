"""Who divides weights, and who is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch

from instil.core.errors import UserError
from instil.core.recipe import Recipe
from instil.model.load import load_model
from instil.plan.shards import BYTES, ROOM
from instil.train import parallel
from instil.train.distributed import World
from instil.train.parallel import choose_shards
from tests.fakes import write_model

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def recipe(tmp_path: Path, method: str = "full", **train: Any) -> Recipe:
    return Recipe.model_validate({"model": str(write_model(tmp_path / "model")), "data": ["x.jsonl"], "method": method, "train": train})


def test_one_process_divides_nothing(tmp_path: Path) -> None:
    assert choose_shards(recipe(tmp_path, parallel="fsdp"), World(), CPU) == 0


def test_as_the_recipe_says(tmp_path: Path) -> None:
    world = World(0, 4)
    assert choose_shards(recipe(tmp_path), world, CPU) == 0, "ranks on a CPU share its memory"
    assert choose_shards(recipe(tmp_path, parallel="data"), world, CPU) == 0
    assert choose_shards(recipe(tmp_path, parallel="fsdp"), world, CPU) == 4
    assert choose_shards(recipe(tmp_path, parallel="fsdp", shard_ranks=2), world, CPU) == 2
    assert choose_shards(recipe(tmp_path, parallel="fsdp", shard_ranks=1), world, CPU) == 0


@pytest.mark.parametrize("method", ["full", "lora"])
def test_by_the_room_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """The model is counted, not loaded."""
    asked = recipe(tmp_path, method)
    parameters = sum(p.numel() for p in load_model(asked.model).parameters())
    enough = int(BYTES[method] * parameters / ROOM) + 1
    for free, shards in ((enough, 0), (enough - 2, 4)):
        monkeypatch.setattr(parallel, "free_memory", lambda device, free=free: free)
        assert choose_shards(asked, World(0, 4), CUDA) == shards


def test_refused(tmp_path: Path) -> None:
    world = World(0, 4)
    with pytest.raises(UserError, match=r"^train.shard_ranks: 3 does not divide the 4 ranks: choose a divisor of 4$"):
        choose_shards(recipe(tmp_path, parallel="fsdp", shard_ranks=3), world, CPU)
    with pytest.raises(UserError, match=r"the recipe says data: leave one of them out$"):
        choose_shards(recipe(tmp_path, parallel="data", shard_ranks=2), world, CPU)
    with pytest.raises(UserError, match=r"^weights in four bits cannot be divided among ranks: set train.parallel: data, or method: lora$"):
        choose_shards(recipe(tmp_path, "qlora", parallel="fsdp"), world, CPU)
    assert choose_shards(recipe(tmp_path, "qlora"), world, CPU) == 0
    small = {"weights": "bf16"}
    with pytest.raises(UserError, match=r"^weights that are divided among ranks are updated by plain AdamW: set train.parallel: data, or "):
        choose_shards(recipe(tmp_path, parallel="fsdp", **small), world, CPU)
    assert choose_shards(recipe(tmp_path, **small), world, CUDA) == 0
