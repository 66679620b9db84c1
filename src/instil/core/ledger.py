"""What became of every input row. Nothing vanishes: rows in equal the sum of outcomes, checked before the first step."""

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from instil.core.errors import UserError
from instil.core.files import atomic_file
from instil.core.values import Origin

OUTCOMES = ("kept", "shortened", "refused", "duplicate", "held out", "not taken")

# Reason codes of refused rows. True: `allow: [code]` in the recipe can override it.
REASONS = {
    "bad_json": True,  # the line is not JSON; allowed: the row is refused and the run goes on
    "bad_row": False,  # the row lacks what its format needs
    "no_answer": False,  # no assistant turn to train
    "empty_answer": True,  # the answer to be trained is empty
    "control_token": True,  # text contains a control token's string
    "template_error": False,  # the template refuses the conversation
    "inexact": True,  # the served prompt is not how the template renders the trained turn
    "answer_missing": True,  # the template does not render the answer as written
    "no_stop": True,  # nothing that stops generation follows the answer
    "two_bos": True,  # the prompt begins with more than one BOS
    "unencodable": True,  # the tokenizer cannot spell the answer
    "overlong": False,  # longer than max_length, and cannot be shortened by whole turns
}
ALLOWABLE = tuple(code for code, allowed in REASONS.items() if allowed)


@dataclass(frozen=True, slots=True)
class Entry:
    """One row's fate."""

    origin: Origin
    outcome: str
    reason: str | None = None
    detail: str | None = None
    id: str | None = None


@dataclass(frozen=True)
class Counts:
    """Rows read, rows by outcome, refusals by reason."""

    rows: int
    outcomes: Counter[str]
    reasons: Counter[str]

    def check(self) -> "Counts":
        assert self.rows == sum(self.outcomes.values()), f"{self.rows} rows read, {sum(self.outcomes.values())} accounted for"
        return self

    def sentence(self) -> str:
        """`1,100 rows: 1,045 kept, 55 held out, 0 refused`."""
        shown = [f"{self.outcomes[o]:,} {o}" for o in OUTCOMES if self.outcomes[o] or o in ("kept", "refused")]
        return f"{self.rows:,} rows: {', '.join(shown)}"


def write_ledger(path: Path, entries: Iterable[Entry]) -> Counts:
    """Stream `entries` to a JSONL file, one line a row, and count them."""
    outcomes: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    rows = 0
    with atomic_file(path) as file:
        for entry in entries:
            assert entry.outcome in OUTCOMES, entry.outcome
            rows += 1
            outcomes[entry.outcome] += 1
            if entry.reason:
                reasons[entry.reason] += 1
            record = {"file": entry.origin.file, "line": entry.origin.line, **dataclasses.asdict(entry)}
            del record["origin"]
            file.write(json.dumps({k: v for k, v in record.items() if v is not None}, ensure_ascii=False) + "\n")
    return Counts(rows, outcomes, reasons).check()


def read_ledger(path: Path) -> Iterator[Entry]:
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                record = json.loads(line)
                yield Entry(Origin(record.pop("file"), record.pop("line")), **record)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist: this is not a finished run folder") from error
