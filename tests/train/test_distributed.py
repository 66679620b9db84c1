"""Ranks: the same update, however many share a step, and also where some have no row to compute."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from instil.batch.share import cost
from instil.train.distributed import World, join_world
from tests.train.ranks import DIVIDED, NARROW, SIZES, STEPS
from tests.train.small import rows_of

RANKS = [(size, rank) for size in SIZES for rank in range(size)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, "-m", "tests.train.ranks", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def found(folder: Path, size: int, rank: int) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / f"{size}-{rank}" / "found.json").read_text())
    return loaded


def test_the_fourth_rank_has_no_row() -> None:
    assert {len(rows_of(NARROW)(step)) for step in range(STEPS)} <= {2, 3}


@pytest.mark.parametrize(("size", "rank"), RANKS)
def test_same_losses(folder: Path, size: int, rank: int) -> None:
    alone, here = found(folder, 1, 0), found(folder, size, rank)
    assert (here["size"], here["rank"]) == (size, rank)
    assert len(here["steps"]) == STEPS
    for a, b in zip(alone["steps"], here["steps"], strict=True):
        assert a == pytest.approx(b, rel=0, abs=1e-12)
    assert here["held_out"] == pytest.approx(alone["held_out"], rel=0, abs=1e-12)


@pytest.mark.parametrize(("size", "rank"), RANKS)
def test_same_weights(folder: Path, size: int, rank: int) -> None:
    alone, here = (load_file(folder / name / "weights.safetensors") for name in ("1-0", f"{size}-{rank}"))
    first = load_file(folder / f"{size}-0" / "weights.safetensors")
    for name, expected in alone.items():
        assert abs(here[name] - expected).max() < 1e-12, name
        assert (here[name] == first[name]).all(), f"{name}: ranks must not drift apart, not by a bit"


@pytest.mark.parametrize(("size", "rank"), RANKS)
def test_sums(folder: Path, size: int, rank: int) -> None:
    here = found(folder, size, rank)
    others = {"others": 3.0 * (size - 1)} if size > 1 else {}
    assert here["named"] == {"all": size, "first": 2.0, **others}
    assert here["any"] == [True, False]


@pytest.mark.parametrize(("size", "rank"), RANKS)
def test_gradients_are_summed_and_none_is_invented(folder: Path, size: int, rank: int) -> None:
    """Where no rank used a parameter, the optimizer must leave it alone, as it does in one process."""
    total = float(sum(1 + r for r in range(size)))
    assert found(folder, size, rank)["gradients"] == [[total, total], [5.0, 5.0], None]


@pytest.mark.parametrize(("size", "rank"), RANKS)
def test_one_rank_that_is_asked_stops_all(folder: Path, size: int, rank: int) -> None:
    assert found(folder, size, rank)["stopped"] == 2


def test_one_process_is_a_world_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert join_world() == World(0, 1) and World().leads and not World(1, 2).leads


def close(alone: list[dict[str, Any]], here: list[dict[str, Any]]) -> None:
    assert here and len(here) == len(alone)
    for a, b in zip(alone, here, strict=True):
        assert a == pytest.approx(b, rel=0, abs=1e-9)


def close_weights(folder: Path, name: str) -> None:
    alone, here = (load_file(folder / part / "weights.safetensors") for part in ("1-0", name))
    assert alone.keys() == here.keys()
    for tensor, expected in alone.items():
        assert here[tensor].dtype == expected.dtype == "float64"
        assert abs(here[tensor] - expected).max() < 1e-9, tensor


@pytest.mark.parametrize("name", DIVIDED)
def test_divided_weights_learn_the_same(folder: Path, name: str) -> None:
    alone = found(folder, 1, 0)
    for rank in range(DIVIDED[name][0]):
        here = json.loads((folder / name / str(rank) / "found.json").read_text())
        close(alone["steps"], here["steps"])
        assert here["held_out"] == pytest.approx(alone["held_out"], rel=0, abs=1e-9)
    close_weights(folder, f"{name}/0")


@pytest.mark.parametrize("name", DIVIDED)
def test_no_rank_holds_all_weights(folder: Path, name: str) -> None:
    size, shards = DIVIDED[name]
    whole = {n: w.shape for n, w in load_file(folder / "1-0" / "weights.safetensors").items()}
    parts = [json.loads((folder / name / str(rank) / "found.json").read_text())["parts"] for rank in range(size)]
    for tensor, shape in whole.items():
        assert sum(part[tensor][0] for part in parts) == shape[0] * size // shards, f"{tensor} is held once by every {shards} ranks"
        assert max(part[tensor][0] for part in parts) <= -(-shape[0] // shards)


def test_tied_weights_are_divided_too(folder: Path) -> None:
    runs = [json.loads((folder / name / "0" / "found.json").read_text())["tied"] for name in DIVIDED]
    close(runs[0], runs[1])
    close(runs[0], runs[2])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", [*DIVIDED, "whole"])
def test_a_checkpoint_is_continued_by_any_number_of_ranks(folder: Path, name: str, size: int) -> None:
    """Weights divided or whole, before and after: the run is the one that was never interrupted."""
    for shards in sorted({0, size} - {1}):
        here = f"{name}, continued by {size} divided by {shards}"
        close(found(folder, 1, 0)["steps"][1:], json.loads((folder / here / "found.json").read_text())["steps"])
        close_weights(folder, here)


def test_ranks_that_share_weights_make_equally_many_passes() -> None:
    rows = rows_of(NARROW)(0)
    for ranks in (2, 3, 4, 5):
        alone, together = ([World(rank, ranks, shards).turns(rows) for rank in range(ranks)] for shards in (0, ranks))
        assert len({len(turns) for turns in together}) == 1
        for mine, padded in zip(alone, together, strict=True):
            assert padded[: len(mine)] == mine and all(counts for _, counts in mine)
            assert not any(counts for _, counts in padded[len(mine) :])
        assert sorted(index for turns in together for index, counts in turns if counts) == list(range(len(rows)))
        idle = {index for turns in together for index, counts in turns if not counts}
        assert all(cost(rows[index]) == min(map(cost, rows)) for index in idle)
