"""Where a verb writes: answers and figures to stdout, what is said about them to stderr."""

import sys

from rich.console import Console


class _Console(Console):
    """Rich ends the program with code 1 when the reader of a pipe has gone; `cli.main` ends it as other programs do."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def output() -> Console:
    return _Console(highlight=False)


def remarks() -> Console:
    return _Console(highlight=False, stderr=True)


def is_interactive() -> bool:
    return sys.stdin.isatty()
