"""Ctrl-C and SIGTERM end in a checkpoint; a second one ends at once."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class StopRequest:
    """`asked` is the signal that asked for the end, or None."""

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.asked is not None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.asked is not None:
            raise KeyboardInterrupt
        self.asked = signal.Signals(number)


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Within the block, SIGINT and SIGTERM are noted instead of obeyed. Outside the main thread (a notebook's worker) nothing is caught."""
    request = StopRequest()
    before = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(ValueError):
            before[number] = signal.signal(number, request)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
