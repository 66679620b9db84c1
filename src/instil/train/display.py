"""What people see while it runs: one live line on a terminal, a line now and then in a pipe."""

import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

WINDOW = 20  # steps that the shown loss and speed are averaged over
MOST_LINES = 20  # of held-out losses in a pipe
PAUSE = 30  # seconds after which a pipe gets a line anyway


class Display:
    """Takes the loop's records. On a terminal: a bar with loss, held-out loss, speed, time left. Elsewhere: a line now and then."""

    def __init__(self, console: Console, steps: int, done: int = 0):
        self._console = console
        self._steps = steps
        self._recent: deque[dict[str, Any]] = deque(maxlen=WINDOW)
        self._held: float | None = None
        self._last_line, self._last_time = 0, time.monotonic()
        columns = (TextColumn("tuning"), BarColumn(20), MofNCompleteColumn(), TextColumn("{task.description}"))
        self._progress = Progress(
            *columns, TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=console, transient=False
        )
        self._task = self._progress.add_task("", total=steps, completed=done)

    def __enter__(self) -> "Display":
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._console.is_terminal:
            self._progress.stop()

    def report(self, record: dict[str, Any]) -> None:
        if "held_out" in record:
            self._held = record["held_out"]["loss"]
        else:
            self._recent.append(record)
        text = self._text()
        self._progress.update(self._task, completed=record["step"], description=text)
        if not self._console.is_terminal and self._due(record):
            self._last_line, self._last_time = record["step"], time.monotonic()
            self._console.print(f"tuning    {record['step']}/{self._steps}  {text}", highlight=False, soft_wrap=True)

    def _due(self, record: dict[str, Any]) -> bool:
        step = record["step"]
        held = "held_out" in record and (step in (0, self._steps) or step - self._last_line >= self._steps / MOST_LINES)
        return held or time.monotonic() - self._last_time > PAUSE

    def _text(self) -> str:
        parts = []
        if self._recent:
            parts.append(f"loss {_mean(self._recent, lambda r: r['loss'] * r['supervised'], lambda r: r['supervised']):.3f}")
        if self._held is not None:
            parts.append(f"held-out {self._held:.3f}")
        if self._recent:
            seconds = sum(r["speed"]["seconds"] for r in self._recent) or 1e-9
            parts.append(f"{short(sum(r['tokens'] for r in self._recent) / seconds)} tok/s")
            parts.append(f"{short(sum(r['supervised'] for r in self._recent) / seconds)} trained/s")
            parts.append(f"rate {self._recent[-1]['learning_rate']:.1e}")
        return "  ".join(parts)


def _mean(records: deque[dict[str, Any]], value: Callable[[dict[str, Any]], float], weight: Callable[[dict[str, Any]], float]) -> float:
    return sum(map(value, records)) / max(sum(map(weight, records)), 1e-9)


def short(number: float) -> str:
    """`9.8k`, `112k`, `1.3M`."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f}{letter}" if number < 100 * size else f"{number / size:.0f}{letter}"
    return f"{number:.0f}"
