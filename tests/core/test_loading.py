"""Files and flags together: whose word counts, and what is said where they are wrong."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instil.core.errors import UserError
from instil.core.ledger import ALLOWABLE
from instil.core.loading import check_recipe, dump_recipe, kinds_of, load_recipe, section_at
from instil.core.recipe import Recipe, Train
from instil.core.yaml_text import parse

BASE = "model: m\ndata: [a.jsonl]\n"


@pytest.fixture
def load(tmp_path: Path) -> Any:
    """load(text, **flags): the recipe of a file `r.yaml` with that text under the flags."""

    def load(text: str, flags: dict[str, Any] | None = None) -> Recipe:
        (tmp_path / "r.yaml").write_text(text, encoding="utf-8")
        return load_recipe(tmp_path / "r.yaml", flags)

    return load


def complaint(call: Any, *args: Any) -> str:
    """The sentence of the UserError that a call ends in, the recipe's folder left out."""
    with pytest.raises(UserError) as error:
        call(*args)
    text = str(error.value)
    assert "\n" not in text
    return text[text.find("r.yaml") :] if "r.yaml" in text else text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("train: {bach: 3}", "r.yaml, line 3: unknown key 'bach' in train; did you mean 'batch'?"),
        ("train:\n  epochs: 1\n  bach: 3", "r.yaml, line 5: unknown key 'bach' in train; did you mean 'batch'?"),
        ("batch: 3", "r.yaml, line 3: unknown key 'batch'; did you mean 'train.batch'?"),
        ("lora: {method: full}", "r.yaml, line 3: unknown key 'method' in lora; did you mean 'method'?"),
        ("tempalte: own", "r.yaml, line 3: unknown key 'tempalte'; did you mean 'template'?"),
        ("train: {batch: x}", 'r.yaml, line 3: train.batch must be a whole number, not "x"'),
        ("model: other", "r.yaml, line 3: 'model' is given twice: keep one"),
        ("train: {batch: 1, batch: 2}", "r.yaml, line 3: 'batch' is given twice: keep one"),
        ("train: {epochs: 1, steps: 2}", "r.yaml, line 3: train does not fit: epochs and steps both say how long to train: keep one"),
        ("? [a]\n: b", "r.yaml, line 3: a key must be a word, not a list or mapping: check brackets and `?`"),
        ("1: b", "r.yaml, line 3: 1 must be a name, not 1"),
        ("train: {batch: [}", "r.yaml, line 3, is not valid YAML (expected the node content, but found '}'): check indentation, colons"),
        ("\tbatch: 1", "r.yaml, line 3, is not valid YAML (found character '\\t' that cannot start any token)"),
    ],
)
def test_mistakes_in_a_file(load: Any, text: str, sentence: str) -> None:
    assert complaint(load, BASE + text).startswith(sentence)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("- a\n- b", "r.yaml holds a list, not `key: value` lines: see `instil train --help` for a first recipe"),
        ("just words", "r.yaml holds 'just words', not"),
        ("data: a", "r.yaml: 'model' is missing: Base model: a folder"),
        ("model: m", "r.yaml: 'data' is missing: Where the rows come from"),
        ("model: m\ndata:", "r.yaml, line 2: 'data' is missing: Where the rows come from"),
        ("model: m\ndata:\n  - path: a\n  - path: b\n    tak: 3", "r.yaml, line 5: unknown key 'tak' in data.1; did you mean 'task'?"),
        ("model: m\ndata:\n  - pth: a", "r.yaml, line 3: 'data.0.path' is missing: File, folder, glob"),
        ("model: m\ndata: [3]", "r.yaml, line 2: data.0 must be a section of knobs, not 3"),
        ("a: &x [*x]", "r.yaml: 'model' is missing"),
        ("", "r.yaml: 'model' is missing"),
    ],
)
def test_mistakes_in_a_whole_file(load: Any, text: str, sentence: str) -> None:
    assert complaint(load, text).startswith(sentence)


def test_no_more_than_three_mistakes_at_once(load: Any) -> None:
    text = complaint(load, BASE + "a: 1\nb: 2\nc: 3\nd: 4")
    assert text.count("unknown key") == 3 and "line 5" in text and "line 6" not in text


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    assert "does not exist: check the path" in complaint(load_recipe, tmp_path / "absent.yaml")
    assert "is not a YAML text file" in complaint(load_recipe, tmp_path)
    (tmp_path / "r.yaml").write_bytes(b"\xff\xfe\x00")
    assert "is not a YAML text file" in complaint(load_recipe, tmp_path / "r.yaml")


def test_a_byte_order_mark_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_bytes(b"\xef\xbb\xbf" + BASE.encode())
    assert load_recipe(tmp_path / "r.yaml").model == "m"


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"train.bach": "3"}, "--train.bach: unknown key 'bach' in train; did you mean 'batch'?"),
        ({"train.batch": "x"}, '--train.batch must be a whole number, not "x"'),
        ({"system": True}, "--system must be text, not true"),
        ({"train": "3"}, "--train must be a section of knobs, not 3"),
        ({"data.0.take": "50"}, "--data.0.take does not fit: '50' is not an amount"),
        ({"data.3.path": "x"}, "--data.3.path: '3' must be a number from 0 to 1 (1 adds an entry)"),
        ({"data.x.path": "x"}, "--data.x.path: 'x' must be a number from 0 to 1 (1 adds an entry)"),
        ({"data.0": "x"}, "--data.0 names an entry, not a knob of it: write e.g. --data.0.path"),
        ({"train": 3, "train.batch": "x"}, "--train.batch: 'train' is 3, and there are no knobs in it"),
        ({"train.batch.x": "1"}, '--train.batch.x: train.batch must be a whole number, not {"x": 1}'),
        ({"train.epochs": "1", "train.steps": "1"}, "--train.epochs: train does not fit: epochs and steps both say"),
    ],
)
def test_mistakes_in_flags_name_the_flag(load: Any, flags: dict[str, Any], sentence: str) -> None:
    assert complaint(load, BASE, flags).startswith(sentence)


def test_a_flag_beats_the_file(load: Any) -> None:
    assert load(BASE + "train: {batch: 2, neftune: 5}", {"train.batch": "3"}).train == Train(batch=3, neftune=5)


@pytest.mark.parametrize(("there", "flag"), [("epochs: 3", "steps"), ("steps: 3", "epochs")])
def test_a_flag_for_steps_takes_the_place_of_epochs(load: Any, there: str, flag: str) -> None:
    train = load(BASE + f"train: {{{there}}}", {f"train.{flag}": "7"}).train
    assert getattr(train, flag) == 7
    assert (train.steps is None) == (flag == "epochs")


@pytest.mark.parametrize("data", ["a.jsonl", "[a.jsonl]", "{path: a.jsonl}", "[{path: a.jsonl}]", ""])
def test_sources_are_numbered_however_they_are_written(load: Any, data: str) -> None:
    recipe = load(f"model: m\ndata: {data}\n", {"data.0.path": "b.jsonl", "data.0.take": "50%", "data.1.path": "c.jsonl"})
    assert [(s.path, s.take) for s in recipe.data] == [("b.jsonl", "50%"), ("c.jsonl", None)]


def test_lists_in_flags() -> None:
    def allowed(value: Any) -> list[str]:
        return load_recipe({"model": "m", "data": "a"}, {"allow": value}).allow

    assert allowed("no_stop") == allowed(["no_stop"]) == allowed("[no_stop]") == ["no_stop"]
    assert allowed(["no_stop", "[inexact, two_bos]"]) == ["no_stop", "inexact", "two_bos"]
    assert allowed("[]") == []
    assert [s.path for s in load_recipe(None, {"model": "m", "data": ["[a].jsonl", "b"]}).data] == ["[a].jsonl", "b"]


@pytest.mark.parametrize("text", ["Answer: x", "# hash", "- dash", '"quoted"', "true", "12", "{a: b}", "on", "  spaced "])
def test_text_knobs_take_any_text_to_the_letter(text: str) -> None:
    recipe = load_recipe({"model": "m", "data": "a"}, {"system": text, "data.0.columns.prompt": text})
    assert recipe.system == recipe.data[0].columns["prompt"] == text


def test_null_takes_back_what_the_file_says(load: Any) -> None:
    recipe = load(BASE + "system: be brief\ntrain: {clip: 2}", {"system": "null", "train.clip": "null"})
    assert recipe.system is None and recipe.train.clip is None


def test_free_mappings_take_any_key() -> None:
    recipe = load_recipe({"model": "m", "data": "a"}, {"template_options.enable_thinking": "false", "template_options.x.y": "2e-4"})
    assert recipe.template_options == {"enable_thinking": False, "x": {"y": 2e-4}}


def test_values_from_python_are_taken_as_they_are() -> None:
    given = {"model": "m", "data": [{"path": "a"}], "train": {"batch": 4}}
    recipe = load_recipe(given, {"train.batch": 8, "train.tensorboard": True, "allow": ["no_stop"]})
    assert (recipe.train.batch, recipe.train.tensorboard, recipe.allow) == (8, True, ["no_stop"])
    assert given == {"model": "m", "data": [{"path": "a"}], "train": {"batch": 4}}, "what was handed over has changed"


def test_the_file_names_the_run(load: Any) -> None:
    assert load(BASE).name == "r"
    assert load(BASE, {"name": "x"}).name == load(BASE + "name: x").name == "x"
    assert load_recipe({"model": "m", "data": "a"}).name is None


def test_an_empty_section_is_as_good_as_none(load: Any) -> None:
    assert load(BASE + "train:\nholdout:\n") == load(BASE)


def test_kinds_and_sections() -> None:
    assert section_at(()) is Recipe and section_at(("train",)) is Train and section_at(("model",)) is None
    assert kinds_of(("train", "batch")) == [int]
    assert kinds_of(("name",)) == [str, type(None)]
    assert kinds_of(("nothing", "such")) == []


TEXT = st.text(max_size=20)
NAMES = st.text(min_size=1, max_size=10)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
POSITIVE = st.floats(min_value=0, exclude_min=True, allow_infinity=False, allow_nan=False)
RECIPES = st.fixed_dictionaries(
    {
        "model": TEXT,
        "data": st.lists(
            st.fixed_dictionaries(
                {"path": TEXT},
                optional={
                    "columns": st.dictionaries(TEXT, TEXT, max_size=2),
                    "take": st.sampled_from(["50%", "500 rows"]),
                    "weight": POSITIVE,
                    "task": TEXT,
                },
            ),
            min_size=1,
            max_size=3,
        ),
    },
    optional={
        "name": TEXT,
        "system": TEXT,
        "template_options": st.dictionaries(NAMES, JSON, max_size=3),
        "allow": st.lists(st.sampled_from(ALLOWABLE), max_size=2),
        "seed": st.integers(-(2**63), 2**63),
        "lora": st.fixed_dictionaries({"targets": st.lists(TEXT, max_size=2)}),
        "train": st.fixed_dictionaries({}, optional={"epochs": POSITIVE, "learning_rate": POSITIVE})
        | st.fixed_dictionaries({"steps": st.integers(1, 2**40)}),
        "holdout": st.fixed_dictionaries({"examples": st.integers(0, 10**9) | st.just("5%"), "tasks": st.lists(TEXT, max_size=2)}),
    },
)


@given(RECIPES)
def test_what_is_dumped_is_read_back(values: dict[str, Any]) -> None:
    recipe = check_recipe(values)
    read, _ = parse(dump_recipe(recipe), "the dump")
    assert check_recipe(read) == recipe


def test_a_dump_says_only_one_length() -> None:
    assert "epochs" not in dump_recipe(load_recipe({"model": "m", "data": "a", "train": {"steps": 5}}))
    assert "steps: null" in dump_recipe(load_recipe({"model": "m", "data": "a"}))
