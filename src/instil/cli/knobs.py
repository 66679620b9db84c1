"""Flags and help for every knob of the recipe, made from the recipe's classes."""

from collections.abc import Sequence
from typing import Any

import click
from pydantic.fields import FieldInfo

from instil.core.errors import UserError
from instil.core.loading import kinds_of, load_recipe, section_of, takes_list
from instil.core.recipe import Knobs, Recipe


class RecipeCommand(click.Command):
    """A verb that takes a recipe, flags that override it, and lists every knob in its help."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, rows in knob_table():
            with formatter.section(title):
                formatter.write_dl(rows)


def knob_table() -> list[tuple[str, list[tuple[str, str]]]]:
    """(section title, [(flag and type, help)]) for every section."""
    sections = [("Recipe (any key of it can be given as a flag)", _rows(Recipe, ""))]
    for name, field in Recipe.model_fields.items():
        section = section_of(field.annotation)
        if section is not None:
            prefix = f"{name}.0." if name == "data" else f"{name}."
            sections.append((f"{name}: {(section.__doc__ or '').splitlines()[0].rstrip('.')}", _rows(section, prefix)))
    return sections


def _rows(section: type[Any], prefix: str) -> list[tuple[str, str]]:
    plain = {name: field for name, field in section.model_fields.items() if section_of(field.annotation) is None or name == "data"}
    return [(f"--{prefix}{name}", _help(field)) for name, field in plain.items()]


def _help(field: FieldInfo) -> str:
    text = (field.description or "").replace("\n", " ")
    default = field.get_default(call_default_factory=True) if not field.is_required() else None
    shown = "" if default in (None, [], {}, "") or isinstance(default, Knobs) else f"  [{default}]"
    return text + shown


def split_args(args: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Plain arguments, and flags as dotted keys: `--train.batch 32`, `--train.batch=32`, `--train.tensorboard` (True), and `--data a.jsonl
    --data b.jsonl` as one list. Raises UserError for a flag given twice that takes one value."""
    plain: list[str] = []
    found: dict[str, Any] = {}
    waiting = list(args)
    while waiting:
        flag = waiting.pop(0)
        if not flag.startswith("--"):
            plain.append(flag)
            continue
        name, given, text = flag[2:].partition("=")
        value: Any = text if given else _value_of(name, waiting)
        key = name.split(".")
        if takes_list(key):
            found.setdefault(name, []).append(value)
        elif name in found:
            raise UserError(f"--{name} is given twice: keep one")
        else:
            found[name] = value
    return plain, found


def _value_of(name: str, waiting: list[str]) -> Any:
    """The argument behind a flag, taken off `waiting`; True where there is none, or where a switch stands before something else."""
    if not waiting or waiting[0].startswith("--"):
        return True
    if bool in kinds_of(name.split(".")) and waiting[0].lower() not in ("true", "false"):
        return True
    return waiting.pop(0)


def recipe_from(args: Sequence[str]) -> Recipe:
    """The recipe that a verb's arguments describe: a YAML file, flags, or both.

    Raises UserError: none of them, two files, or whatever is wrong with a key or value.
    """
    plain, flags = split_args(args)
    if len(plain) > 1:
        raise UserError(f"one recipe at a time, not {' and '.join(plain)}: give knobs as --section.key value")
    if not plain and not flags:
        raise UserError("no recipe: give a YAML file, or at least --model and --data; `--help` lists every knob")
    return load_recipe(plain[0] if plain else None, flags)
