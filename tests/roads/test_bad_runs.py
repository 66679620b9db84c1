"""A run that cannot be resumed, a full disk, a loss that is no number: one sentence, and what was written before is whole."""

import fcntl
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes import alpaca_rows, write_model, write_rows
from tests.roads.forks import Forks
from tests.roads.runs import everything_of, refused, train_here


@pytest.fixture
def interrupted(forks: Forks, here: Path) -> Path:
    """A run whose last checkpoint is step 8, but which has no model folder yet, beside one that has finished."""
    assert train_here(forks, here, name="run", train__keep="best", train__evaluate_every=2).code == 0
    shutil.rmtree(here / "runs/run/model")
    return here / "runs" / "run"


def content(folder: Path) -> dict[str, bytes]:
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(bytes(data))


RUNS = {
    "weights": r"checkpoint runs/run/checkpoints/step-8 is damaged .weights.safetensors does not match its checksum.: delete .*",
    "optimizer": r"checkpoint runs/run/checkpoints/step-8 is damaged .optimizer.safetensors does not match its checksum.: delete .*",
    "state": r"checkpoint runs/run/checkpoints/step-8 is damaged .state.json does not match its checksum.: delete .*",
    "no state": r"checkpoint runs/run/checkpoints/step-8 has no state.json: delete .*",
    "another recipe": r"checkpoint runs/run/checkpoints/step-8 was written under another recipe: restore the run's recipe.yaml, or .*",
    "no recipe": r"runs/run is not a run folder .*",
    "broken recipe": r"runs/run/recipe.yaml.*not valid YAML.*",
    "empty recipe": r".*runs/run/recipe.yaml.*",
    "unknown knob": r"runs/run/recipe.yaml.*'bitch'.*",
    "broken manifest": r"runs/run/manifest.json is damaged .*",
    "other rows": r"run run cannot be continued, because its data, template, tokenizer or instil's version changed since it began: .*",
    "other model": r"run run cannot be continued, because its base model changed since it began: restore it, or start a new run",
    "no rows": r"alpaca.jsonl does not exist.*",
}


def spoil_run(run: Path, house: Path, how: str) -> None:
    step, here = run / "checkpoints/step-8", run.parents[1]
    if how in ("weights", "optimizer"):
        flip(step / f"{how}.safetensors")
    elif how == "state":
        edit(step / "state.json", '"step": 8', '"step": 7')
    elif how == "no state":
        (step / "state.json").unlink()
    elif how == "another recipe":
        edit(run / "recipe.yaml", "learning_rate: 0.01", "learning_rate: 0.02")
    elif how == "no recipe":
        (run / "recipe.yaml").unlink()
    elif how == "broken recipe":
        edit(run / "recipe.yaml", "train:", "train: [")
    elif how == "empty recipe":
        (run / "recipe.yaml").write_text("")
    elif how == "unknown knob":
        edit(run / "recipe.yaml", "batch:", "bitch:")
    elif how == "broken manifest":
        edit(run / "manifest.json", '"seed": 0,', '"seed": ,')
    elif how in ("other rows", "no rows"):
        (here / "alpaca.jsonl").unlink()
        if how == "other rows":
            write_rows(here / "alpaca.jsonl", alpaca_rows()[1:])
    elif how == "other model":
        (here / "model").unlink()
        write_model(here / "model", seed=1)


@pytest.mark.parametrize("how", RUNS)
def test_runs_that_cannot_be_resumed(forks: Forks, house: Path, here: Path, interrupted: Path, how: str) -> None:
    spoil_run(interrupted, house, how)
    before = content(interrupted)
    refused(forks.run("train", "--resume", "runs/run", cwd=here), RUNS[how])
    assert content(interrupted) == before, "nothing is damaged further"


@pytest.mark.parametrize("how", ["weights", "no state"])
def test_the_advice_helps(forks: Forks, house: Path, here: Path, interrupted: Path, how: str) -> None:
    """A damaged checkpoint deleted, the run begins again where it can, and ends as it would have."""
    expected = content(interrupted / "checkpoints")
    spoil_run(interrupted, house, how)
    shutil.rmtree(interrupted / "checkpoints/step-8")
    assert forks.run("train", "--resume", "runs/run", cwd=here).code == 0
    assert content(interrupted / "checkpoints") == expected


def test_damaged_best_checkpoint(forks: Forks, here: Path) -> None:
    """It is needed at the end, if `train.keep` is best: what was trained is not thrown away."""
    knobs = {
        "train__keep": "best",
        "train__evaluate_every": 2,
        "train__learning_rate": 0.5,
        "train__schedule": "constant",
        "train__warmup": 0,
    }
    assert train_here(forks, here, name="run", **knobs).code == 0
    run = here / "runs/run"
    steps = sorted(p.name for p in (run / "checkpoints").iterdir())
    assert len(steps) == 2 and "step-8" in steps, "the last step is not the best, at such a rate"
    best = next(name for name in steps if name != "step-8")
    shutil.rmtree(run / "model")
    flip(run / "checkpoints" / best / "weights.safetensors")
    refused(forks.run("train", "--resume", "runs/run", cwd=here), rf"checkpoint runs/run/checkpoints/{best} is damaged .*")
    assert not (run / "model").exists() and (run / "checkpoints/step-8/weights.safetensors").exists()


def test_duplicate_run_name(forks: Forks, here: Path, interrupted: Path) -> None:
    before = content(interrupted)
    sentence = r"run runs/run exists already: continue it with `instil train --resume runs/run`, or choose another --name"
    refused(train_here(forks, here, name="run"), sentence)
    assert content(interrupted) == before


def test_two_processes_do_not_write_one_run(forks: Forks, here: Path, interrupted: Path) -> None:
    """The lock goes with the process that has it."""
    before = content(interrupted)
    with open(interrupted / "recipe.yaml") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = forks.run("train", "--resume", "runs/run", cwd=here)
        refused(done, r"run runs/run is being written by another process: wait for it, or stop it first")
        assert content(interrupted) == before
    assert forks.run("train", "--resume", "runs/run", cwd=here).code == 0


def test_runs_folder_is_a_file(forks: Forks, here: Path) -> None:
    refused(train_here(forks, here, runs="alpaca.jsonl"), r"alpaca.jsonl/run cannot be made, .*")


def test_a_rate_beyond_reason(forks: Forks, here: Path) -> None:
    """Loss or gradient stop being numbers: step, rows and advice; the checkpoint before is whole."""
    done = train_here(forks, here, name="run", train__learning_rate=1e18, train__clip="null", train__warmup=0, train__checkpoint_every=1)
    said = refused(
        done, r"step \d+: the (loss|gradient) is not a finite number; rows: alpaca.jsonl:\d+, .*; try a lower train.learning_rate.*"
    )
    step = int(said.split()[1].rstrip(":"))
    assert (here / f"runs/run/checkpoints/step-{step - 1}/state.json").exists() or step == 1
    assert not (here / f"runs/run/checkpoints/step-{step}").exists() and not (here / "runs/run/model").exists()


def test_unfinished_run_cannot_chat(forks: Forks, here: Path, interrupted: Path) -> None:
    done = forks.run("chat", "runs/run", cwd=here, input="Hello\n")
    refused(done, r"run runs/run has no model yet: finish it with `instil train --resume runs/run`")


@pytest.fixture
def disk(here: Path) -> Iterator[Callable[[str], None]]:
    """`runs` is a file system of its own; called with a size, it is made, or made larger."""
    folder = here / "runs"
    folder.mkdir()

    def sized(size: str) -> None:
        how = f"{'remount,' if folder.is_mount() else ''}size={size}"
        if subprocess.run(["mount", "-t", "tmpfs", "-o", how, "tmpfs", str(folder)], capture_output=True, check=False).returncode:
            pytest.skip("mounting a file system takes more rights than this user has")

    yield sized
    if folder.is_mount():
        subprocess.run(["umount", str(folder)], check=True)


def test_full_disk(forks: Forks, here: Path, disk: Callable[[str], None]) -> None:
    """One checkpoint fits, the next does not: a sentence, and the first is whole. With more room the run goes on as if nothing had been."""
    knobs = {"name": "run", "train__checkpoint_every": 2, "holdout__examples": 0}
    assert train_here(forks, here, **knobs, runs="elsewhere").code == 0
    disk("750k")
    said = refused(train_here(forks, here, **knobs), r"no space left on the disk that holds runs/run/checkpoints/step-4.*: free some.*")
    assert "what was there before is intact" in said
    assert [p.name for p in (here / "runs/run/checkpoints").iterdir()] == ["step-2"]
    refused(forks.run("train", "--resume", "runs/run", cwd=here), r"no space left on the disk that holds runs/run/checkpoints/step-4.*")
    disk("8m")
    assert forks.run("train", "--resume", "runs/run", cwd=here).code == 0
    found, expected = (everything_of(here / runs / "run") for runs in ("runs", "elsewhere"))
    assert found.pop("recipe.yaml") != expected.pop("recipe.yaml")
    assert found == expected


def test_full_disk_at_the_very_end(forks: Forks, here: Path, disk: Callable[[str], None]) -> None:
    """The checkpoint fits, the model folder does not."""
    disk("540k")
    knobs = {"name": "run", "train__checkpoint_every": 8, "holdout__examples": 0}
    refused(train_here(forks, here, **knobs), r"no space left on the disk that holds runs/run/model.*: free some.*")
    assert {p.name for p in (here / "runs/run").iterdir()} == {
        "recipe.yaml",
        "manifest.json",
        "ledger.jsonl",
        "metrics.jsonl",
        "checkpoints",
    }
    disk("8m")
    assert forks.run("train", "--resume", "runs/run", cwd=here).code == 0
    assert (here / "runs/run/model/model.safetensors").exists()
