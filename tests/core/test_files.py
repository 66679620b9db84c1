"""Files that are wholly there or not at all, whatever happens while they are written."""

import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instil.core import files
from instil.core.errors import UserError
from instil.core.files import atomic_file, atomic_folder, disk_errors, hash_file, hash_text, read_json, read_jsonl, write_json, write_text

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def temporary(path: Path) -> Path:
    """Where this process would write `path` first."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def make_folder(path: Path, text: str) -> None:
    with atomic_folder(path) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "a.txt").write_text(text)


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with atomic_file(path) as file:
        file.write("one")
        assert not path.exists()
    assert path.read_text() == "one" and names(path.parent) == ["a.txt"]
    with atomic_file(path, "wb") as file:
        file.write(b"\xff")
    assert path.read_bytes() == b"\xff"


def test_an_exception_leaves_the_old_file(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(ZeroDivisionError), atomic_file(tmp_path / "a.txt") as file:
        file.write("half of the new")
        file.flush()
        raise ZeroDivisionError
    assert (tmp_path / "a.txt").read_text() == "old" and names(tmp_path) == ["a.txt"]


def test_a_folder_appears_when_it_is_whole(tmp_path: Path) -> None:
    make_folder(tmp_path / "new" / "f", "one")
    assert (tmp_path / "new" / "f" / "inner" / "a.txt").read_text() == "one"
    assert names(tmp_path / "new") == ["f"]


@pytest.mark.parametrize("exchanges", [True, False], ids=["names exchanged", "names moved"])
def test_a_folder_is_replaced_as_a_whole(tmp_path: Path, exchanges: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not exchanges:
        monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    make_folder(tmp_path / "f", "one")
    (tmp_path / "f" / "left over").write_text("x")
    make_folder(tmp_path / "f", "two")
    assert names(tmp_path) == ["f"] and names(tmp_path / "f") == ["inner"]
    assert (tmp_path / "f" / "inner" / "a.txt").read_text() == "two"


def test_an_exception_leaves_the_old_folder(tmp_path: Path) -> None:
    make_folder(tmp_path / "f", "old")
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "f") as folder:
        (folder / "b.txt").write_text("new")
        raise ZeroDivisionError
    assert names(tmp_path) == ["f"] and (tmp_path / "f" / "inner" / "a.txt").read_text() == "old"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux exchanges names")
def test_there_is_always_a_folder(tmp_path: Path) -> None:
    """While one process replaces a folder again and again, another never finds it missing or in part."""
    code = f"""
import pathlib
from instil.core.files import atomic_folder
for k in range(150):
    with atomic_folder(pathlib.Path({str(tmp_path / "f")!r})) as folder:
        for name in "ab":
            (folder / name).write_text(str(k))
"""
    make_folder(tmp_path / "f", "old")
    with subprocess.Popen([sys.executable, "-c", code]) as writer:
        seen = 0
        while writer.poll() is None:
            handle = os.open(tmp_path / "f", os.O_RDONLY)  # FileNotFoundError where it is not there
            try:
                found = set(os.listdir(handle))
            finally:
                os.close(handle)
            assert found in ({"inner"}, {"a", "b"}, {"a"}, {"b"}, set()), found  # what is being removed was taken out of its place before
            seen += 1
    assert writer.returncode == 0 and seen > 10


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_killed_writer_leaves_what_was_there(tmp_path: Path, kind: str) -> None:
    code = f"""
import os, pathlib, signal
from instil.core.files import atomic_file, atomic_folder
path = pathlib.Path({str(tmp_path / "x")!r})
with (atomic_file if {kind!r} == "file" else atomic_folder)(path) as new:
    file = new if {kind!r} == "file" else open(new / "a.txt", "w")
    file.write("half" * 10_000)
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    write_text(tmp_path / "x", "old") if kind == "file" else make_folder(tmp_path / "x", "old")
    for _ in range(2):
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert (tmp_path / "x" if kind == "file" else tmp_path / "x" / "inner" / "a.txt").read_text() == "old"
    write_text(tmp_path / "x", "new") if kind == "file" else make_folder(tmp_path / "x", "new")
    assert (tmp_path / "x" if kind == "file" else tmp_path / "x" / "inner" / "a.txt").read_text() == "new"


@needs_full
def test_a_full_disk_is_a_sentence_and_damages_nothing(tmp_path: Path) -> None:
    """The temporary name leads to /dev/full, on which every write fails as on a disk without space."""
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    temporary(path).symlink_to(FULL)
    with pytest.raises(UserError, match=r"no space left on the disk that holds .*a\.json: free some, then start again; what was there"):
        write_json(path, {"new": "x" * 100_000})
    assert read_json(path) == {"old": 1} and names(tmp_path) == ["a.json"] and FULL.exists()


@needs_full
def test_a_full_disk_under_a_folder(tmp_path: Path) -> None:
    make_folder(tmp_path / "f", "old")
    with pytest.raises(UserError, match="no space left on the disk"), atomic_folder(tmp_path / "f") as folder:
        (folder / "big").symlink_to(FULL)
        (folder / "big").write_text("x" * 100_000)
    assert names(tmp_path) == ["f"] and (tmp_path / "f" / "inner" / "a.txt").read_text() == "old"


def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    write_text(tmp_path / "a", "old")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    try:
        with pytest.raises(UserError, match="largest file allowed here"):
            write_text(tmp_path / "a", "x" * (1 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "a").read_text() == "old" and names(tmp_path) == ["a"]


def test_a_folder_without_permission(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    root = os.geteuid() == 0  # whom permissions do not bind
    if root:
        os.seteuid(65534)
    try:
        with pytest.raises(UserError, match="no permission to write .*choose another folder or change its permissions"):
            write_text(tmp_path / "locked" / "a", "x")
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.parametrize(("number", "words"), [(errno.EROFS, "read-only file system"), (errno.EDQUOT, "the disk quota is used up")])
def test_disks_that_are_not_at_hand(number: int, words: str) -> None:
    with pytest.raises(UserError, match=words), disk_errors(Path("x")):
        raise OSError(number, os.strerror(number))


def test_other_errors_propagate() -> None:
    with pytest.raises(OSError, match="busy"), disk_errors(Path("x")):
        raise OSError(errno.EBUSY, "busy")


def test_places_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="is a folder: give the name of a file"):
        write_text(tmp_path / "folder", "x")
    with pytest.raises(UserError, match="a part of that path is a file: choose another folder"):
        write_text(tmp_path / "file" / "inner", "x")
    with pytest.raises(UserError, match="a part of that path is a file: choose another folder"):
        make_folder(tmp_path / "file" / "inner", "x")
    with pytest.raises(UserError, match="is too long for its file system"):
        write_text(tmp_path / ("x" * 300), "x")
    assert names(tmp_path) == ["file", "folder"]


def test_half_a_surrogate_pair_is_spelled_out(tmp_path: Path) -> None:
    """As file names that are not UTF-8 reach Python; in JSON it is read back as it was."""
    write_json(tmp_path / "a.json", {"file": "caf\udce9.jsonl"})
    (tmp_path / "a.json").read_bytes().decode("ascii")
    assert read_json(tmp_path / "a.json") == {"file": "caf\udce9.jsonl"}


def test_damaged_json_is_a_sentence(tmp_path: Path) -> None:
    for content in (b'{"a": ', b"\xff\xfe", b""):
        (tmp_path / "a.json").write_bytes(content)
        with pytest.raises(UserError, match=r"a\.json is damaged \(.*\): restore it or start a new run"):
            read_json(tmp_path / "a.json")
    with pytest.raises(UserError, match=r"b\.json is missing"):
        read_json(tmp_path / "b.json")


def test_lines_that_a_kill_cut_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    assert list(read_jsonl(path)) == []
    path.write_text('{"a": 1}\n{"a": 2}\n{"a": ')
    assert list(read_jsonl(path)) == [{"a": 1}, {"a": 2}]
    path.write_text('{"a": 1}\n{"a": \n{"a": 3}\n')
    with pytest.raises(UserError, match=r"a\.jsonl, line 2, is damaged"):
        list(read_jsonl(path))


@given(st.lists(st.text(max_size=5), max_size=4), st.lists(st.text(max_size=5), max_size=4))
def test_equal_hashes_mean_equal_parts(one: list[str], other: list[str]) -> None:
    assert (hash_text(*one) == hash_text(*other)) == (one == other)


def test_hashes_are_what_they_were(tmp_path: Path) -> None:
    """Written down, for token stores of other days are found by them; computed with hashlib alone."""
    assert hash_text("instil") == "9b6fe28aa19d8429c9719a91b86582c0"
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    assert hash_file(tmp_path / "a") == "8a44aebb7e711ea58cc067fc0599b483"
