"""Ranks: the same update, however many share a step, and also where some have no row to compute."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from instil.train.distributed import World, join_world
from tests.train.ranks import NARROW, SIZES, STEPS
from tests.train.small import rows_of

RANKS = [(size, rank) for size in SIZES for rank in range(size)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, "-m", "tests.train.ranks", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=120, check=False)
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
