"""The three kinds of error, and the one thing that looks like an error and is not.

- `UserError`: something outside the program is wrong. One sentence: what, where, what to do. Shown without a traceback, exit code 2.
- `assert`: our own bug.
- everything else propagates.

`Refused` is not an error of the program. It is the outcome of one row, raised where the reason is known and written to the ledger by
whoever reads the rows.
"""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """What is wrong, where, and what to do, in one sentence meant for the person at the terminal."""


class Refused(Exception):
    """One row cannot be used: `code` is a stable reason code (see `core.ledger`), `detail` says it in words."""

    def __init__(self, code: str, detail: str):
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


def nearest(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?` for the known name closest to `word`, else the list of what is known."""
    known = sorted(known)
    if not known:
        return "none is known"
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"
