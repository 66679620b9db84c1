"""The store gives back what was written, notices damage, and leaves nothing half-written."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path as Folder

import numpy as np
import pytest

from instil.batch.store import FILES, Prepared, UnusableStore, cache_folder, open_store, store_key, write_store
from instil.core.ledger import OUTCOMES, Entry
from instil.core.values import Origin, Path

SOURCE = Folder(__file__).parents[2] / "src"
WRITER = """
import sys
from pathlib import Path as Folder
import numpy as np
from instil.batch.store import Prepared, write_store
from instil.core.values import Origin, Path

def rows(number):
    tokens = np.arange(30, dtype=np.uint32)
    for line in range(1, number + 1):
        if line == 1000:
            print("going", flush=True)
        yield Prepared(Origin("a.jsonl", line), "kept", None, "said" * (line % 3), line, line, None, (Path(tokens, 9),))

write_store(Folder(sys.argv[1]), rows(int(sys.argv[2])), {})
"""


def writer(folder: Folder, number: int, then: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER + then, str(folder), str(number)]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(SOURCE)}, stdout=subprocess.PIPE, text=True)


def path(*tokens: int, context: int = 1, weight: float = 1.0) -> Path:
    return Path(np.array(tokens, np.uint32), context, weight)


ROWS = [
    Prepared(
        Origin("a.jsonl", 1), "kept", None, None, 2**64 - 1, 7, "qa", (path(1, 2, 2**32 - 1), path(1, 2, 3, 4, context=2, weight=0.1))
    ),
    Prepared(Origin("a.jsonl", 2), "refused", "no_answer", "no turn to train: ‘é’ \ud800"),
    Prepared(Origin("b\udcff.json", 9), "shortened", None, "2 turns left out", 5, 8, None, (path(9, 8, 7),)),
    Prepared(Origin("a.jsonl", 3, 2), "not taken", None, None, 6, 9, "code"),
    Prepared(Origin("a.jsonl", 4), "kept", None, None, 1, 7, "qa", (path(4, 5, weight=1 / 3),), stage=2, example=True),
]


@pytest.fixture
def folder(tmp_path: Folder) -> Folder:
    write_store(tmp_path / "store", ROWS, {"tokenizer": "abc", "rows": 5})
    return tmp_path / "store"


def flat(paths: Iterator[Path] | list[Path] | tuple[Path, ...]) -> list[tuple]:
    return [(one.tokens.tolist(), one.num_context, one.weight) for one in paths]


def test_round_trip(folder: Folder) -> None:
    store = open_store(folder)
    assert len(store) == 5 and store.facts == {"tokenizer": "abc", "rows": 5}
    assert [flat(store.paths(row)) for row in range(5)] == [flat(row.paths) for row in ROWS]
    assert [OUTCOMES[code] for code in store.outcome] == [row.outcome for row in ROWS]
    assert store.content.tolist() == [row.content for row in ROWS] and store.content.dtype == np.uint64
    assert store.prompt.tolist() == [row.prompt for row in ROWS]
    assert store.tasks == ["qa", "code"] and store.task.tolist() == [0, -1, -1, 1, 0]
    assert store.stage.tolist() == [0, 0, 0, 0, 2] and store.example.tolist() == [0, 0, 0, 0, 1]
    assert store.files == ["a.jsonl", "b\udcff.json"] and store.file.tolist() == [0, 0, 1, 0, 0]
    assert [column.tolist() for column in store.token_counts] == [[7, 0, 3, 0, 2], [4, 0, 2, 0, 1]]


def test_entries(folder: Folder) -> None:
    store = open_store(folder)
    entries = list(store.entries())
    assert entries == [store.entry(row) for row in range(5)]
    assert entries[0] == Entry(Origin("a.jsonl", 1), "kept", id="ffffffffffffffff")
    assert entries[1] == Entry(Origin("a.jsonl", 2), "refused", "no_answer", "no turn to train: ‘é’ \\ud800")
    assert entries[2].detail == "2 turns left out"
    assert entries[3].origin == Origin("a.jsonl", 3, 2)
    outcomes = store.outcome.copy()
    outcomes[4] = OUTCOMES.index("held out")
    assert [entry.outcome for entry in store.entries(outcomes)] == ["kept", "refused", "shortened", "not taken", "held out"]


def test_paths_are_read_only_views(folder: Folder) -> None:
    store = open_store(folder)
    tokens = store.paths(2)[0].tokens
    assert np.shares_memory(tokens, store.tokens_T) and not tokens.flags.writeable and tokens.dtype == np.uint32
    with pytest.raises(AssertionError):
        store.paths(-1)


@pytest.mark.parametrize("rows", [[], ROWS[1:2]])
def test_a_store_without_tokens(tmp_path: Folder, rows: list[Prepared]) -> None:
    write_store(tmp_path / "store", rows, {})
    store = open_store(tmp_path / "store")
    assert len(store) == len(rows) == len(list(store.entries()))


def test_kept_rows_need_a_path(tmp_path: Folder) -> None:
    with pytest.raises(AssertionError):
        write_store(tmp_path / "store", [Prepared(Origin("a", 1), "kept")], {})


DAMAGES = [(name, damage) for name in (*FILES, "facts.json") for damage in ("shorter", "longer", "gone")]


@pytest.mark.parametrize(("name", "damage"), [*DAMAGES, ("paths.bin", "zeroed"), ("rows.bin", "zeroed"), ("facts.json", "zeroed")])
def test_damage_is_noticed(folder: Folder, name: str, damage: str) -> None:
    file = folder / name
    data = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes({"shorter": data[:-9], "longer": data + b"x", "zeroed": bytes(len(data))}[damage])
    expected = "no token store in" if (name, damage) == ("facts.json", "gone") else "is damaged"
    with pytest.raises(UnusableStore, match=expected):
        open_store(folder)


def test_another_layout_and_no_store(folder: Folder) -> None:
    facts = folder / "facts.json"
    facts.write_text(facts.read_text().replace("num_supervised", "num_trained"))
    with pytest.raises(UnusableStore, match="another version"):
        open_store(folder)
    with pytest.raises(UnusableStore, match="no token store"):
        open_store(folder.parent / "nowhere")


def test_a_failing_writer_leaves_what_was_there(folder: Folder) -> None:
    def rows() -> Iterator[Prepared]:
        yield ROWS[0]
        raise RuntimeError("reader failed")

    with pytest.raises(RuntimeError):
        write_store(folder, rows(), {})
    assert len(open_store(folder)) == 5
    assert os.listdir(folder.parent) == ["store"]


def test_a_killed_writer_leaves_no_store_and_the_next_one_cleans_up(tmp_path: Folder) -> None:
    folder = tmp_path / store_key("a")
    process = writer(folder, 10**9)
    assert process.stdout is not None and process.stdout.readline() == "going\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with pytest.raises(UnusableStore):
        open_store(folder)
    (left,) = tmp_path.iterdir()
    (tmp_path / ".mine.tmp").mkdir()
    write_store(folder, ROWS, {})
    assert left.exists()  # too young: its writer could be alive
    for file in (left, *left.iterdir(), tmp_path / ".mine.tmp"):
        os.utime(file, (0, 0))
    write_store(folder, ROWS, {})
    assert sorted(os.listdir(tmp_path)) == [".mine.tmp", folder.name] and len(open_store(folder)) == 5


def test_writing_needs_no_memory_per_row_and_opening_no_time(tmp_path: Folder) -> None:
    peaks = []
    for number in (20_000, 100_000):
        process = writer(tmp_path / str(number), number, "import resource\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)")
        peaks.append(int(process.communicate()[0].split()[-1]))
        assert process.returncode == 0
    assert peaks[1] - peaks[0] < 4_000  # KiB; the 80,000 rows between them are 15 MiB on the disk, several times that as objects
    times = []
    for _ in range(5):
        start = time.perf_counter()
        store = open_store(tmp_path / "100000")
        times.append(time.perf_counter() - start)
    assert len(store) == 100_000 and min(times) < 0.05


def test_key_and_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Folder) -> None:
    assert store_key("a", "b") == store_key("a", "b")
    assert len({store_key("a", "b"), store_key("ab"), store_key("b", "a"), store_key()}) == 4
    monkeypatch.setenv("INSTIL_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("INSTIL_CACHE")
    assert cache_folder() == Folder.home() / ".cache" / "instil"
