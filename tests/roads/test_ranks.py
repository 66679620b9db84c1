"""Runs of several ranks: one is killed, stopped or fails, and the run ends with its reason and goes on with another number of ranks."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.roads.forks import ROOT, Forks
from tests.roads.runs import SHORT, command, held_out_of, losses_of

LONG = {**SHORT, "train__steps": 400, "train__checkpoint_every": 2, "train__evaluate_every": 400, "train__learning_rate": "1e-3"}
FEW = {**LONG, "train__steps": 12, "train__evaluate_every": 4}
DIVIDED = {"train__parallel": "fsdp"}


def checkpoints_of(run: Path) -> list[Path]:
    return sorted((run / "checkpoints").glob("step-*"), key=lambda path: int(path.name.removeprefix("step-")))


@pytest.mark.parametrize("knobs", [{}, DIVIDED], ids=["data", "fsdp"])
def test_four_ranks_then_two_then_one(forks: Forks, house: Path, tmp_path: Path, knobs: dict[str, Any]) -> None:
    """Stopped twice by SIGTERM, and continued by fewer ranks each time: the losses of one process, and its weights."""
    forks.run(*command(house, **FEW, name="alone"), cwd=tmp_path, expect=0)
    run, alone = tmp_path / "runs/ranks", tmp_path / "runs/alone"
    done = forks.run(
        *command(house, **FEW, **knobs, name="ranks"), cwd=tmp_path, ranks=4, aim=2, after_file=str(run / "checkpoints/step-2"), signal=15
    )
    assert done.code == 130, done.err
    first = checkpoints_of(run)[-1]
    assert (first / "shards").exists() == bool(knobs)
    resume = ["train", "--resume", run]
    done = forks.run(*resume, cwd=tmp_path, ranks=2, aim=1, after_file=str(run / "checkpoints/step-8"), signal=15)
    assert done.code in (0, 130), done.err
    forks.run(*resume, cwd=tmp_path, expect=0)
    assert losses_of(run) == pytest.approx(losses_of(alone), rel=1e-4)
    assert held_out_of(run) == pytest.approx(held_out_of(alone), rel=1e-4)
    one, other = load_file(alone / "model/model.safetensors"), load_file(run / "model/model.safetensors")
    assert one.keys() == other.keys()
    assert all((one[name] - other[name]).abs().max() < 1e-3 for name in one)


@pytest.mark.parametrize("aim", [0, 1])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_rank_that_dies_or_stops(forks: Forks, house: Path, tmp_path: Path, number: int, aim: int) -> None:
    """All end within the timeout, one says which rank, and what was saved is whole."""
    run = tmp_path / "runs/ranks"
    knobs = {**LONG, **DIVIDED, "train__timeout": 0.1}
    begun = {"after_file": str(run / "checkpoints/step-4"), "signal": int(number), "then_kill": 12}
    began = time.monotonic()
    done = forks.run(*command(house, **knobs, name="ranks"), cwd=tmp_path, ranks=2, aim=aim, all_errors=True, **begun)
    assert time.monotonic() - began < 60
    assert done.code != 0
    assert done.err.count("error: ") == 1 and "Traceback" not in done.err, done.err
    assert re.search(
        rf"error: rank {aim} .*(has not answered for \d+ seconds|does not answer), and the run cannot go on without it", done.err
    )
    assert f"continue with instil train --resume {run.relative_to(tmp_path)}" in done.err
    steps = len(losses_of(run))
    assert 4 <= steps < 400
    done = forks.run("train", "--resume", run, cwd=tmp_path, after_file=str(run / f"checkpoints/step-{steps + 4}"), signal=15)
    assert done.code == 130, done.err


def test_a_rank_that_fails_ends_all_with_its_reason(forks: Forks, house: Path, tmp_path: Path) -> None:
    """The learning rate is absurd: every rank finds the same, and one says so."""
    knobs = {**LONG, "train__learning_rate": "1e30", "train__clip": "null"}
    done = forks.run(*command(house, **knobs, name="ranks"), cwd=tmp_path, ranks=2, all_errors=True)
    assert done.code == 2
    assert done.err.count("error: ") == 1 and "is not a finite number" in done.err, done.err


def test_ranks_that_do_not_fit_the_recipe(forks: Forks, house: Path, tmp_path: Path) -> None:
    knobs = {**SHORT, **DIVIDED, "train__shard_ranks": 3}
    done = forks.run(*command(house, **knobs, name="ranks"), cwd=tmp_path, ranks=2, all_errors=True)
    assert done.code == 2
    assert done.err == "error: train.shard_ranks: 3 does not divide the 2 ranks: choose a divisor of 2\n"


def test_started_by_instil_itself(house: Path, tmp_path: Path) -> None:
    """`instil train --gpus 2`; without GPUs the ranks share the CPU. One is killed, and the command says which and how to go on."""
    arguments = [sys.executable, "-m", "instil", *map(str, command(house, **{**LONG, "train__steps": 4000}, name="ranks")), "--gpus", "2"]
    variables = {**os.environ, "INSTIL_CACHE": str(house / "cache"), "PYTHONPATH": f"{ROOT / 'src'}", "OMP_NUM_THREADS": "1"}
    started = subprocess.Popen(arguments, cwd=tmp_path, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 90
        while not checkpoints_of(tmp_path / "runs/ranks"):
            assert started.poll() is None and time.monotonic() < deadline, started.communicate()
            time.sleep(0.1)
        children = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
        os.kill(int(children[1]), signal.SIGKILL)
        out, err = started.communicate(timeout=30)
    finally:
        started.kill()
    assert started.returncode == 1
    assert err.startswith("no GPU is here: 2 processes share the CPU\nerror: rank 1 (process "), err
    assert err.endswith("the run cannot go on without it; continue with instil train --resume runs/ranks --gpus 2\n")
    assert out.count("tuning    0/4000") == 1, "one rank speaks"
