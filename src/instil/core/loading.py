"""From a YAML file and `--section.key value` flags to a checked `Recipe`. Every mistake is one sentence with file, line and key."""

import contextlib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from instil.core.errors import UserError, nearest
from instil.core.recipe import Recipe


def load_recipe(path: str | Path | None, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read `path` (None: overrides alone), apply dotted `overrides` such as `{"train.batch": "32"}`, and check everything.

    Raises UserError naming the file, the line and the key.
    """
    text = _read(Path(path)) if path is not None else ""
    values, lines = _parse(text, str(path))
    for key, value in (overrides or {}).items():
        _put(values, key.split("."), value)
    if path is not None:
        values.setdefault("name", Path(path).stem)
    return check_recipe(values, str(path) if path is not None else "the command line", lines)


def check_recipe(values: Mapping[str, Any], where: str = "the recipe", lines: Mapping[tuple[str, ...], int] | None = None) -> Recipe:
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise UserError("; ".join(_sentence(e, where, lines or {}) for e in error.errors()[:3])) from None


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe as YAML: what `load_recipe` reads back to an equal value."""
    values = recipe.model_dump(mode="json")
    if recipe.train.steps is not None:
        del values["train"]["epochs"]
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"recipe {path} does not exist: check the path, or see `instil train --help` for a first recipe") from None
    except (IsADirectoryError, UnicodeDecodeError):
        raise UserError(f"recipe {path} is not a YAML text file: give the path of a recipe") from None


def _parse(text: str, where: str) -> tuple[dict[str, Any], dict[tuple[str, ...], int]]:
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        lines: dict[tuple[str, ...], int] = {}
        if node is not None:
            _note_lines(node, (), lines, where)
        values = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{where}{at} is not valid YAML ({getattr(error, 'problem', error)}): check indentation and colons") from None
    if not isinstance(values, dict):
        raise UserError(f"{where} must hold `key: value` lines, not a {type(values).__name__}")
    return values, lines


def _note_lines(node: yaml.Node, path: tuple[str, ...], lines: dict[tuple[str, ...], int], where: str) -> None:
    """Line of every key, and refusal of keys given twice (YAML would silently keep the last)."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                raise UserError(f"{where}, line {key.start_mark.line + 1}: '{key.value}' is given twice: keep one")
            seen.add(key.value)
            lines[(*path, key.value)] = key.start_mark.line + 1
            _note_lines(value, (*path, key.value), lines, where)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*path, str(index))] = value.start_mark.line + 1
            _note_lines(value, (*path, str(index)), lines, where)


def _put(values: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    if isinstance(value, str):
        with contextlib.suppress(yaml.YAMLError):  # a string that merely looks odd; the field's type decides
            value = yaml.safe_load(value) if value.strip() else value
    here: Any = values
    for key in keys[:-1]:
        if isinstance(here, list):
            here = here[_index(here, key, keys)]
        else:
            if not isinstance(here.get(key), dict | list):
                here[key] = {}
            here = here[key]
    if isinstance(here, list):
        here[_index(here, keys[-1], keys)] = value
    else:
        here[keys[-1]] = value


def _index(values: list[Any], key: str, keys: Sequence[str]) -> int:
    if key.isdigit() and int(key) < len(values):
        return int(key)
    raise UserError(f"--{'.'.join(keys)}: '{key}' must be one of 0..{len(values) - 1}, the entries that the recipe lists")


def _sentence(error: Any, where: str, lines: Mapping[tuple[str, ...], int]) -> str:
    path = tuple(str(part) for part in error["loc"] if not (isinstance(part, str) and part.startswith(("list[", "literal["))))
    line = next((lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in lines), None)
    at = f"{where}, line {line}" if line else where
    key = ".".join(path)
    if error["type"] == "extra_forbidden":
        section = ".".join(path[:-1])
        known = _section_at(path[:-1]).model_fields
        return f"{at}: unknown key '{path[-1]}'{f' in {section}' if section else ''}; {nearest(path[-1], known)}"
    if error["type"] == "missing":
        return f"{at}: '{key}' is missing; {_section_at(path[:-1]).model_fields[path[-1]].description}"
    message = error["msg"].removeprefix("Value error, ")
    given = "" if error["type"] == "value_error" else f", not {error['input']!r}"
    return f"{at}: {key}: {message[0].lower()}{message[1:]}{given}" if key else f"{at}: {message}"


def _section_at(path: Sequence[str]) -> type[BaseModel]:
    section: type[BaseModel] = Recipe
    for part in path:
        if not part.isdigit():
            section = section_of(section.model_fields[part].annotation) or section
    return section


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section class inside an annotation such as `Train` or `list[Source]`, None for a plain knob."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias) and issubclass(annotation, BaseModel):
        return annotation
    return next((s for a in typing.get_args(annotation) if (s := section_of(a))), None)
