"""The ladder of ways to train, and the table that docs make of it."""

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from instil.core.loading import check_recipe
from instil.plan.need import Way, need
from instil.plan.shape import Shape
from instil.plan.ways import LADDER, ways_that_fit, what_changes

SHAPE = Shape(hidden=2048, wide=8192, layers=16, heads=32, groups=8, width=64, vocabulary=128256, tied=True)
WAY = Way(device="gpu", tokens=2048)
GIB = 2**30


def test_only_what_fits_and_recomputed_only_where_needed() -> None:
    for memory in (1, 4, 6, 8, 12, 24, 100):
        found = {what_changes(WAY, way): way for way in ways_that_fit(SHAPE, WAY, memory * GIB)}
        for rung in LADDER:
            kept, again = (replace(WAY, **rung, recompute=recompute) for recompute in (False, True))
            fits = [need(SHAPE, way).total <= memory * GIB for way in (kept, again)]
            assert found.get(what_changes(WAY, kept)) == (kept if fits[0] else again if fits[1] else None)


def test_each_rung_is_a_recipe() -> None:
    for way in ways_that_fit(SHAPE, WAY, 1000 * GIB):
        values: dict[str, Any] = {"model": "m", "data": ["a.jsonl"], "train": {}}
        for knob in filter(None, what_changes(WAY, way).split(" with ")):
            name, value = knob.split(": ")
            (values["train"] if name.startswith("train.") else values)[name.removeprefix("train.")] = value
        recipe = check_recipe(values)
        assert (recipe.method, recipe.train.weights, recipe.train.optimizer, recipe.train.offload) == (
            way.method, way.weights, way.optimizer, way.offload,
        )  # fmt: skip


def test_what_changes() -> None:
    small = replace(WAY, weights="bf16", optimizer="adamw_8bit")
    assert what_changes(WAY, small) == "train.weights: bf16 with train.optimizer: adamw_8bit"
    assert what_changes(small, replace(WAY, method="lora")) == "method: lora with train.weights: fp32 with train.optimizer: adamw"
    assert what_changes(WAY, replace(WAY, recompute=True)) == ""


def test_what_a_machine_cannot_do_is_not_offered() -> None:
    assert not any(way.offload == "states" for way in ways_that_fit(SHAPE, replace(WAY, device="cpu"), 1000 * GIB))
    assert not any(way.weights == "bf16" for way in ways_that_fit(SHAPE, replace(WAY, precision="fp32"), 1000 * GIB))


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("fits", Path(__file__).parents[2] / "scripts/fits.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_current(script: Any) -> None:
    text = script.PAGE.read_text(encoding="utf-8")
    assert text.count(script.BEGIN) == text.count(script.END) == 1
    assert script.page(text) == text, "docs/plan.md is out of date: run scripts/fits.py"


def test_sizes_are_the_published_ones(script: Any) -> None:
    """Parameters as the models' cards state them."""
    stated = {"Qwen3-0.6B": 0.596, "Llama-3.2-1B": 1.236, "Qwen3-1.7B": 1.721, "Llama-3.2-3B": 3.213, "Qwen3-4B": 4.022}
    stated |= {"Llama-3.1-8B": 8.03}
    assert {name: shape.parameters / 1e9 for name, shape in script.SHAPES.items()} == pytest.approx(stated, abs=1e-3)
