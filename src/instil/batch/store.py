"""The token store: prepared rows as a folder of memory-mapped arrays, written once in a stream, opened in milliseconds.

    tokens.u32    all tokens, one path after the other
    paths.bin     PATH records: where each path's tokens stop, its context, its weight
    rows.bin      ROW records: one per input row, whatever became of it
    details.utf8  what the ledger says of single rows
    facts.json    sizes and layout of the above, the names behind the codes, and the caller's own facts; written last

A store is keyed by what went into it (`store_key`), so it is never updated, only written anew. `open_store` compares sizes, layout and the
last records; it does not read the tokens, so a flipped bit among them goes unnoticed.
"""

import contextlib
import json
import os
import re
import shutil
import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path as Folder
from typing import Any

import numpy as np

from instil.core.errors import UserError
from instil.core.files import atomic_folder, hash_text, write_text
from instil.core.ledger import OUTCOMES, Entry
from instil.core.values import Origin, Path

# Little-endian and without gaps, so that `struct` writes what NumPy reads. `*_stop` count from the beginning of the store.
TOKEN = np.dtype("<u4")
PATH = np.dtype([("token_stop", "<i8"), ("weight", "<f8"), ("num_context", "<i4")])
ROW = np.dtype(
    [("content", "<u8"), ("prompt", "<u8"), ("line", "<i8"), ("path_stop", "<i8"), ("detail_stop", "<i8")]
    + [(name, "<i4") for name in ("num_tokens", "num_supervised", "file", "task", "reason", "outcome", "part", "stage", "example")]
)
PACK_PATH, PACK_ROW = struct.Struct("<qdi"), struct.Struct("<QQqqq9i")
FILES = {"tokens.u32": TOKEN, "paths.bin": PATH, "rows.bin": ROW, "details.utf8": np.dtype("u1")}
LAYOUT = json.dumps({"paths": PATH.descr, "rows": ROW.descr, "outcomes": OUTCOMES})
STALE_SECONDS = 24 * 3600


class UnusableStore(UserError):
    """There is no store in this folder, or it is damaged, or of another layout. Whoever can should catch this and write it anew."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """One input row after templating.

    `outcome` is one of the ledger's. `content` and `prompt` are 64-bit hashes of the whole row and of its prompt, 0 where the row was
    refused before hashing. `stage`: when the row's turn comes in a run that has stages, 0 where the row does not say. `example`: other rows
    show it as a worked example. `paths` are in the order of the conversation; a row that is kept or shortened has at least one.
    """

    origin: Origin
    outcome: str
    reason: str | None = None
    detail: str | None = None
    content: int = 0
    prompt: int = 0
    task: str | None = None
    paths: tuple[Path, ...] = ()
    stage: int = 0
    example: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Store:
    """An open store of R rows. All arrays are read-only views of the files; columns are strided, copy one that is read more than once."""

    folder: Folder
    files: list[str]
    tasks: list[str]
    reasons: list[str]
    facts: dict[str, Any]
    """The caller's."""
    rows_R: np.ndarray
    """ROW records. Codes -1 in `task` and `reason` mean none."""
    paths_P: np.ndarray
    """PATH records"""
    tokens_T: np.ndarray
    """uint32"""
    details: np.ndarray
    """UTF-8"""

    def __len__(self) -> int:
        return len(self.rows_R)

    @property
    def outcome(self) -> np.ndarray:
        """[R] index into `ledger.OUTCOMES`."""
        return self.rows_R["outcome"]

    @property
    def content(self) -> np.ndarray:
        """[R] uint64 hash of the whole row."""
        return self.rows_R["content"]

    @property
    def prompt(self) -> np.ndarray:
        """[R] uint64 hash of the prompt."""
        return self.rows_R["prompt"]

    @property
    def task(self) -> np.ndarray:
        """[R] index into `tasks`, -1: none."""
        return self.rows_R["task"]

    @property
    def stage(self) -> np.ndarray:
        """[R] stage of a run, from 1; 0: none."""
        return self.rows_R["stage"]

    @property
    def example(self) -> np.ndarray:
        """[R] 1 where other rows show the row as a worked example, else 0."""
        return self.rows_R["example"]

    @property
    def file(self) -> np.ndarray:
        """[R] index into `files`."""
        return self.rows_R["file"]

    @property
    def token_counts(self) -> tuple[np.ndarray, np.ndarray]:
        """[R] tokens of all paths of a row, [R] of which supervised."""
        return self.rows_R["num_tokens"], self.rows_R["num_supervised"]

    def paths(self, row: int) -> list[Path]:
        """The row's paths; their tokens are views, not copies."""
        first, stop = self._span("path_stop", row, self.rows_R)
        found = []
        for index in range(first, stop):
            start, end = self._span("token_stop", index, self.paths_P)
            record = self.paths_P[index]
            found.append(Path(self.tokens_T[start:end], int(record["num_context"]), float(record["weight"])))
        return found

    def entry(self, row: int, outcome: int | None = None) -> Entry:
        """The row's line in the ledger; `outcome`, a code, overrides the stored one (a row that was prepared may be held out later)."""
        record = self.rows_R[row]
        start, stop = self._span("detail_stop", row, self.rows_R)
        return Entry(
            Origin(self.files[record["file"]], int(record["line"]), int(record["part"])),
            OUTCOMES[record["outcome"] if outcome is None else outcome],
            self.reasons[record["reason"]] if record["reason"] >= 0 else None,
            self.details[start:stop].tobytes().decode() or None,
            f"{record['content']:016x}" if record["content"] else None,
        )

    def entries(self, outcomes_R: np.ndarray | None = None) -> Iterator[Entry]:
        """All rows in order; `outcomes_R`, codes, override the stored ones."""
        for row, outcome in enumerate((self.outcome if outcomes_R is None else outcomes_R).tolist()):
            yield self.entry(row, outcome)

    def _span(self, field: str, index: int, records: np.ndarray) -> tuple[int, int]:
        assert 0 <= index < len(records), f"{index} of {len(records)}"
        return int(records[field][index - 1]) if index else 0, int(records[field][index])


def store_key(*parts: str) -> str:
    """Name of the store made from `parts` (hashes of files, template, tokenizer, options) in this layout; hex, 128 bits."""
    return hash_text(LAYOUT, *parts)


def cache_folder() -> Folder:
    """Where stores lie: INSTIL_CACHE, else ~/.cache/instil."""
    return Folder(os.environ.get("INSTIL_CACHE") or "~/.cache/instil").expanduser()


def write_store(folder: Folder, rows: Iterable[Prepared], facts: dict[str, Any]) -> None:
    """Write `rows` to `folder` as they come; memory grows with the number of distinct files, tasks and reasons only.

    `facts` is the caller's, JSON. The folder appears only when everything is on the disk; an existing one is replaced.
    """
    _remove_stale(folder.parent)
    with atomic_folder(folder) as temporary:
        with contextlib.ExitStack() as stack:
            tokens, paths, records, details = (stack.enter_context(open(temporary / name, "wb", buffering=1 << 20)) for name in FILES)
            codes: dict[str, dict[str, int]] = {"files": {}, "tasks": {}, "reasons": {}}
            num_tokens = num_paths = num_bytes = 0
            for row in rows:
                assert row.paths or row.outcome not in ("kept", "shortened"), f"{row.origin} is {row.outcome} without a path"
                before = num_tokens
                for path in row.paths:
                    num_tokens += len(path.tokens)
                    tokens.write(path.tokens.astype(TOKEN).tobytes())
                    paths.write(PACK_PATH.pack(num_tokens, path.weight, path.num_context))
                num_paths += len(row.paths)
                num_bytes += details.write((row.detail or "").encode("utf-8", "backslashreplace"))  # lone surrogates occur in JSON
                counts = num_tokens - before, sum(path.num_completion for path in row.paths)
                named = [_code(codes["files"], row.origin.file), _code(codes["tasks"], row.task), _code(codes["reasons"], row.reason)]
                whole = OUTCOMES.index(row.outcome), row.origin.part, row.stage, row.example
                begins = row.content, row.prompt, row.origin.line, num_paths, num_bytes
                records.write(PACK_ROW.pack(*begins, *counts, *named, *whole))
        sizes = {name: (temporary / name).stat().st_size for name in FILES}
        known = {"layout": LAYOUT, "sizes": sizes, "facts": facts, **{kind: list(names) for kind, names in codes.items()}}
        write_text(temporary / "facts.json", json.dumps(known, indent=2))  # ASCII: names of files may hold lone surrogates


def open_store(folder: Folder) -> Store:
    """Map the store in `folder`. Raises UnusableStore."""
    if not (folder / "facts.json").exists():
        raise UnusableStore(f"there is no token store in {folder}: prepare the data first")
    try:
        known = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        if known["layout"] != LAYOUT:
            raise UnusableStore(f"the token store {folder} was written by another version of instil: delete it and prepare the data again")
        if known["sizes"] != {name: (folder / name).stat().st_size for name in FILES}:
            raise ValueError
        tokens, paths, rows, details = (_map(folder / name, dtype) for name, dtype in FILES.items())
        for records, field, counted in ((paths, "token_stop", tokens), (rows, "path_stop", paths), (rows, "detail_stop", details)):
            if (int(records[field][-1]) if len(records) else 0) != len(counted):
                raise ValueError
        return Store(folder, known["files"], known["tasks"], known["reasons"], known["facts"], rows, paths, tokens, details)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        raise UnusableStore(f"the token store {folder} is damaged: delete it and prepare the data again") from None


def _map(file: Folder, dtype: np.dtype) -> np.ndarray:
    if not file.stat().st_size:  # an empty file cannot be mapped
        return np.empty(0, dtype)
    return np.memmap(file, dtype, "r").view(np.ndarray)  # slices of np.memmap itself are slow


def _code(codes: dict[str, int], name: str | None) -> int:
    return -1 if name is None else codes.setdefault(name, len(codes))


def _remove_stale(parent: Folder) -> None:
    """Remove what killed writers left in the cache. By age, not by process id: machines may share a cache."""
    for left in parent.glob(".*.tmp"):
        if re.fullmatch(r"\.[0-9a-f]{32}\.\d+\.tmp", left.name):  # atomic_folder's name for a `store_key`
            with contextlib.suppress(OSError):  # its writer may be about to finish, or somebody else
                if time.time() - max(file.stat().st_mtime for file in [left, *left.iterdir()]) > STALE_SECONDS:
                    shutil.rmtree(left, ignore_errors=True)
