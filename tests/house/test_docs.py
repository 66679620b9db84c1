"""What README.md and docs say is so: paths exist, verbs, flags and targets are real, the reference is made from the code."""

import importlib
import importlib.util
import re
from pathlib import Path
from typing import Any

import click
import pytest
from pydantic import BaseModel

from instil.core.loading import section_of
from instil.core.recipe import Recipe
from tests.house.source import Page, assert_none

MOST_README = 600
TREES = ("src", "docs", "tests", "benchmarks", "scripts", ".ci")


@pytest.fixture(scope="module")
def app() -> click.Group:
    if importlib.util.find_spec("instil.cli") is None:
        pytest.skip("there is no command line yet")
    return importlib.import_module("instil.cli").app


def test_readme_is_short(root: Path) -> None:
    if not (root / "README.md").exists():
        pytest.skip("there is no README yet")
    assert len((root / "README.md").read_text(encoding="utf-8").split()) <= MOST_README


def test_links_lead_somewhere(root: Path, pages: list[Page]) -> None:
    assert_none("broken links", [f"{p.path}: {link}" for p in pages for link in p.links if not ((root / p.path).parent / link).exists()])


def test_paths_exist(root: Path, pages: list[Page], rooms: list[str]) -> None:
    """Paths from the project's root, and `room/module.py` inside the package. `*` may stand for a part of a name."""
    named = re.compile(rf"(?<![\w./-])((?:{'|'.join(map(re.escape, TREES))})(?:/[\w.*-]+)+)")
    inside = re.compile(rf"(?<![\w./-])((?:{'|'.join(rooms)})/[\w/]+\.py)\b")
    paths = {(page.path, path.rstrip(".")) for page in pages for path in named.findall(page.text)}
    paths |= {(page.path, f"src/instil/{path}") for page in pages for path in inside.findall(page.text)}
    assert_none("paths that do not exist", [f"{page}: {path}" for page, path in paths if not any(root.glob(path))])


def test_verbs_exist(app: click.Group, pages: list[Page]) -> None:
    known = set(app.list_commands(click.Context(app)))
    named = {(page.path, verb) for page in pages for code in page.code for verb in re.findall(r"(?<![\w./-])instil ([a-z][\w-]*)", code)}
    assert_none("verbs that do not exist", [f"{page}: instil {verb}" for page, verb in named if verb not in known])


def test_targets_exist(root: Path, pages: list[Page]) -> None:
    known = set(re.findall(r"^([a-z]+):", (root / "Makefile").read_text(encoding="utf-8"), flags=re.M))
    named = {(page.path, name) for page in pages for code in page.code for name in re.findall(r"^\$? ?make ([a-z]+)", code, flags=re.M)}
    assert_none("targets that do not exist", [f"{page}: make {name}" for page, name in named if name not in known])


def knob_at(path: list[str]) -> bool:
    section: type[BaseModel] | None = Recipe
    for key in (key for key in path if not key.isdigit()):
        if section is None or key not in section.model_fields:
            return False
        section = section_of(section.model_fields[key].annotation)
    return True


def test_flags_exist(pages: list[Page]) -> None:
    """`--section.key` names a knob. A free mapping (`--template_options.enable_thinking`) ends at its own name."""
    named = {(page.path, flag) for page in pages for flag in re.findall(r"--([a-z_]+(?:\.[a-z0-9_]+)+)", page.text)}
    unknown = [(page, flag) for page, flag in named if not knob_at(flag.split(".")) and not flag.startswith("template_options.")]
    assert_none("flags that do not exist", [f"{page}: --{flag}" for page, flag in unknown])


def script_of(root: Path, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, root / f"scripts/{name}.py")
    assert spec and spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_how_far_it_scales_is_current(root: Path) -> None:
    script = script_of(root, "many_gpus")
    assert script.PAGE.read_text(encoding="utf-8") == script.page(), "docs/many_gpus.md is out of date: run `python scripts/many_gpus.py`"


def test_reference_is_current(root: Path) -> None:
    script = script_of(root, "reference")
    assert script.PAGE.read_text(encoding="utf-8") == script.reference(), "docs/reference.md is out of date: run `make docs`"
