"""`instil plan`, from a recipe to its last line."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from instil.cli.plan import command
from instil.core.errors import UserError
from instil.core.loading import load_recipe
from instil.stages.plan import ROOM, plan
from tests.fakes import alpaca_rows, write_rows


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("INSTIL_CACHE", str(tmp_path / "cache"))
    rows = write_rows(tmp_path / "rows.jsonl", alpaca_rows())
    return {"model": "pocket", "template": "chatml", "data": [str(rows)], "train.batch": 8, "holdout.examples": "0 rows"}


def test_a_plan_in_words(given: dict[str, Any]) -> None:
    said = io.StringIO()
    assert plan(load_recipe(None, given), gpu="H100", gpus=2, price=2.0, console=Console(file=said, width=200))
    text = said.getvalue()
    for part in ("3.2M parameters", "10 steps of", "on 2 x H100", "optimizer states", "nothing is recomputed", "time ", "money "):
        assert part in text, text


def test_a_plan_as_json(given: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert plan(load_recipe(None, {**given, "method": "lora"}), gpu="T4", as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["way"]["method"] == "lora" and found["trained"] < found["parameters"] == 3_246_528
    assert found["need"]["total"] == pytest.approx(sum(size for name, size in found["need"].items() if name != "total"))
    assert found["largest_row"] > found["load"]["row"] and found["hours"][0] < found["hours"][1]
    assert found["load"]["tokens"] <= found["load"]["alone"]


def test_what_does_not_fit(given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recomputation is tried first; then the sentence says what would help."""
    said, recipe = io.StringIO(), load_recipe(None, given)
    kept = plan_need(recipe)
    recomputed, adapters = (plan_need(load_recipe(None, {**given, "train.checkpointing": "on", "method": m})) for m in ("full", "lora"))
    assert adapters < recomputed < kept
    between, less = (kept + recomputed) / 2 / ROOM, (0.8 * adapters + 0.2 * recomputed) / ROOM
    for room, fits, words in ((between, True, "activations are recomputed"), (less, False, "what would help: ")):
        monkeypatch.setattr("instil.stages.plan._machine", lambda *_, room=room: (room, 1e12))
        assert plan(recipe, console=Console(file=said, width=200)) == fits
        assert words in said.getvalue()
    assert "method: lora" in said.getvalue() and "method: full; " not in said.getvalue()


def test_small_states(given: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """The knobs reach the count, and what lies in the machine's memory is said."""
    knobs = {"train.weights": "bf16", "train.optimizer": "adamw_8bit", "train.offload": "states"}
    said, recipe = io.StringIO(), load_recipe(None, {**given, **knobs})
    assert plan(recipe, gpu="4060", as_json=True)
    found = json.loads(capsys.readouterr().out)
    count = found["parameters"]
    assert (found["need"]["weights"], found["need"]["gradients"], found["need"]["states"]) == (2 * count, 2 * count, 0)
    assert found["need"]["host"] == pytest.approx(2.03 * count, rel=1e-2) and found["others"][0] == "method: full"
    assert plan(recipe, gpu="4060", console=Console(file=said, width=200))
    assert "optimizer states, in the machine's memory and not part of the sum" in said.getvalue()


def plan_need(recipe: Any) -> float:
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as monkey:
        monkey.setattr("instil.stages.plan._machine", lambda *_: (1e12, 1e12))
        monkey.setattr("builtins.print", lambda text: out.write(text))
        plan(recipe, as_json=True)
    return float(json.loads(out.getvalue())["need"]["total"])


def test_the_verb(given: dict[str, Any]) -> None:
    flags = ["--model", "pocket", "--template", "chatml", "--data", given["data"][0]]
    done = CliRunner().invoke(command, [*flags, "--gpu", "4090", "--price", "0.4/h"])
    assert done.exit_code == 0 and "on 1 x 4090" in done.output
    for wrong, sentence in ((["--price", "cheap"], "give money per hour"), (["--gpu", "4900"], "no such card")):
        with pytest.raises(UserError, match=sentence):
            CliRunner().invoke(command, [*flags, *wrong], catch_exceptions=False)
