"""Where the loop's reports go, and what a resumed run finds of them."""

import importlib.util
import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from instil.core.errors import UserError
from instil.core.run import RunFolder
from instil.train.checkpoint import State, list_checkpoints, read_state
from instil.train.distributed import World
from instil.train.records import MetricsLog, Records, check_tensorboard, event_writer
from tests.train.small import held, model_and_optimizer, step


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def records(folder: Path, continued: State | None = None, world: World | None = None) -> Records:
    console = Console(file=io.StringIO())
    facts = {"identity": "recipe", "continued": continued, "steps": 4, "tensorboard": False}
    return Records(RunFolder(folder), console=console, world=world or World(), **facts)  # type: ignore[arg-type]


def test_metrics_are_there_as_soon_as_they_come(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl", -1)
    for number in (1, 2):
        log.write(step(number))
        assert [r["step"] for r in lines_of(tmp_path / "metrics.jsonl")] == list(range(1, number + 1))
    log.close()


@pytest.mark.parametrize(("done", "left"), [(-1, []), (0, [0]), (1, [0, 1]), (2, [0, 1, 2, 2]), (5, [0, 1, 2, 2, 3])])
def test_what_a_resumed_run_computes_again_is_dropped(tmp_path: Path, done: int, left: list[int]) -> None:
    """A checkpoint after step 2 keeps the held-out loss after step 2, and drops what came later."""
    path = tmp_path / "metrics.jsonl"
    before = [held(0), step(1, 1 / 3), step(2), held(2), step(3)]
    path.write_text("".join(json.dumps(r) + "\n" for r in before), encoding="utf-8")
    MetricsLog(path, done).close()
    assert [r["step"] for r in lines_of(path)] == left
    assert lines_of(path) == before[: len(left)], "to the last digit"


@pytest.mark.parametrize("cut", [1, 20, -2])
def test_half_written_last_line(tmp_path: Path, cut: int) -> None:
    """A kill in the middle of a write; the next record must not be glued to what is left of it."""
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps(step(1)) + "\n" + json.dumps(step(2))[:cut], encoding="utf-8")
    log = MetricsLog(path, 1)
    log.write(step(2))
    log.close()
    assert lines_of(path) == [step(1), step(2)]


def test_a_checkpoint_is_never_ahead_of_its_metrics(tmp_path: Path) -> None:
    model, optimizer = model_and_optimizer()
    with records(tmp_path) as taken:
        for number in (1, 2, 3):
            taken.report(step(number))
            taken.save(model, optimizer, State(number, 1.0, 1))
    assert [r["step"] for r in lines_of(tmp_path / "metrics.jsonl")] == [1, 2, 3]
    assert [p.name for p in list_checkpoints(tmp_path / "checkpoints")] == ["step-1", "step-3"], "best and last"
    assert read_state(tmp_path / "checkpoints/step-3", "recipe") == State(3, 1.0, 1)


def test_continued(tmp_path: Path) -> None:
    with records(tmp_path) as taken:
        for record in (held(0), step(1), step(2)):
            taken.report(record)
    with records(tmp_path, continued=State(1)) as taken:
        taken.report(step(2, 7.0))
    assert lines_of(tmp_path / "metrics.jsonl") == [held(0), step(1), step(2, 7.0)]


def test_only_the_first_rank_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []
    monkeypatch.setattr(World, "wait", lambda world: waited.append(world.rank))
    with records(tmp_path, world=World(rank=1, size=2)) as taken:
        taken.report(step(1))
        taken.save(*model_and_optimizer(), State(1))
    assert not list(tmp_path.iterdir()) and waited == [1]


def test_no_tensorboard_unless_asked(tmp_path: Path) -> None:
    event_writer(tmp_path, False, 0)(step(1))
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is not None, reason="TensorBoard is installed")
def test_tensorboard_is_an_extra() -> None:
    check_tensorboard(False)
    with pytest.raises(UserError, match=r"pip install 'instil\[track\]', or set it to false$"):
        check_tensorboard(True)


def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # an extra

    write = event_writer(tmp_path, True, 0)
    for record in (held(0, 3.0), step(1, 1.5), step(2, 1.25)):
        write(record)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(1, 1.5), (2, 1.25)]
    assert [(e.step, e.value) for e in events.Scalars("held_out/loss")] == [(0, 3.0)]
