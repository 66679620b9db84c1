"""A cache that all runs of a session share, models to tune, a process that forks runs, and two runs that many tests look at."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import alpaca_rows, message_rows, write_model, write_rows
from tests.roads.forks import Forks
from tests.roads.runs import BRISK, command


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `model` (template of its own), `bare` (none), `alpaca.jsonl` (40 rows), `talk.jsonl` (16 rows), `cache`, `runs`.

    Tests only read it.
    """
    folder = tmp_path_factory.mktemp("house")
    write_model(folder / "model")
    write_model(folder / "bare", template=None)
    write_rows(folder / "alpaca.jsonl", alpaca_rows())
    write_rows(folder / "talk.jsonl", message_rows())
    return folder


@pytest.fixture(scope="session")
def forks(house: Path) -> Iterator[Forks]:
    process = Forks({"INSTIL_CACHE": str(house / "cache"), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"})
    yield process
    process.close()


@pytest.fixture(scope="session")
def full(house: Path, forks: Forks) -> Path:
    """A finished run: all weights, the tokenizer's own template."""
    forks.run(*command(house, **BRISK, name="full"), cwd=house, expect=0)
    return house / "runs" / "full"


@pytest.fixture(scope="session")
def lora(house: Path, forks: Forks) -> Path:
    """A finished run: adapters, and ChatML, whose tokens the tokenizer lacks."""
    knobs = {**BRISK, "template": "chatml", "method": "lora", "train__learning_rate": "3e-2"}
    forks.run(*command(house, "bare", **knobs, name="lora"), cwd=house, expect=0)
    return house / "runs" / "lora"


@pytest.fixture
def here(house: Path, tmp_path: Path) -> Path:
    """An own folder with the house's models and rows in it, under short names."""
    for name in ("model", "bare", "alpaca.jsonl", "talk.jsonl"):
        (tmp_path / name).symlink_to(house / name)
    return tmp_path
