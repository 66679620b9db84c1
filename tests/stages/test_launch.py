"""Ranks that `instil train --gpus` starts: how they are told apart, and how their ends become one."""

import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from instil.core.errors import UserError
from instil.stages import launch as module
from instil.stages.launch import launch


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that ranks run instead of instil; each leaves its variables behind."""
    file = tmp_path / "program.py"
    monkeypatch.setattr(module, "COMMAND", (sys.executable, str(file)))
    monkeypatch.setattr(module, "GRACE", 1.0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.chdir(tmp_path)
    return file


def run(program: Path, lines: Sequence[str], ranks: int = 3) -> int:
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_PORT")
    begin = ["import os, sys, time, signal, pathlib", "rank = int(os.environ['RANK'])"]
    begin += [f"pathlib.Path(f'rank{{rank}}').write_text(' '.join([*sys.argv[1:], *(os.environ[n] for n in {names})]))"]
    program.write_text("\n".join([*begin, *lines]))
    return launch(["train", "x.yaml"], ranks, "instil train --resume runs/x")


def test_torchruns_variables(program: Path, tmp_path: Path) -> None:
    assert run(program, []) == 0
    left = [(tmp_path / f"rank{rank}").read_text().split() for rank in range(3)]
    assert [each[:6] for each in left] == [["train", "x.yaml", str(rank), str(rank), "3", "3"] for rank in range(3)]
    assert len({each[6] for each in left}) == 1, "they meet at one port"


def test_a_rank_that_says_why_it_ends(program: Path, capfd: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    assert run(program, ["if rank == 1: print('error: the disk is full', file=sys.stderr), sys.exit(2)", "time.sleep(60)"]) == 2
    assert time.monotonic() - began < 20, "the others do not go on"
    assert capfd.readouterr().err == "no GPU is here: 3 processes share the CPU\nerror: the disk is full\n"


def test_a_rank_that_cannot_say_it(program: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(program, ["if rank == 2: os.kill(os.getpid(), signal.SIGKILL)", "time.sleep(60)"]) == 1
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 2 and said[1].startswith("error: rank 2 (process ")
    assert said[1].endswith(
        "was ended by SIGKILL, as the system does when memory runs out, and the run cannot go on without it; "
        "continue with instil train --resume runs/x"
    )


def test_sigterm_reaches_every_rank(program: Path, tmp_path: Path) -> None:
    stop = ["def stop(*_): pathlib.Path(f'stopped{rank}').touch(); sys.exit(130)", "signal.signal(signal.SIGTERM, stop)"]
    ask = ["time.sleep(1)", "if rank == 0: os.kill(os.getppid(), signal.SIGTERM)", "time.sleep(60)"]
    before = signal.getsignal(signal.SIGTERM)
    assert run(program, [*stop, *ask]) == 130
    assert {path.name for path in tmp_path.glob("stopped*")} == {"stopped0", "stopped1", "stopped2"}
    assert signal.getsignal(signal.SIGTERM) is before


def test_more_ranks_than_gpus(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match=r"^--gpus 3: this machine has 2: ask for 2, or start ranks on several machines with torchrun$"):
        run(program, [])
