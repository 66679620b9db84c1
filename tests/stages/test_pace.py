"""The time of a step, from a few layers: against the step itself."""

import statistics
import time
from dataclasses import replace
from pathlib import Path as Folder
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig

from instil.batch.trie import lay_out
from instil.core.recipe import Recipe
from instil.core.values import Path
from instil.model.attention import tree_attention
from instil.model.lora import lean_lora
from instil.model.norms import lean_norms
from instil.model.rotary import lean_rotary
from instil.plan.need import Way
from instil.plan.shape import read_shape
from instil.stages import pace
from instil.stages.build import adapt
from instil.stages.fit import Fit, Load
from instil.stages.pace import PASSES, Pace, _row, measure_pace, with_layers
from instil.train.objectives import supervised

CONFIG = LlamaConfig(
    vocab_size=500, hidden_size=64, intermediate_size=128, num_hidden_layers=24, num_attention_heads=4, num_key_value_heads=2
)
LENGTH = 64


def paths(count: int, length: int = LENGTH) -> list[Path]:
    random = np.random.default_rng(0)
    return [Path(random.integers(3, 500, length).astype(np.uint32), length // 2) for _ in range(count)]


def recipe(**knobs: Any) -> Recipe:
    method, lora = knobs.pop("method", "full"), knobs.pop("lora", {})
    return Recipe.model_validate({"model": "m", "data": "d", "method": method, "lora": lora, "train": {"precision": "fp32", **knobs}})


def fit_of(config: LlamaConfig, tokens: int = 1024, memory: float = 1e12, **way: Any) -> Fit:
    load = Load(1, tokens, tokens, tokens, LENGTH, 0.5)
    return Fit(read_shape(config.to_dict()), load, Way(tokens=tokens, example=LENGTH, precision="fp32", **way), tokens, memory)


@pytest.mark.parametrize("way", [{}, {"recompute": True}, {"method": "lora", "rank": 4}])
def test_a_few_layers_tell_of_many(way: dict[str, Any]) -> None:
    """24 layers from five: within a half, in this processor's time, whatever else it does. Without further layers it would be a fifth."""
    asked = recipe(method=way.get("method", "full"), lora={"rank": 4})
    found = measure_pace(asked, CONFIG, [paths(16)], fit_of(CONFIG, **way), 1e12, time.process_time)
    whole = measure_pace(asked, with_layers(CONFIG, 2), [paths(16)], fit_of(with_layers(CONFIG, 2), **way), 1e12, time.process_time)
    assert found is not None and whole is not None
    assert found.layers == 5 and whole.layers == 2
    assert found.token > 3 * whole.token
    assert 1024 * found.token == pytest.approx(_whole_seconds(asked, CONFIG, way), rel=0.5)


def _whole_seconds(asked: Recipe, config: LlamaConfig, way: dict[str, Any]) -> float:
    """Of a row through all layers, plainly timed."""
    base = AutoModelForCausalLM.from_config(config)
    model = adapt(base, asked, [], torch.float32, torch.device("cpu"))[0].train()
    if way.get("recompute"):
        base.gradient_checkpointing_enable({"use_reentrant": False})
    (row,), seconds = lay_out(paths(16), 1024), []
    with tree_attention(model), lean_norms(model), lean_rotary(model), lean_lora(model):
        for _ in range(5):
            began = time.process_time()
            supervised(True)(model, row).total.backward()
            seconds.append(time.process_time() - began)
            model.zero_grad(set_to_none=True)
    return statistics.median(seconds[1:])


def test_a_step_is_its_rows_and_an_update() -> None:
    found = Pace(token=0.002, update=0.5, layers=3)
    assert found.step(1000) == 2.5 and found.step(4000) == 8.5


def test_other_work_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ran for half of the time that it could."""
    small = with_layers(CONFIG, 1)
    for share, busy in ((0.5, True), (1.0, False)):
        monkeypatch.setattr(time, "process_time", lambda share=share: share * torch.get_num_threads() * time.perf_counter())
        found = measure_pace(recipe(), small, [paths(2)], fit_of(small, tokens=128), 1e12)
        assert found is not None and found.busy is busy


def test_a_disk_is_tried_and_left_as_it_was(tmp_path: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the run will lie, though that is not there yet; nothing is left, and a folder that cannot be written is no reason to stop."""
    seen = []
    kept = pace.hash_file
    monkeypatch.setattr(pace, "hash_file", lambda path: seen.append(path.stat().st_size) or kept(path))
    found = pace.byte_seconds(tmp_path / "runs" / "mine", size=2**20)
    assert found is not None and 0 < found < 1e-3 and seen[0] == pytest.approx(2**20, rel=0.01)
    assert not any(tmp_path.iterdir())
    monkeypatch.setattr(pace, "save_file", fails)
    assert pace.byte_seconds(tmp_path) is None and not any(tmp_path.iterdir())


def fails(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def test_short_rows_are_timed_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to a number, within the time that there is for it."""
    small, timed = with_layers(CONFIG, 1), []
    go = pace._Timer.go
    monkeypatch.setattr(pace._Timer, "go", lambda self, row: timed.append(row) or go(self, row))
    for seconds, passes in ((0.0, PASSES[0]), (1e9, PASSES[1])):
        timed.clear()
        monkeypatch.setattr(pace, "SECONDS", seconds)
        measure_pace(recipe(), small, [paths(2)], fit_of(small, tokens=128), 1e12)
        assert len(timed) == 1 + passes


def test_where_even_a_few_layers_do_not_fit() -> None:
    assert measure_pace(recipe(), CONFIG, [paths(16)], fit_of(CONFIG, memory=2**20), 1e12) is None


def test_one_example_per_pass() -> None:
    alone = recipe(packing="alone")
    found = measure_pace(alone, with_layers(CONFIG, 2), [paths(4)], fit_of(with_layers(CONFIG, 2)), 1e12)
    assert found is not None and found.token > 0


def test_the_row_that_is_timed() -> None:
    """That of the average token; of a row that would take too long, a part."""
    way = Way(tokens=1024)
    assert 1000 < len(_row(paths(40), way, 10**9, recipe()).tokens_T) <= 1024, "of rows of 1,024, 1,024 and 512 tokens"
    assert 2 * LENGTH < len(_row(paths(40), way, 200, recipe()).tokens_T) <= 200
    assert len(_row(paths(2, length=300), way, 200, recipe()).tokens_T) == 300, "an example is never cut"
    assert len(_row([*paths(9), *paths(1, length=500)], way, 10**9, recipe(packing="alone")).tokens_T) == LENGTH


@pytest.mark.parametrize("kind", ["gemma2", "gemma3_text", "smollm3", "qwen3"])
def test_fewer_layers_of_an_architecture(kind: str) -> None:
    """Also where layers are of several kinds."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    config = AutoConfig.for_model(kind, vocab_size=100, num_hidden_layers=6, pad_token_id=0, bos_token_id=1, eos_token_id=2, **sizes)
    few = with_layers(config, 3)
    model = AutoModelForCausalLM.from_config(few)
    assert sum(p.numel() for p in model.parameters()) == replace(read_shape(config.to_dict()), layers=3).parameters
    assert config.num_hidden_layers == 6, "the config given stays as it was"
