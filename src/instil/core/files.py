"""Files that are either wholly there or not there: temporary name, fsync, rename."""

import contextlib
import ctypes
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
    """Turn what is wrong with the disk or the path into one sentence; everything else propagates."""
    try:
        yield
    except OSError as error:
        sentence = {
            errno.ENOSPC: f"no space left on the disk that holds {path}: free some, then start again; what was there before is intact",
            errno.EDQUOT: f"the disk quota is used up at {path}: free some space, then start again; what was there before is intact",
            errno.EROFS: f"{path} lies on a read-only file system: choose another folder",
            errno.EACCES: f"no permission to write {path}: choose another folder or change its permissions",
            errno.EFBIG: f"{path} exceeds the largest file allowed here (see `ulimit -f`): choose another folder, or raise that limit",
            errno.ENOTDIR: f"{path} cannot be made, because a part of that path is a file: choose another folder",
            errno.EISDIR: f"{path} is a folder: give the name of a file",
            errno.EEXIST: f"{path} cannot be made, because a part of that path is a file: choose another folder",
            errno.ENAMETOOLONG: f"the name {path} is too long for its file system: choose a shorter one",
        }.get(error.errno or 0)
        if sentence is None:
            raise
        raise UserError(sentence) from error


def _sync(place: Path) -> None:
    """Make a file's content, or the names in a folder, survive a power cut."""
    handle = os.open(place, os.O_RDONLY)
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
            # A lone surrogate (a file name that is not UTF-8) becomes \udcxx, which is a valid escape in JSON.
            encoding, errors = (None, None) if "b" in mode else ("utf-8", "backslashreplace")
            with open(temporary, mode, encoding=encoding, errors=errors) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _sync(path.parent)
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
            for part in (*temporary.rglob("*"), temporary):
                _sync(part)
            rename_folder(temporary, path)
            _sync(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def rename_folder(new: Path, path: Path) -> None:
    """Give `new` the name `path`. A folder that has it already has the name `new` afterwards, or is gone."""
    if not path.is_dir():
        os.replace(new, path)
    elif not _exchange(new, path):
        old = new.with_suffix(".old")
        os.replace(path, old)  # until the next line is done there is no `path`, where the system cannot exchange names
        os.replace(new, path)
        shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step, so that there is never a moment without either. False where the system cannot: only Linux does."""
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    here, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of <linux/fcntl.h> and <linux/fs.h>
    return bool(renameat2(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0)


def write_text(path: Path, text: str) -> None:
    with atomic_file(path) as file:
        file.write(text)


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """The value in a JSON file that instil wrote. Raises UserError where it is missing or damaged."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} is missing: restore it or start a new run") from None
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): restore it or start a new run") from None


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Records of a JSONL file that instil wrote, none where there is no file; a last line cut by a kill is left out. Raises UserError where
    another line is damaged."""
    if not path.exists():
        return
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if line.endswith(b"\n"):
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise UserError(f"{path}, line {number}, is damaged ({error}): restore the file or start a new run") from None


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
