"""The house as its laws see it: the source files parsed, and the pages cut into what they claim."""

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Module:
    """One parsed file. `path` is relative to the project, with forward slashes."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @cached_property
    def functions(self) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
        return [node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]

    @cached_property
    def classes(self) -> list[ast.ClassDef]:
        return [node for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef)]

    @cached_property
    def public_functions(self) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
        """Those at module level without a leading underscore."""
        return [f for f in self.functions if f in self.tree.body and not f.name.startswith("_")]


@dataclass(frozen=True)
class Page:
    """One Markdown file. `code`: what stands between backticks, fenced or not, Python left out; `links`: targets of relative links."""

    path: str
    text: str

    @cached_property
    def code(self) -> list[str]:
        fenced = re.findall(r"^```(\w*)\n(.*?)^```", self.text, flags=re.M | re.S)
        prose = re.sub(r"^```.*?^```", "", self.text, flags=re.M | re.S)
        return [block for language, block in fenced if language not in ("python", "py")] + re.findall(r"`([^`\n]+)`", prose)

    @cached_property
    def links(self) -> list[str]:
        return [link for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", self.text) if "://" not in link and not link.startswith("mailto:")]


def parse(*folders: str) -> list[Module]:
    files = [file for folder in folders for file in sorted((ROOT / folder).rglob("*.py"))]
    return [Module(file.relative_to(ROOT).as_posix(), file.read_text(encoding="utf-8")) for file in files]


def assert_none(what: str, found: Iterable[str]) -> None:
    """Fail with `what` is wrong and every offender on a line of its own."""
    rows = sorted(set(found))
    assert not rows, f"{what}:\n  " + "\n  ".join(rows)


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function from `def` to its end, without its docstring."""
    assert function.end_lineno is not None
    first = function.body[0]
    documented = ast.get_docstring(function) is not None
    return function.end_lineno - function.lineno + 1 - ((first.end_lineno or first.lineno) - first.lineno + 1 if documented else 0)
