"""A run that is killed, at any moment, and resumed is the run that was never killed: bit for bit, and nothing else is left behind."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from instil.core.run import RunFolder
from tests.roads.forks import LONGEST, ROOT, Done, Forks
from tests.roads.runs import BRISK, SHORT, command, everything_of, records_of

FULL = {**SHORT, "train__evaluate_every": 2, "train__keep": "best"}
NOISE = {"lora__dropout": 0.2, "train__neftune": 5, "train__precision": "bf16"}
LORA = {**SHORT, **NOISE, "method": "lora", "template": "chatml", "train__checkpoint_every": 1}
LEAN = {**FULL, "train__weights": "bf16", "train__optimizer": "adamw_8bit", "train__precision": "auto"}
METHODS = {"full": ("model", FULL), "lora": ("bare", LORA), "lean": ("model", LEAN)}


Whole = tuple[dict[str, Any], Done]  # everything that a run left, and how it ended


class Story:
    """One run, told in as many calls as it takes. The name `run` in a folder of its own; `whole` is the same run without interruption."""

    def __init__(self, house: Path, forks: Forks, folder: Path, method: str):
        model, knobs = METHODS[method]
        self.forks, self.folder, self.run = forks, folder, folder / "runs" / "run"
        self.arguments = command(house, model, **knobs, name="run")
        self.cache = {"INSTIL_CACHE": str(folder / "cache")}
        (folder / "cache").mkdir(parents=True)
        os.symlink(house / "cache" / "tokenizers", folder / "cache" / "tokenizers")  # setting one up takes seconds

    def go_on(self, **request: Any) -> Done:
        """Begin, or, where there is something to resume, resume."""
        begun = RunFolder(self.run).recipe.exists()
        arguments = ["train", "--resume", self.run] if begun else self.arguments
        return self.forks.run(*arguments, cwd=self.folder, environment=self.cache, **request)


@pytest.fixture(scope="module", params=["full", "lora"])
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def whole(house: Path, forks: Forks, full: Path, lora: Path, tmp_path_factory: pytest.TempPathFactory, method: str) -> Whole:
    """The uninterrupted run. `full` and `lora` have the tokenizers set up first, which takes seconds."""
    story = Story(house, forks, tmp_path_factory.mktemp("whole"), method)
    done = story.go_on(expect=0, count=True)
    return everything_of(story.run), done


def test_ten_kills_at_random_moments(house: Path, forks: Forks, tmp_path: Path, whole: Whole, method: str) -> None:
    """SIGKILL at any time from the first row read to the last file written, also while an earlier kill is being mended."""
    expected, once = whole
    moments = random.Random(method)
    kills = told = 0
    while kills < 10:
        story = Story(house, forks, tmp_path / str(told), method)
        while (done := story.go_on(after=moments.uniform(0, once.seconds) if kills < 10 else LONGEST)).code:
            assert done.code == -signal.SIGKILL, done.err
            kills += 1
        assert everything_of(story.run) == expected
        told += 1


def test_kills_between_steps_on_disk(house: Path, forks: Forks, tmp_path: Path, whole: Whole, method: str) -> None:
    """Just before a file is renamed, synced or removed: one seeded place in every eighth of them."""
    expected, once = whole
    places = random.Random(method)
    for part in range(8):
        story = Story(house, forks, tmp_path / str(part), method)
        at = 1 + int((part + places.random()) / 8 * once.count)
        assert story.go_on(kill_at=at, expect=-signal.SIGKILL).count == 0
        story.go_on(expect=0)
        assert everything_of(story.run) == expected, f"killed before step {at} of {once.count}"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_in_a_checkpoint(
    house: Path, forks: Forks, tmp_path: Path, whole: Whole, method: str, number: signal.Signals
) -> None:
    """Exit code 130, a sentence with what to do; resumed, it is the same run."""
    expected, once = whole
    for attempt in range(10):
        story = Story(house, forks, tmp_path / str(attempt), method)
        done = story.go_on(after=once.seconds * (0.3 + 0.05 * attempt), signal=number)
        if done.code == 130 and "stopped" in done.out:  # else it came before the first step, or after the last
            break
    step = records_of(story.run)[-1]["step"]
    assert done.code == 130 and done.err == ""
    assert done.out.splitlines()[-1] == f"stopped   by {number.name} after step {step}; continue with: instil train --resume runs/run"
    assert (story.run / "checkpoints" / f"step-{step}").exists()
    assert f"continued from step {step} of 8" in story.go_on(expect=0).out
    assert everything_of(story.run) == expected


def test_ctrl_c_at_any_moment(house: Path, forks: Forks, tmp_path: Path, whole: Whole, method: str) -> None:
    """Also before there is anything to save: exit code 130 and no traceback."""
    expected, once = whole
    moments = random.Random(method)
    story = Story(house, forks, tmp_path, method)
    for _ in range(6):
        done = story.go_on(after=moments.uniform(0, once.seconds), signal=signal.SIGINT)
        assert done.code in (0, 130) and done.err.strip() == ""
    story.go_on(expect=0)
    assert everything_of(story.run) == expected


def test_a_finished_run_stays_as_it_is(house: Path, forks: Forks, tmp_path: Path, whole: Whole, method: str) -> None:
    story = Story(house, forks, tmp_path, method)
    story.go_on(expect=0)
    story.go_on(expect=0)
    assert everything_of(story.run) == whole[0]


def test_a_moved_run_goes_on(house: Path, forks: Forks, tmp_path: Path, whole: Whole, method: str) -> None:
    story = Story(house, forks, tmp_path, method)
    story.go_on(kill_at=whole[1].count // 2, expect=-signal.SIGKILL)
    story.run = story.run.rename(tmp_path / "elsewhere")
    story.go_on(expect=0)
    assert everything_of(story.run) == whole[0]


def test_states_in_eight_bits_go_on(house: Path, forks: Forks, full: Path, tmp_path: Path) -> None:
    """And weights that are rounded by random bits."""
    pytest.importorskip("bitsandbytes")
    never, killed = (Story(house, forks, tmp_path / name, "lean") for name in ("never", "killed"))
    count = never.go_on(expect=0, count=True).count
    killed.go_on(kill_at=2 * count // 3, expect=-signal.SIGKILL)
    killed.go_on(expect=0)
    assert everything_of(killed.run) == everything_of(never.run)


def test_the_real_command_line(house: Path, full: Path, tmp_path: Path) -> None:
    """`python -m instil`, killed once it has a checkpoint, resumed, and compared with the run of the same recipe that a fork made."""
    environment = {**os.environ, "INSTIL_CACHE": str(house / "cache"), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
    instil = [sys.executable, "-m", "instil"]
    arguments = [str(a) for a in command(house, **BRISK, name="full")]
    process = subprocess.Popen([*instil, *arguments], cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    run = tmp_path / "runs" / "full"
    while process.poll() is None and not list(run.glob("checkpoints/step-*")):
        time.sleep(0.005)
    process.kill()
    _, error = process.communicate()
    assert process.returncode == -signal.SIGKILL, error
    assert not (run / "model").exists()
    subprocess.run([*instil, "train", "--resume", str(run)], cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert everything_of(run) == everything_of(full)
