"""What people see: on a terminal one live line, in a pipe a few lines."""

import io
import re

import pytest
from rich.console import Console

from instil.train.display import MOST_LINES, Display, short
from tests.train.small import held, step


def shown(display: Display, console: Console) -> list[str]:
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue().splitlines()


def piped(steps: int) -> tuple[Display, Console]:
    console = Console(file=io.StringIO(), width=40)
    return Display(console, steps), console


def test_a_line_in_a_pipe() -> None:
    display, console = piped(4)
    with display:
        for record in (held(0, 3.0), step(1, 2.0), step(2, 1.0), held(2, 2.5)):
            display.report(record)
    assert shown(display, console) == [
        "tuning    0/4  held-out 3.000",
        "tuning    2/4  loss 1.500  held-out 2.500  20 tok/s  10 trained/s  rate 1.0e-03",
    ], "and not wrapped, however narrow"


def test_few_lines_in_a_pipe() -> None:
    """However often it evaluates; first and last are always there."""
    display, console = piped(1000)
    with display:
        display.report(held(0))
        for number in range(1, 1001):
            display.report(step(number))
            display.report(held(number))
    lines = shown(display, console)
    assert lines[0].startswith("tuning    0/1000") and lines[-1].startswith("tuning    1000/1000")
    assert MOST_LINES <= len(lines) <= MOST_LINES + 2


def test_a_line_now_and_then_without_held_out_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("instil.train.display.time.monotonic", lambda: now[0])
    display, console = piped(100)
    for number in range(1, 101):
        now[0] += 1
        display.report(step(number))
    assert [line.split()[1] for line in shown(display, console)] == ["31/100", "62/100", "93/100"]


def test_loss_is_a_mean_over_trained_tokens() -> None:
    display, console = piped(2)
    display.report({**step(1, 1.0), "supervised": 30})
    display.report({**step(2, 5.0), "supervised": 10})
    display.report(held(2))
    assert "loss 2.000 " in shown(display, console)[-1]


@pytest.mark.parametrize("done", [0, 3])
def test_on_a_terminal(done: int) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=160, color_system="truecolor", legacy_windows=False)
    display = Display(console, 4, done)
    with display:
        for number in range(done + 1, 5):
            display.report(step(number))
        display.report(held(4))
    text = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", "\n".join(shown(display, console)))
    assert "4/4" in text and "held-out 2.000" in text and "tok/s" in text and "left" in text


def test_a_terminal_is_left_in_order_after_an_error() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, legacy_windows=False)
    display = Display(console, 4)
    with pytest.raises(ZeroDivisionError), display:
        raise ZeroDivisionError
    text = "\n".join(shown(display, console))
    assert text.count("\x1b[?25h") == text.count("\x1b[?25l") == 1, "the cursor is shown again"


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (999.4, "999"), (9_800, "9.8k"), (99_949, "99.9k"), (112_000, "112k"), (1_300_000, "1.3M")]
)
def test_short(number: float, text: str) -> None:
    assert short(number) == text
