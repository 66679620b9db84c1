"""Ctrl-C and SIGTERM: noted once, obeyed at once the second time, left alone outside."""

import os
import signal
import threading

import pytest

from instil.train.signals import StopRequest, stop_on_signals

BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@BOTH
def test_the_first_is_noted(number: signal.Signals) -> None:
    with stop_on_signals() as stop:
        assert not stop and stop.asked is None
        os.kill(os.getpid(), number)
        assert stop and stop.asked is number


@BOTH
def test_the_second_ends_at_once(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), stop_on_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), number)


def test_afterwards_everything_is_as_before() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(ZeroDivisionError), stop_on_signals():
        assert signal.getsignal(signal.SIGTERM) != before[1]
        raise ZeroDivisionError
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_outside_the_main_thread_nothing_is_caught() -> None:
    """Python allows handlers in the main thread only; a notebook's worker must still be able to train."""
    found: list[StopRequest] = []

    def work() -> None:
        with stop_on_signals() as stop:
            found.append(stop)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(found) == 1 and not found[0]
