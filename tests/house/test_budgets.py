"""Law 2: small functions, small files, names that mean something, and nothing that nobody calls."""

import ast
import re
import statistics
from collections import Counter

from tests.house.source import Module, assert_none, body_lines, parse

MOST_FUNCTION = 60
MEDIAN_FUNCTION = 12
MOST_FILE = 400
MEANINGLESS = {"util", "utils", "helper", "helpers", "manager", "common", "misc"}


def words(name: str) -> set[str]:
    """`CheckpointManager` and `checkpoint_manager` -> {checkpoint, manager}"""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name)}


def test_words() -> None:
    assert words("CheckpointManager") == words("_checkpoint_manager") == {"checkpoint", "manager"}
    assert words("BPEUtils") == {"bpe", "utils"}


def test_functions_are_short(package: list[Module]) -> None:
    long = [f"{m.path}:{f.lineno} {f.name}: {n}" for m in package for f in m.functions if (n := body_lines(f)) > MOST_FUNCTION]
    assert_none(f"more than {MOST_FUNCTION} lines", long)


def test_median_function(package: list[Module]) -> None:
    assert statistics.median(body_lines(f) for m in package for f in m.functions) < MEDIAN_FUNCTION


def test_files_are_short() -> None:
    files = parse("src", "tests", "scripts", "benchmarks")
    assert_none(f"more than {MOST_FILE} lines", [f"{m.path}: {n}" for m in files if (n := len(m.text.splitlines())) > MOST_FILE])


def test_names_mean_something(package: list[Module]) -> None:
    files = {m.path for m in package for part in m.path.removesuffix(".py").split("/") if words(part) & MEANINGLESS}
    classes = {f"{m.path}:{c.lineno} {c.name}" for m in package for c in m.classes if words(c.name) & MEANINGLESS}
    assert_none("names that say nothing", files | classes)


def mentioned(module: Module) -> Counter[str]:
    """How often each name is read, imported or reached as an attribute in a file; its own definition does not count."""
    nodes = list(ast.walk(module.tree))
    names = [node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
    names += [node.attr for node in nodes if isinstance(node, ast.Attribute)]
    names += [alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names]
    return Counter(names)


def test_functions_are_used(package: list[Module], project: dict[str, object]) -> None:
    """At module level; what a decorator takes (a verb, a fixture) is used by the decorator, what runs as a script by pyproject.toml."""
    used = sum((mentioned(m) for m in parse("src", "tests", "scripts", "benchmarks")), Counter[str]())
    used += Counter(target.partition(":")[2] for target in project["project"]["scripts"].values())  # type: ignore[index]
    defined = {f"{m.path}:{f.lineno} {f.name}": f for m in package for f in m.functions if f in m.tree.body and not f.decorator_list}
    dunder = re.compile(r"__\w+__")  # module-level __getattr__ and __dir__ are called by Python
    assert_none("never used", [where for where, f in defined.items() if not used[f.name] and not dunder.fullmatch(f.name)])
