"""What a run does where memory is short: smaller rows, then recomputation, then a sentence."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from instil.batch.share import lay_out_shared
from instil.batch.trie import lay_out
from instil.core.errors import UserError
from instil.plan.need import Way, need, recomputed_layers
from instil.plan.shape import Shape
from instil.stages.fit import ROOM, TOO_MUCH, Fit, Load, check_fit, choose, fit_run, measure_load, row_sizes, settled
from instil.stages.prepare import Data, prepare
from tests.fakes import alpaca_rows, write_model, write_rows

SHAPE = Shape(hidden=512, wide=1024, layers=8, heads=8, groups=8, width=64, vocabulary=4000, tied=True)
LOAD = Load(steps=9, alone=9000, tokens=6000, row=5000, example=100, predicted=0.5)
WAY = Way(example=100, predicted=0.5)


@pytest.fixture
def given(tmp_path: Path, recipe: Callable[..., Any]) -> Callable[..., Data]:
    """Data of a model with a context of 512 tokens."""
    model = write_model(tmp_path / "model", max_position_embeddings=512)
    rows = write_rows(tmp_path / "rows.jsonl", alpaca_rows())
    return lambda **knobs: prepare(recipe(rows, model=str(model), **knobs))


def room_for(tokens: int, **way: Any) -> float:
    """Bytes with which rows of so many tokens just fit."""
    return need(SHAPE, replace(WAY, tokens=tokens, **way)).total / ROOM * (1 + 1e-9)


def chosen(data: Data, memory: float, load: Load = LOAD) -> tuple[int, bool, bool]:
    fit = choose(data, load, SHAPE, memory, device="cpu", precision="bf16")
    assert fit.way.tokens == min(fit.rows, load.row)
    return fit.rows, fit.way.recompute, fit.fits


def test_smaller_rows_come_before_recomputation(given: Callable[..., Data]) -> None:
    data = given()
    assert chosen(data, 1e12) == (8192, False, True)
    assert chosen(data, room_for(8192)) == (8192, False, True)
    assert chosen(data, room_for(8191)) == (4096, False, True)
    assert chosen(data, room_for(512)) == (512, False, True)
    assert chosen(data, room_for(511)) == (1024, True, True), "recomputed, larger rows fit again"
    assert chosen(data, room_for(512, recompute=True)) == (512, True, True)
    assert chosen(data, room_for(511, recompute=True)) == (512, True, False), "never below max_length"


def test_no_more_layers_are_recomputed_than_memory_demands(given: Callable[..., Data]) -> None:
    def layers(memory: float, **knobs: Any) -> tuple[int, int]:
        fit = choose(given(train__max_tokens=8192, **knobs), LOAD, SHAPE, memory, device="cpu", precision="bf16")
        return fit.way.kept_layers if fit.way.recompute else SHAPE.layers, recomputed_layers(fit.shape, fit.way)

    assert layers(room_for(5000)) == (8, 0)
    for kept in (7, 3, 2, 1):
        room = room_for(5000, recompute=True, kept_layers=kept)
        assert layers(room) == (kept, 8 - kept)
        assert layers(room, train__checkpointing="on") == (1, 7), "all of them, where the recipe says so"
    assert layers(room_for(5000, recompute=True) * 0.99) == (1, 7)


def test_rows_are_no_larger_than_the_data_makes_them(given: Callable[..., Data]) -> None:
    """Full rows of 512 would not fit, but none of this data is full."""
    assert chosen(given(), room_for(300), replace(LOAD, row=300)) == (512, False, True)


def test_what_the_recipe_says_is_kept(given: Callable[..., Data]) -> None:
    short = room_for(511)
    assert chosen(given(train__checkpointing="off"), short) == (512, False, False)
    assert chosen(given(train__checkpointing="on"), 1e12) == (8192, True, True)
    assert chosen(given(train__max_tokens=4096), room_for(4095)) == (4096, True, True)
    assert chosen(given(train__max_tokens=4096), 1e6) == (4096, True, False)
    assert chosen(given(max_length=400), room_for(400)) == (400, False, True)


def test_row_sizes() -> None:
    assert row_sizes(8192, 4096) == [8192, 4096]
    assert row_sizes(8192, 3000) == [8192, 4096, 3000]
    assert row_sizes(8192, 8192) == row_sizes(8192, 9000) == [8192]


def test_a_long_example_makes_long_rows(given: Callable[..., Data]) -> None:
    data = given()
    assert data.max_tokens == 8192
    longer = replace(data, rules=replace(data.rules, max_length=10_000))
    assert longer.max_tokens == 10_000


def test_load_is_that_of_the_first_steps(given: Callable[..., Data]) -> None:
    data = given(train__batch=10, train__epochs=1)
    steps = [data.paths_at(step) for step in range(4)]
    rows = [lay_out(paths, 8192) for paths in steps]
    load = measure_load(data)
    assert load.steps == 4 and load.alone == sum(len(path.tokens) for paths in steps for path in paths) / 4
    assert load.tokens == sum(len(row.tokens_T) for laid in rows for row in laid) / 4 < load.alone
    assert load.row == max(len(row.tokens_T) for laid in rows for row in laid)
    alone = measure_load(given(train__batch=10, train__epochs=1, train__packing="alone"))
    assert alone.tokens == alone.alone == load.alone and alone.row == max(len(path.tokens) for paths in steps for path in paths)


def test_load_of_several_ranks(given: Callable[..., Data]) -> None:
    """As they will be dealt: shorter rows, and the rank with most to do."""
    data = given(train__batch=10, train__epochs=1)
    one, three = measure_load(data), measure_load(data, 3)
    assert (one.uneven, one.passes) == (1.0, 1.0)
    shared = [lay_out_shared(data.paths_at(step), 8192, 3) for step in range(4)]
    assert three.row == max(len(row.tokens_T) for laid in shared for row in laid) < one.row
    assert three.passes == 1 and three.tokens >= one.tokens
    assert three.uneven == pytest.approx(3 * sum(max(len(row.tokens_T) for row in laid) for laid in shared) / 4 / three.tokens)


def fit_in(memory: float, **way: Any) -> Fit:
    return Fit(SHAPE, LOAD, replace(WAY, tokens=5000, **way), 8192, memory)


def test_only_what_surely_does_not_fit_is_refused() -> None:
    size = fit_in(1.0).need.total
    for memory, fits, hopeless in ((size / ROOM * 1.01, True, False), (size, False, False), (size / TOO_MUCH * 1.01, False, False)):
        assert (fit_in(memory).fits, fit_in(memory).hopeless) == (fits, hopeless)
        check_fit(fit_in(memory))
    with pytest.raises(UserError, match=r"^the run needs about \d\.\d\d GiB of memory, and there are \d\.\d\d: try .*train\.memory"):
        check_fit(fit_in(size / TOO_MUCH * 0.99))


def test_on_a_gpu_only_what_is_certain_is_refused() -> None:
    """What activations take there has never been measured."""
    found = fit_in(1.0, device="gpu").need
    certain = found.weights + found.gradients + found.states
    assert fit_in(certain, device="gpu").hopeless and not fit_in(certain, device="gpu").refused
    assert fit_in(certain / TOO_MUCH * 0.99, device="gpu").refused
    assert fit_in(certain).refused


def test_largest_row() -> None:
    for memory in (room_for(1500), room_for(70_000)):
        largest = fit_in(memory).largest_row
        assert need(SHAPE, replace(WAY, tokens=largest)).total <= ROOM * memory < need(SHAPE, replace(WAY, tokens=largest + 128)).total
    assert fit_in(room_for(0) * 0.9).largest_row == 0


def test_advice() -> None:
    assert fit_in(room_for(1500)).advice == (
        "train.max_tokens: 1408 (and a max_length within it), or train.weights: bf16, "
        "or train.weights: bf16 with train.optimizer: adamw_8bit, or method: lora, or train.checkpointing: on"
    )
    assert fit_in(1e6, method="lora", recompute=True).advice == "method: qlora"
    assert fit_in(1e6, method="qlora", recompute=True).advice == "a smaller model, or a larger device"


def test_memory_is_kept_where_there_is_twice_what_is_needed() -> None:
    found = fit_in(1.0).need
    twice = 2 * found.total - found.weights
    assert fit_in(twice * 1.001).roomy and not fit_in(twice * 0.999).roomy
    assert fit_in(1.0, device="gpu").roomy


def test_an_architecture_that_is_not_counted(given: Callable[..., Data], tmp_path: Path) -> None:
    """Goes the rough way, and its rows are the usual ones."""
    data = given()
    assert fit_run(data, 1e12, "cpu", "fp32") is not None
    assert fit_run(data, None, "cpu", "fp32") is None
    config = tmp_path / "model/config.json"
    config.write_text(config.read_text(encoding="utf-8").replace('"llama"', '"gpt_neox"'), encoding="utf-8")
    assert fit_run(data, 1e12, "cpu", "fp32") is None
    assert settled(data, None).recipe.train.max_tokens == 8192
    assert settled(data, replace(fit_in(1e12), rows=1024)).max_tokens == 1024
