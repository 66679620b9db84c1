"""YAML as people write it: the core schema of YAML 1.2, with the line of every key.

PyYAML reads YAML 1.1, where `on` and `no` are booleans, `12:30` is 750, `010` is 8 and `2e-4` is text. Recipes are read and written by
the later rules, under which only `true` and `false` are booleans and `2e-4` is a number.
"""

import math
import re
from typing import Any

import yaml

from instil.core.errors import UserError

Lines = dict[tuple[str, ...], int]

RESOLVERS = (
    ("null", re.compile(r"~|null|Null|NULL|"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"true|True|TRUE|false|False|FALSE"), list("tTfF")),
    ("int", re.compile(r"[-+]?(?:0|[1-9]\d*)"), list("-+0123456789")),
    (
        "float",
        re.compile(r"[-+]?(?:\.\d+|\d+\.\d*)(?:[eE][-+]?\d+)?|[-+]?\d+[eE][-+]?\d+|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"),
        list("-+.0123456789"),
    ),
    ("merge", re.compile("<<"), ["<"]),
)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[Any]] = {}


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: dict[str, list[Any]] = {}

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _name, _pattern, _first in RESOLVERS:
    for _reader in (_Loader, _Dumper):
        _reader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(f"(?:{_pattern.pattern})$"), _first)


def _float(dumper: yaml.SafeDumper, value: float) -> yaml.Node:
    """PyYAML's own representer writes every float that YAML 1.1 would read back; `repr` is what the core schema reads."""
    text = repr(value) if math.isfinite(value) else ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    return dumper.represent_scalar("tag:yaml.org,2002:float", text)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    """Lines as lines, and in quotes whatever is not shown: PyYAML takes some such characters for line breaks."""
    shown = all(line.isprintable() for line in value.split("\n"))
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=('"' if not shown else "|" if "\n" in value else None))


_Dumper.add_representer(float, _float)
_Dumper.add_representer(str, _text)


def parse(text: str, where: str) -> tuple[dict[str, Any], Lines]:
    """The mapping that `text` holds, and the line (from 1) of every key and list entry by its path.

    Raises UserError naming `where` and the line: not YAML, not a mapping, a key that is given twice.
    """
    try:
        node = yaml.compose(text, Loader=_Loader)
        lines: Lines = {}
        if node is not None:
            _note_lines(node, (), lines, where, set())
        values = read_value(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f", line {mark.line + 1}," if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError(f"{where}{at} is not valid YAML ({problem}): check indentation, colons and quotes") from None
    if values is None:
        return {}, lines
    if not isinstance(values, dict):
        kind = "a list" if isinstance(values, list) else repr(values)[:40]
        raise UserError(f"{where} holds {kind}, not `key: value` lines: see `instil train --help` for a first recipe")
    return values, lines


def read_value(text: str) -> Any:
    """The value of a YAML text. Raises yaml.YAMLError."""
    return yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader)


def dump(values: dict[str, Any]) -> str:
    """YAML text that `parse` reads back to equal values."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _note_lines(node: yaml.Node, path: tuple[str, ...], lines: Lines, where: str, inside: set[int]) -> None:
    """Line of every key, and refusal of keys given twice (YAML would silently keep the last). `inside`: nodes seen, for an alias may lead
    back to its own anchor."""
    if id(node) in inside:
        return
    inside.add(id(node))
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise UserError(f"{where}, line {line}: a key must be a word, not a list or mapping: check brackets and `?`")
            if key.value in seen:
                raise UserError(f"{where}, line {line}: '{key.value}' is given twice: keep one")
            seen.add(key.value)
            lines[(*path, key.value)] = line
            _note_lines(value, (*path, key.value), lines, where, inside)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*path, str(index))] = value.start_mark.line + 1
            _note_lines(value, (*path, str(index)), lines, where, inside)
