"""A cache for the whole session, so that each tokenizer is set up once; small models; rows written as files."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from instil.core.loading import load_recipe
from instil.core.recipe import Recipe
from tests.fakes import write_model

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where tokenizers and stores lie. Stores of different tests never meet: their keys hold the paths of the data."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INSTIL_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama whose tokenizer has a template of its own: BOS, then `role: content` and EOS for every turn."""
    return write_model(tmp_path_factory.mktemp("models") / "own")


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without a template."""
    return write_model(tmp_path_factory.mktemp("models") / "bare", template=None)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """write(name, *rows) -> the JSONL file's path; a row that is a text is written as it stands."""

    def write(name: str, *rows: Any) -> Path:
        path = tmp_path / name
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


@pytest.fixture
def recipe(model: Path) -> Callable[..., Recipe]:
    """recipe(file, ..., train__batch=3): on `model`, nothing held out unless asked for; a double underscore stands for the dot."""

    def recipe(*data: Path | dict[str, Any], **knobs: Any) -> Recipe:
        sources = [source if isinstance(source, dict) else str(source) for source in data]
        flags = {"model": str(model), "data": sources, "holdout.examples": "0"}
        return load_recipe(None, flags | {name.replace("__", "."): value for name, value in knobs.items()})

    return recipe


@pytest.fixture
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip("the shared data is not beside the project")
    return SHARED
