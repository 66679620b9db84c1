"""From a YAML file and `--section.key value` flags to a checked `Recipe`. Every mistake is one sentence with file, line and key."""

import json
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from instil.core.errors import UserError, nearest
from instil.core.recipe import Recipe, as_sources
from instil.core.yaml_text import Lines, dump, parse, read_value

Key = tuple[str, ...]

# Knobs that exclude each other: a flag for one takes the place of the other in the file.
RIVALS: dict[Key, Key] = {("train", "steps"): ("train", "epochs"), ("train", "epochs"): ("train", "steps")}

# Pydantic's types of error in plainer words than its own.
REQUIREMENTS = {
    "string_type": "be text",
    "list_type": "be a list",
    "dict_type": "be a mapping",
    "bool_type": "be true or false",
    "bool_parsing": "be true or false",
    "int_type": "be a whole number",
    "int_parsing": "be a whole number",
    "int_from_float": "be a whole number",
    "float_type": "be a number",
    "float_parsing": "be a number",
    "finite_number": "be finite",
    "too_short": "have at least one entry",
    "invalid_key": "be a name",
}


def load_recipe(source: str | Path | Mapping[str, Any] | None, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe in the YAML file `source` (or a mapping of the same shape; None: overrides alone) under dotted `overrides` such as
    `{"train.batch": "32"}`, checked as a whole. A text among the overrides is read as YAML where its knob is not text itself.

    Raises UserError naming the file, the line and the key.
    """
    values: dict[str, Any]
    lines: Lines = {}
    if source is None or isinstance(source, Mapping):
        values, where = _copied(source or {}), "the recipe" if source is not None else "the command line"
    else:
        where = str(source)
        values, lines = parse(_read(Path(source)), where)
        values.setdefault("name", Path(source).stem)
    flags = {tuple(name.split(".")): value for name, value in (overrides or {}).items()}
    for key, value in flags.items():
        rival = RIVALS.get(key)
        if rival is not None and rival not in flags and isinstance(values.get(rival[0]), dict):
            values[rival[0]].pop(rival[1], None)
        _put(values, key, read_flag(key, value))
    return check_recipe(values, where, lines, flags)


def check_recipe(values: Mapping[str, Any], where: str = "the recipe", lines: Lines | None = None, flags: Iterable[Key] = ()) -> Recipe:
    """The recipe that `values` hold. A section with nothing beneath it is as good as left out. Raises UserError."""
    kept = {k: v for k, v in values.items() if v is not None or k not in Recipe.model_fields or section_at((k,)) is None}
    try:
        return Recipe.model_validate(kept)
    except ValidationError as error:
        sentences = dict.fromkeys(_sentences(error.errors(), where, lines or {}, list(flags)))
        raise UserError("; ".join(list(sentences)[:3])) from None


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe as YAML: what `load_recipe` reads back to an equal value."""
    values = recipe.model_dump()
    if recipe.train.steps is not None:
        del values["train"]["epochs"]
    return dump(values)


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section class inside an annotation such as `Train` or `list[Source]`, None for a plain knob."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias) and issubclass(annotation, BaseModel):
        return annotation
    return next((s for a in typing.get_args(annotation) if (s := section_of(a))), None)


def section_at(key: Sequence[str]) -> type[BaseModel] | None:
    """The section that a key such as ("train",) or ("data", "0") names, the recipe itself for (); None where it is no section."""
    section: type[BaseModel] | None = Recipe
    for part in key:
        if not part.isdigit():
            field = section.model_fields.get(part) if section else None
            section = section_of(field.annotation) if field else None
    return section


def kinds_of(key: Sequence[str]) -> list[Any]:
    """What a knob accepts: its annotation with unions taken apart. Empty where there is no such knob, or it lies in a free mapping."""
    section = section_at(key[:-1])
    field = section.model_fields.get(key[-1]) if section else None
    return _kinds(field.annotation) if field else []


def _kinds(annotation: Any) -> list[Any]:
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _kinds(typing.get_args(annotation)[0])
    if origin is typing.Union or origin is types.UnionType:
        return [kind for part in typing.get_args(annotation) for kind in _kinds(part)]
    return [annotation]


def takes_list(key: Sequence[str]) -> bool:
    return any(typing.get_origin(kind) is list for kind in kinds_of(key))


def read_flag(key: Key, given: Any) -> Any:
    """What a flag's text means for its knob; what is not text is taken as it is.

    A text knob takes any text to the letter (`--system "Answer: in a word"`), a list knob `[a, b]` or its only entry, any other knob YAML.
    """
    if isinstance(given, list) and takes_list(key):
        return [entry for one in given for entry in _entries(key, one)]
    if not isinstance(given, str):
        return given
    kinds = kinds_of(key)
    if given == "null" and type(None) in kinds:
        return None
    literals = {value for kind in kinds if typing.get_origin(kind) is typing.Literal for value in typing.get_args(kind)}
    if str in kinds or given in literals or "columns" in key[:-1]:  # the columns of a file, too, may have any name
        return given
    return _entries(key, given) if takes_list(key) else _as_yaml(given)


def _entries(key: Key, given: Any) -> list[Any]:
    """What one value adds to a list knob. A path is never read as YAML."""
    value = _as_yaml(given) if isinstance(given, str) and section_at(key) is None else given
    return value if isinstance(value, list) else [given]


def _as_yaml(text: str) -> Any:
    try:
        return read_value(text) if text.strip() else text
    except yaml.YAMLError:
        return text  # it merely looks odd; the knob's type decides


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"recipe {path} does not exist: check the path, or see `instil train --help` for a first recipe") from None
    except (IsADirectoryError, UnicodeDecodeError):
        raise UserError(f"recipe {path} is not a YAML text file: give the path of a recipe") from None
    except OSError as error:
        raise UserError(f"recipe {path} cannot be read ({error.strerror}): check its permissions") from None


def _copied(value: Any) -> Any:
    """Nested mappings and lists that may be changed; what they hold is shared."""
    if isinstance(value, Mapping):
        return {key: _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list | tuple) else value


def _put(values: dict[str, Any], key: Key, value: Any) -> None:
    """Set the knob `key`, making the sections and the source on the way to it where there are none."""
    flag = f"--{'.'.join(key)}"
    if key[0] == "data" and len(key) > 1:
        values["data"] = as_sources(values["data"]) if values.get("data") is not None else []
    here: Any = values
    for part in key[:-1]:
        if isinstance(here, list):
            if not part.isdigit() or int(part) > len(here):
                raise UserError(f"{flag}: '{part}' must be a number from 0 to {len(here)} ({len(here)} adds an entry)")
            if int(part) == len(here):
                here.append({})
            here = here[int(part)]
        else:
            if here.get(part) is None:
                here[part] = {}
            here = here[part]
        if not isinstance(here, dict | list):
            raise UserError(f"{flag}: '{part}' is {_spelled(here)}, and there are no knobs in it")
    if isinstance(here, list):
        raise UserError(f"{flag} names an entry, not a knob of it: write e.g. {flag}.path")
    here[key[-1]] = value


def _sentences(errors: Sequence[Any], where: str, lines: Lines, flags: Sequence[Key]) -> Iterable[str]:
    """One for each knob that is wrong, in the recipe's order of knobs."""
    wrong: dict[Key, list[Any]] = {}
    for error in errors:
        path = tuple(str(part) for part in error["loc"] if not (isinstance(part, str) and part.startswith(("list[", "literal["))))
        wrong.setdefault(path, []).append(error)
    for path, about in wrong.items():
        starts = [path[:n] for n in range(len(path), 0, -1)]
        beneath = (flag for flag in flags if flag[: len(path)] == path)
        flag = next((start for start in starts if start in flags), next(beneath, None))
        line = next((lines[start] for start in starts if start in lines), None)
        at = f"--{'.'.join(flag)}" if flag else f"{where}, line {line}" if line else where
        complaint = _complaint(path, about)
        named = complaint.startswith(f"{'.'.join(path)} ") and flag == path
        yield f"--{complaint}" if named else f"{at}: {complaint}"


def _complaint(path: Key, errors: Sequence[Any]) -> str:
    """What is wrong with the knob at `path`; several errors are the alternatives that it has."""
    name, error = ".".join(path), errors[0]
    section = section_at(path[:-1]) or Recipe
    if error["type"] == "extra_forbidden":
        inside = f" in {'.'.join(path[:-1])}" if path[:-1] else ""
        homes = _homes(path[-1])
        return f"unknown key '{path[-1]}'{inside}; {nearest(homes[0], homes) if homes else nearest(path[-1], section.model_fields)}"
    if error["type"] == "missing":
        return f"'{name}' is missing: {(section.model_fields[path[-1]].description or '').rstrip('.')}"
    if error["type"] == "value_error":
        return f"{name} does not fit: {error['msg'].removeprefix('Value error, ')}"
    if error["type"] == "model_type":
        return f"{name} must be a section of knobs, not {_spelled(error['input'])}"
    must = " or ".join(REQUIREMENTS.get(e["type"], e["msg"].removeprefix("Input should ")) for e in errors)
    return f"{name} must {must}, not {_spelled(error['input'])}"


def _homes(name: str) -> list[str]:
    """Dotted names of the knobs called `name`, the top's first."""
    inner = [f"{top}.{name}" for top in Recipe.model_fields if (s := section_at((top,))) and name in s.model_fields and top != "data"]
    return ([name] if name in Recipe.model_fields else []) + inner


def _spelled(value: Any) -> str:
    """As it stands in YAML."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:80] + "..."
