"""Votes of people who chat, kept as the rows of a preference file: `instil data` and `instil train` read it as it stands.

A choice between two answers has a `chosen` and a `rejected` side. A judgement of one answer alone (a thumb) leaves the other side an empty
list, as instil writes the rows that KTO learns from.
"""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from instil.core.errors import Refused
from instil.core.files import atomic_file, disk_errors, read_jsonl
from instil.core.values import Message


@dataclass(frozen=True)
class Sampled:
    """How an answer was drawn; `max_tokens` None: as many as the context holds."""

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Said:
    """What a model answered."""

    model: str
    text: str


def choice_row(prompt: Sequence[Message], chosen: Said, rejected: Said, sampled: Sampled) -> dict[str, Any]:
    """One answer was liked better than the other. An empty answer that lost is left out: nothing can be learned from it.

    Raises Refused where the vote says nothing that can be learned: an empty answer won, or both are the same.
    """
    if not chosen.text.strip():
        raise Refused("empty_answer", "an empty answer cannot be the better one in a preference file: judge both as bad instead")
    if chosen.text == rejected.text:
        raise Refused("no_preference", "both answers are the same, to the letter: judge them as both good or both bad")
    if not rejected.text.strip():
        return _row(prompt, sampled, kind="blind", chosen=chosen)
    return _row(prompt, sampled, kind="blind", chosen=chosen, rejected=rejected)


def judged_row(prompt: Sequence[Message], answer: Said, good: bool, sampled: Sampled, kind: str) -> dict[str, Any]:
    """One answer was liked, or disliked, by itself. `kind`: `thumb`, or `blind` where it stood in a pair. Refused: it is empty."""
    if not answer.text.strip():
        raise Refused("empty_answer", "an empty answer cannot be judged in a preference file")
    return _row(prompt, sampled, kind=kind, **{"chosen" if good else "rejected": answer})


def _row(
    prompt: Sequence[Message], sampled: Sampled, kind: str, chosen: Said | None = None, rejected: Said | None = None
) -> dict[str, Any]:
    sides = {"chosen": chosen, "rejected": rejected}
    return {
        "prompt": [{"role": m.role, "content": m.content} for m in prompt],
        **{name: [{"role": "assistant", "content": said.text}] if said else [] for name, said in sides.items()},
        **{f"{name}_model": said.model for name, said in sides.items() if said},
        "kind": kind,
        "sampled": asdict(sampled),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def save_vote(path: Path, vote: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Put `rows` in the file in the place of whatever the vote of that id said before; none: the vote is taken back.

    The whole file is written anew and then takes the old one's name, so it is never half there, and two servers may share it. Raises
    UserError where it cannot be written, or holds a line that is no row.
    """
    with _alone(path):
        kept = [row for row in read_jsonl(path) if row.get("vote") != vote]
        with atomic_file(path) as file:
            for row in (*kept, *({**row, "vote": vote} for row in rows)):
                file.write(json.dumps(row) + "\n")  # ASCII: texts may hold half a surrogate pair


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Nobody else changes the file meanwhile. The folder is what is locked, since the file itself is replaced."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
