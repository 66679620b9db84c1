"""One rule for who divides weights; `tests/train/test_parallel.py` has it on real models."""

from typing import Any

import pytest

from instil.core.errors import UserError
from instil.core.recipe import Recipe
from instil.plan.shards import BYTES, ROOM, choose_shards


def recipe(method: str = "full", **train: Any) -> Recipe:
    return Recipe.model_validate({"model": "m", "data": "d", "method": method, "train": train})


def never() -> int:
    raise AssertionError("nothing that costs time is asked for where the recipe decides")


@pytest.mark.parametrize("asked", [{"parallel": "data"}, {"weights": "bf16"}, {"method": "qlora"}])
def test_the_recipe_decides(asked: dict[str, Any]) -> None:
    assert choose_shards(recipe(**asked), 4, never, never) == 0
    assert choose_shards(recipe(parallel="fsdp"), 1, never, never) == 0
    assert choose_shards(recipe(parallel="fsdp"), 4, never, never) == 4


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_room_decides(method: str) -> None:
    enough = 1000 * BYTES[method] / ROOM
    for free, shards in ((None, 0), (enough + 1, 0), (enough - 1, 4)):
        assert choose_shards(recipe(method), 4, lambda free=free: free, lambda: 1000) == shards  # type: ignore[misc]


def test_what_cannot_be_divided() -> None:
    with pytest.raises(UserError, match=r"updated by plain AdamW"):
        choose_shards(recipe(parallel="fsdp", optimizer="adamw_8bit"), 4, never, never)
