"""Law 1: imports point down, and torch begins in model/. Plus: nothing is imported that pip was not told of."""

import ast
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.house.source import ROOT, Module, assert_none

TORCH_FREE = ("core", "data", "curate", "synth", "template", "batch", "plan", "pocket")
HEAVY = ("torch", "transformers", "peft")

# Stands in front of every import: the libraries of the upper floors are as good as not installed.
WITHOUT_TORCH = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)


def needs_cli() -> None:
    if not (ROOT / "src/instil/cli/__init__.py").exists():
        pytest.skip("there is no command line yet")


def test_contracts_of_import_linter() -> None:
    # In a process of its own: import-linter's logging configuration disables every logger that exists, and tests after it listen to some.
    code = f"import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports({str(ROOT / 'pyproject.toml')!r}, no_cache=True))"
    result = python(code)
    assert result.returncode == 0, result.stdout


def test_contracts_name_every_torch_free_room(project: dict[str, Any]) -> None:
    contract = next(c for c in project["tool"]["importlinter"]["contracts"] if c["id"] == "torch")
    below = {name.strip(" ()").removeprefix("instil.") for name in contract["layers"][-1].split(":")}
    assert below == set(TORCH_FREE)


def test_torch_free_rooms_start_without_torch(package: list[Module]) -> None:
    files = [Path(m.path).relative_to("src").with_suffix("") for m in package if m.path.split("/")[2] in TORCH_FREE]
    names = [".".join(file.parts).removesuffix(".__init__") for file in files]
    result = python(f"{WITHOUT_TORCH}\nimport importlib\nfor name in {names!r}: importlib.import_module(name)")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["inspect", "--help"], ["train", "--help"]])
def test_help_starts_without_torch(arguments: list[str]) -> None:
    needs_cli()
    result = python(f"{WITHOUT_TORCH}\nfrom instil.cli import main\nsys.argv = {['instil', *arguments]!r}\nmain()")
    assert result.returncode == 0, result.stderr
    assert "Usage" in result.stdout


def test_help_imports_nothing_slow() -> None:
    needs_cli()
    code = """
import sys
from instil.cli import main
sys.argv = ["instil", "--help"]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(sorted({"torch", "transformers", "peft", "numpy", "pydantic", "pyarrow", "tokenizers"} & set(sys.modules)), file=sys.stderr)
"""
    assert python(code).stderr.strip() == "[]"


def imported(module: Module) -> set[str]:
    """Top-level names of what a file imports from outside."""
    names = {alias.name for node in ast.walk(module.tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(module.tree) if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"instil"}


def canonical(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement.strip())[0]).lower()


def test_imports_are_declared(package: list[Module], project: dict[str, Any]) -> None:
    declared = {canonical(r) for r in project["project"]["dependencies"]}
    for extra, requirements in project["project"]["optional-dependencies"].items():
        declared |= set() if extra in ("test", "dev") else {canonical(r) for r in requirements}
    provided_by = importlib.metadata.packages_distributions()
    undeclared = {
        f"{module.path}: {name}"
        for module in package
        for name in imported(module)
        if not declared & ({canonical(d) for d in provided_by.get(name, ())} or {canonical(name)})
    }
    assert_none("imported and not in pyproject.toml", undeclared)


def test_dependencies_are_imported(package: list[Module], project: dict[str, Any]) -> None:
    provided_by = importlib.metadata.packages_distributions()
    used = {canonical(d) for module in package for name in imported(module) for d in provided_by.get(name, ())}
    assert_none("in pyproject.toml and never imported", {canonical(r) for r in project["project"]["dependencies"]} - used)
