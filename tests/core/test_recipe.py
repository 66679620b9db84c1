"""The knobs themselves: each can be set from a file and from a flag, and refuses what it cannot mean."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from instil.core.errors import UserError
from instil.core.loading import check_recipe, dump_recipe, load_recipe, section_at
from instil.core.recipe import Knobs, Recipe, as_sources

BASE: dict[str, Any] = {"model": "m", "data": [{"path": "a.jsonl"}]}

# Every knob: what is written behind its flag, and what that means; never its default.
FLAGS: dict[str, tuple[str, Any]] = {
    "model": ("other", "other"),
    "name": ("7", "7"),
    "runs": ("elsewhere", "elsewhere"),
    "template": ("chatml", "chatml"),
    "template_options": ("{enable_thinking: false}", {"enable_thinking": False}),
    "system": ("Answer: in a word # please", "Answer: in a word # please"),
    "train_on": ("last", "last"),
    "max_length": ("512", 512),
    "overlong": ("refuse", "refuse"),
    "control_tokens": ("escape", "escape"),
    "duplicates": ("keep", "keep"),
    "allow": ("[no_stop, inexact]", ["no_stop", "inexact"]),
    "method": ("lora", "lora"),
    "seed": ("-3", -3),
    "trust_remote_code": ("true", True),
    "data.0.path": ("[ab].jsonl", "[ab].jsonl"),
    "data.0.format": ("alpaca", "alpaca"),
    "data.0.options": ("{few_shot: 2}", {"few_shot": 2}),
    "data.0.columns": ("{prompt: question}", {"prompt": "question"}),
    "data.0.take": ("50%", "50%"),
    "data.0.weight": ("0.5", 0.5),
    "data.0.task": ("010", "010"),
    "data.0.stage": ("by row", "by row"),
    "holdout.examples": ("200", "200 rows"),
    "holdout.most": ("9", 9),
    "holdout.tasks": ("qa", ["qa"]),
    "lora.rank": ("8", 8),
    "lora.alpha": ("8", 8.0),
    "lora.dropout": ("0.1", 0.1),
    "lora.targets": ("[q_proj, v_proj]", ["q_proj", "v_proj"]),
    "lora.rslora": ("true", True),
    "lora.dora": ("true", True),
    "train.epochs": ("0.5", 0.5),
    "train.steps": ("10", 10),
    "train.batch": ("32", 32),
    "train.learning_rate": ("2e-4", 2e-4),
    "train.schedule": ("linear", "linear"),
    "train.warmup": ("0", 0.0),
    "train.final_share": ("0", 0.0),
    "train.weight_decay": ("1e-2", 1e-2),
    "train.beta1": ("0.8", 0.8),
    "train.beta2": ("0.95", 0.95),
    "train.optimizer": ("adamw_8bit", "adamw_8bit"),
    "train.weights": ("bf16", "bf16"),
    "train.offload": ("states", "states"),
    "train.clip": ("null", None),
    "train.average": ("example", "example"),
    "train.max_tokens": ("4096", 4096),
    "train.precision": ("fp32", "fp32"),
    "train.checkpointing": ("on", "on"),
    "train.compile": ("on", "on"),
    "train.packing": ("alone", "alone"),
    "train.neftune": ("5", 5.0),
    "train.evaluate_every": ("7", 7),
    "train.checkpoint_every": ("7", 7),
    "train.keep": ("best", "best"),
    "train.parallel": ("fsdp", "fsdp"),
    "train.shard_ranks": ("2", 2),
    "train.timeout": ("5", 5.0),
    "train.threads": ("1", 1),
    "train.tensorboard": ("true", True),
    "evaluate.samples": ("50", "50 rows"),
    "evaluate.suites": ("[heldout, stop]", ["heldout", "stop"]),
    "evaluate.sets": ("{mine: mine.jsonl}", {"mine": "mine.jsonl"}),
    "evaluate.cloze": ("facts.jsonl", "facts.jsonl"),
    "evaluate.text": ("text.txt", "text.txt"),
    "evaluate.examples": ("0", 0),
    "evaluate.max_new_tokens": ("64", 64),
    "evaluate.margin": ("0.05", 0.05),
    "evaluate.seed": ("1", 1),
    "evaluate.judge": ("http://localhost:8000/v1", "http://localhost:8000/v1"),
    "evaluate.judge_model": ("judge", "judge"),
    "evaluate.judge_key_env": ("JUDGE_KEY", "JUDGE_KEY"),
}


def knobs() -> list[str]:
    """Dotted names of all knobs, sections left out."""
    names: list[str] = []
    for name in Recipe.model_fields:
        section = section_at((name,))
        prefix = f"{name}.0" if name == "data" else name
        names += [f"{prefix}.{inner}" for inner in section.model_fields] if section else [name]
    return names


def value_at(recipe: Recipe, name: str) -> Any:
    value: Any = recipe
    for part in name.split("."):
        value = value[int(part)] if part.isdigit() else getattr(value, part)
    return value


def nested(name: str, text: str) -> str:
    """A knob as YAML in flow style, as a person would write it: `train: {batch: 32}`."""
    for part in reversed(name.split(".")):
        text = f"[{text}]" if part == "0" else f"{part}: {text}" if part == name.split(".")[0] else f"{{{part}: {text}}}"
    return text


def test_every_knob_has_an_example() -> None:
    assert sorted(FLAGS) == sorted(knobs())


@pytest.mark.parametrize("name", FLAGS)
def test_every_knob_is_reached_by_a_flag(name: str) -> None:
    text, value = FLAGS[name]
    recipe = load_recipe(None, {"model": "m", "data": ["a.jsonl"], name: text})
    assert value_at(recipe, name) == value != value_at(load_recipe(BASE), name)


@pytest.mark.parametrize("name", FLAGS)
def test_every_knob_is_reached_from_yaml(name: str, tmp_path: Path) -> None:
    text, value = FLAGS[name]
    texts = isinstance(value, str)  # quoted, as any text may be in YAML
    written = nested(name, json.dumps(text) if texts else f"[{text}]" if isinstance(value, list) and text[0] != "[" else text)
    if name.startswith("data.0.") and name != "data.0.path":
        written = written.replace("data: [{", "data: [{path: a.jsonl, ")
    rest = "".join(f"{key}: {json.dumps(given)}\n" for key, given in BASE.items() if key != name.split(".")[0])
    (tmp_path / "r.yaml").write_text(f"{rest}{written}\n", encoding="utf-8")
    assert value_at(load_recipe(tmp_path / "r.yaml"), name) == value


def test_no_evaluation(tmp_path: Path) -> None:
    """`none` in YAML, in Python and as a flag; and it is dumped as what is read back."""
    (tmp_path / "r.yaml").write_text("model: m\ndata: d\nevaluate: none\n", encoding="utf-8")
    recipes = [load_recipe(tmp_path / "r.yaml"), check_recipe({**BASE, "evaluate": "none"}), load_recipe(BASE, {"evaluate": "none"})]
    (tmp_path / "dumped.yaml").write_text(dump_recipe(recipes[0]), encoding="utf-8")
    assert [r.evaluate.wanted for r in [*recipes, load_recipe(tmp_path / "dumped.yaml")]] == [False] * 4
    assert check_recipe(BASE).evaluate.wanted and load_recipe(BASE, {"evaluate.suites": "stop"}).evaluate.wanted


@pytest.mark.parametrize("section", [Recipe, *(found for found in Knobs.__subclasses__() if found.__module__ == Knobs.__module__)])
def test_sections_are_frozen(section: type[Knobs]) -> None:
    recipe = check_recipe(BASE)
    found = {type(value): value for value in (recipe, recipe.data[0], recipe.holdout, recipe.lora, recipe.train, recipe.evaluate)}[section]
    for name in section.model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(found, name, getattr(found, name))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"train": {"batch": "many"}}, 'the recipe: train.batch must be a whole number, not "many"'),
        ({"train": {"batch": 1.5}}, "the recipe: train.batch must be a whole number, not 1.5"),
        ({"train": {"batch": 0}}, "the recipe: train.batch must be greater than 0, not 0"),
        ({"train": {"epochs": "two"}}, 'the recipe: train.epochs must be a number, not "two"'),
        ({"train": {"epochs": float("inf")}}, "the recipe: train.epochs must be finite, not Infinity"),
        ({"train": {"learning_rate": float("nan")}}, "the recipe: train.learning_rate must be finite, not NaN"),
        ({"train": {"warmup": 2}}, "the recipe: train.warmup must be less than or equal to 1, not 2"),
        ({"train": {"tensorboard": "perhaps"}}, 'the recipe: train.tensorboard must be true or false, not "perhaps"'),
        ({"train": 3}, "the recipe: train must be a section of knobs, not 3"),
        ({"train": {"epochs": 1, "steps": 5}}, "the recipe: train does not fit: epochs and steps both say how long to train: keep one"),
        ({"method": "loar"}, "the recipe: method must be 'full', 'lora' or 'qlora', not \"loar\""),
        ({"name": ["x"]}, 'the recipe: name must be text, not ["x"]'),
        ({"allow": "no_stop"}, 'the recipe: allow must be a list, not "no_stop"'),
        (
            {"allow": ["nostop"]},
            "the recipe: allow does not fit: 'nostop' is not a refusal that can be allowed; did you mean 'no_stop'?",
        ),
        ({"lora": {"targets": 5}}, "the recipe: lora.targets must be a list or be 'all-linear', not 5"),
        ({"template_options": []}, "the recipe: template_options must be a mapping, not []"),
        ({"data": []}, "the recipe: data must have at least one entry, not []"),
    ],
)
def test_wrong_values(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as error:
        check_recipe(BASE | values)
    assert str(error.value) == sentence


def test_a_bare_number_is_no_amount() -> None:
    """Nobody can tell 50 rows from 50 %: `take` refuses both spellings of a number, `examples` knows that rows are meant."""
    for given in (50, "50", 0.5, "half", "150%", "-5 rows", "5 rows or so", ""):
        with pytest.raises(UserError, match=r"data\.0\.take does not fit: '.*' is not an amount; write a share such as '50%'"):
            check_recipe({"model": "m", "data": [{"path": "a", "take": given}]})
    for given in (0.5, "x", True, -1):
        with pytest.raises(UserError, match="holdout.examples"):
            check_recipe(BASE | {"holdout": {"examples": given}})
    assert check_recipe(BASE | {"holdout": {"examples": 200}}).holdout.examples == "200 rows"


def test_ways_to_name_the_data() -> None:
    assert as_sources("a") == as_sources(["a"]) == as_sources({"path": "a"}) == [{"path": "a"}]
    assert [s.path for s in check_recipe({"model": "m", "data": ["a", {"path": "b"}]}).data] == ["a", "b"]


def test_the_default_learning_rate_depends_on_the_method() -> None:
    rates = [check_recipe(BASE | {"method": method}).learning_rate for method in ("full", "lora")]
    assert rates == [2e-5, 2e-4]
    assert check_recipe(BASE | {"method": "lora", "train": {"learning_rate": 1e-3}}).learning_rate == 1e-3
