"""Files that are either wholly there or not there: temporary name, fsync, rename."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from instil.core.errors import UserError


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full or read-only disk into one sentence; everything else propagates."""
    try:
        yield
    except OSError as error:
        sentence = {
            errno.ENOSPC: f"no space left on the disk that holds {path}: free some, then start again; what was there before is intact",
            errno.EDQUOT: f"the disk quota is used up at {path}: free some space, then start again; what was there before is intact",
            errno.EROFS: f"{path} lies on a read-only file system: choose another folder",
            errno.EACCES: f"no permission to write {path}: choose another folder or change its permissions",
        }.get(error.errno or 0)
        if sentence is None:
            raise
        raise UserError(sentence) from error


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def atomic_file(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """A file under a temporary name that becomes `path` only if the block ends well."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, mode, encoding=None if "b" in mode else "utf-8") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A folder under a temporary name that becomes `path` only if the block ends well. An existing `path` is replaced."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with disk_errors(path):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            yield temporary
            for file in (f for f in temporary.rglob("*") if f.is_file()):
                with open(file, "rb") as handle:
                    os.fsync(handle.fileno())
            old = path.with_name(f".{path.name}.{os.getpid()}.old")
            if path.exists():
                os.replace(path, old)
            os.replace(temporary, path)
            sync_folder(path.parent)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    with atomic_file(path) as file:
        file.write(text)


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is damaged (line {error.lineno}: {error.msg}): restore it or start a new run") from error


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Records of a JSONL file that instil wrote; a last line cut by a kill is left out."""
    if not path.exists():
        return
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)


def hash_file(path: Path) -> str:
    """blake2b of the content, hex, 128 bits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def hash_text(*parts: str) -> str:
    """blake2b over `parts`, each preceded by its length so that no two lists of parts collide; hex, 128 bits."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()
