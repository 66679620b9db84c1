"""What `--help` says, and what it costs."""

import re
import subprocess
import sys

import pytest

from instil.cli import VERBS, app
from instil.cli.knobs import knob_table
from instil.core.loading import kinds_of, section_at
from instil.core.recipe import Recipe

SECTIONS = [name for name in Recipe.model_fields if section_at((name,)) is not None]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_every_verb_has_help(here, verb, flag):
    code, out, err = here(verb, flag)
    assert code == 0 and out.startswith("Usage: ") and not err
    assert " ".join(app.get_command(None, verb).help.split())[:50] in " ".join(out.split())


@pytest.mark.parametrize("verb", ["inspect", "train"])
def test_help_lists_every_knob_with_its_meaning(here, verb):
    _, out, _ = here(verb, "--help")
    text = " ".join(out.split())
    for name in Recipe.model_fields:
        section = section_at((name,))
        prefix = "data.0." if name == "data" else f"{name}."
        for key, field in section.model_fields.items() if section else [(name, Recipe.model_fields[name])]:
            flag = f"--{prefix}{key}" if section else f"--{key}"
            assert re.search(rf"^  {re.escape(flag)}\s", out, flags=re.M), flag
            assert " ".join(field.description.split()) in text.replace("- ", "-"), flag
    assert "--train.batch" in out and "[64]" in out, "defaults are shown"


def test_the_table_names_flags_that_exist():
    flags = [flag.removeprefix("--") for _, rows in knob_table() for flag, _ in rows]
    assert len(flags) == len(set(flags))
    assert all(kinds_of(flag.split(".")) for flag in flags)


def test_the_verbs_are_listed_in_order(here):
    code, out, _ = here("--help")
    assert code == 0
    listed = re.findall(r"^  (\w+) ", out.partition("Verbs:")[2], flags=re.M)
    assert listed == list(VERBS)
    for sentence in VERBS.values():
        assert sentence in " ".join(out.split())


def test_help_imports_none_of_the_libraries_that_verbs_need():
    code = "import sys; sys.argv = ['instil', '--help']; from instil.cli import main; main(); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: ")
    assert not {"torch", "transformers", "peft", "numpy", "pydantic", "yaml", "rich", "pyarrow", "tokenizers"} & set(done.stderr.split())


def test_the_package_is_a_program(instil):
    done = instil("--help")
    assert done.returncode == 0 and done.stdout.startswith("Usage: ") and not done.stderr


def test_the_version(here):
    import instil

    assert here("--version") == (0, f"instil, version {instil.__version__}\n", "")
