"""Where a verb writes: figures and answers to stdout, what is said about answers to stderr. Imported when a verb runs, not for help."""

import sys
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from instil.stages.say import harmless


class _Console(Console):
    """Rich would end the program with code 1 when the reader of a pipe has gone; `cli.main` ends it as other programs end."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def output() -> Console:
    return _Console(highlight=False)


@dataclass(frozen=True)
class Screen:
    """Where answers and remarks go, and whether somebody sits there."""

    answers: Console
    remarks: Console
    interactive: bool

    def remark(self, text: str, style: str = "dim") -> None:
        self.remarks.print(harmless(text), style=style, markup=False, emoji=False, soft_wrap=True)

    def piece(self, text: str, end: str = "") -> None:
        """A part of an answer, to the letter, past rich, which would expand tabs; but a terminal gets no control characters to obey."""
        self.answers.file.write((harmless(text) if self.answers.is_terminal else text) + end)
        self.answers.file.flush()

    def side_by_side(self, texts: dict[str, str]) -> None:
        """A table with a column for each text; in a pipe one after the other."""
        if not self.answers.is_terminal:
            for name, text in texts.items():
                self.piece(f"{name}: {text}", end="\n")
            return
        table = Table(expand=True, box=box.MINIMAL)
        for name in texts:
            table.add_column(name, ratio=1, overflow="fold")
        table.add_row(*(Text(harmless(text)) for text in texts.values()))
        self.answers.print(table)


def screen() -> Screen:
    return Screen(output(), _Console(highlight=False, stderr=True), sys.stdin.isatty())
