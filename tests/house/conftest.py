"""What the laws look at."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.house.source import ROOT, Module, Page, parse


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def package() -> list[Module]:
    """Every file of src/instil."""
    return parse("src/instil")


@pytest.fixture(scope="session")
def pages() -> list[Page]:
    """README.md and everything in docs."""
    files = [file for file in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))] if file.exists()]
    return [Page(file.relative_to(ROOT).as_posix(), file.read_text(encoding="utf-8")) for file in files]


@pytest.fixture(scope="session")
def project() -> dict[str, Any]:
    """pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def rooms() -> list[str]:
    """Names of the rooms there are now."""
    return sorted(init.parent.name for init in (ROOT / "src/instil").glob("*/__init__.py"))
