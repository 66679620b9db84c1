"""Where a run's records go: metrics.jsonl, the display, TensorBoard, checkpoints. On every rank but the first: nowhere."""

import importlib.util
import json
import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from rich.console import Console

from instil.core.errors import UserError
from instil.core.files import disk_errors, read_jsonl, write_text
from instil.core.run import RunFolder
from instil.train.checkpoint import State, prune, save_checkpoint
from instil.train.display import Display
from instil.train.distributed import World


class Records:
    """Takes the loop's reports and checkpoints for one call of `train`; a context manager.

    `continued`: the checkpoint's state that this call continues, None for a run from its start.
    """

    def __init__(
        self,
        folder: RunFolder,
        *,
        identity: str,
        continued: State | None,
        steps: int,
        tensorboard: bool,
        console: Console,
        world: World,
    ):
        done = continued.step if continued else -1
        self._folder, self._identity, self._world = folder, identity, world
        self._log = MetricsLog(folder.metrics, done) if world.leads else None
        self._display = Display(console, steps, max(done, 0)) if world.leads else None
        self._events = event_writer(folder.path, tensorboard and world.leads, done + 1)

    def __enter__(self) -> "Records":
        (self._display or nullcontext()).__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._display is not None:
            self._display.__exit__(kind, error, trace)
        if self._log is not None:
            self._log.close()

    def report(self, record: dict[str, Any]) -> None:
        """One step, or one held-out loss."""
        if self._log is not None and self._display is not None:
            self._log.write(record)
            self._display.report(record)
            self._events(record)

    def save(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, state: State) -> None:
        """A checkpoint; older ones go, but for the best. No checkpoint is ever ahead of its metrics. Every rank calls it."""
        if self._log is not None:
            self._log.sync()
        save_checkpoint(self._folder.checkpoints, model, optimizer, state, self._identity, self._world)
        if self._log is not None:
            prune(self._folder.checkpoints, state)


class MetricsLog:
    """metrics.jsonl: one record a line, flushed as it comes, so that it can be watched and survives a kill."""

    def __init__(self, path: Path, step: int):
        """Continue after `step`: records of later steps, which a resumed run computes again, are dropped."""
        kept = [r for r in read_jsonl(path) if r["step"] <= step]
        write_text(path, "".join(json.dumps(r) + "\n" for r in kept))
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115  open for the whole run
        self._path = path

    def write(self, record: Mapping[str, Any]) -> None:
        with disk_errors(self._path):
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()

    def sync(self) -> None:
        """To the disk itself."""
        with disk_errors(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def check_tensorboard(wanted: bool) -> None:
    """Raise UserError where TensorBoard is wanted and not installed."""
    if wanted and importlib.util.find_spec("tensorboard") is None:
        raise UserError("train.tensorboard needs TensorBoard: pip install 'instil[track]', or set it to false")


def event_writer(folder: Path, wanted: bool, first_step: int) -> Callable[[dict[str, Any]], None]:
    """A function that writes the loop's records as TensorBoard events (extra `track`), or does nothing. Events of an earlier try that lie
    at or after `first_step` are superseded."""
    if not wanted:
        return lambda record: None
    from torch.utils.tensorboard import SummaryWriter  # an extra: absent in most installations

    writer = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step or None)

    def write(record: dict[str, Any]) -> None:
        held = "held_out" in record
        values = record["held_out"] if held else {name: record[name] for name in ("loss", "gradient_norm", "learning_rate")}
        for name, value in values.items():
            writer.add_scalar(f"{'held_out' if held else 'train'}/{name}", value, record["step"])
        writer.flush()

    return write
