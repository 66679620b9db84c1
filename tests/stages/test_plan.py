"""`instil plan`, from a recipe to its last line."""

import contextlib
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
from instil.stages.fit import ROOM
from instil.stages.plan import plan
from tests.fakes import alpaca_rows, write_rows


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    rows = write_rows(tmp_path / "rows.jsonl", alpaca_rows())
    return {"model": "pocket", "template": "chatml", "data": [str(rows)], "train.batch": 8, "holdout.examples": "0 rows"}


def test_a_plan_in_words(given: dict[str, Any]) -> None:
    said = io.StringIO()
    assert plan(load_recipe(None, given), gpu="H100", gpus=2, price=2.0, console=Console(file=said, width=200))
    text = said.getvalue()
    for part in ("3.2M parameters", "10 steps of", "on 2 x H100", "optimizer states", "nothing is recomputed", "time ", "money "):
        assert part in text, text
    assert "waiting for the network" in text and "start, held-out losses and checkpoints" in text


def test_what_ranks_send_takes_time(given: dict[str, Any]) -> None:
    """A step of two GPUs takes what each computes, and what they send; with weights divided they send more. The range covers both ends."""
    steps, tokens = {}, 0.0
    for name, gpus, knobs in (("one", 1, {}), ("copies", 2, {}), ("divided", 2, {"train.parallel": "fsdp"})):
        found = plan_json({**given, **knobs}, gpu="4090", gpus=gpus)
        assert found["shards"] == (2 if name == "divided" else 1)
        tokens = found["load"]["tokens"] if name == "one" else tokens
        steps[name] = [whole - rest for whole, rest in zip(found["hours"], found["beside_hours"], strict=True)]
        for seconds, one, share in zip(steps[name], steps["one"], found["network"], strict=True):
            assert seconds * (1 - share) == pytest.approx(one * found["load"]["uneven"] * found["load"]["tokens"] / tokens / gpus, rel=0.02)
        assert (found["network"][0] > found["network"][1]) == (gpus > 1), "the faster GPUs compute, the more they wait"
    assert steps["divided"] > steps["copies"]


def test_weights_are_divided_as_in_training(given: dict[str, Any]) -> None:
    """Where they leave no room on one GPU, and never those in four bits."""
    assert plan_json({**given, "train.memory": 0.05}, gpu="H100", gpus=4)["shards"] == 4
    assert plan_json({**given, "train.memory": 0.05, "method": "qlora"}, gpu="H100", gpus=4)["shards"] == 1
    with pytest.raises(UserError, match=r"^--gpus 2: there is no GPU here"):
        plan(load_recipe(None, given), gpus=2)


def test_a_plan_as_json(given: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert plan(load_recipe(None, {**given, "method": "lora"}), gpu="T4", as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["way"]["method"] == "lora" and found["trained"] < found["parameters"] == 3_246_528
    assert found["need"]["total"] == pytest.approx(sum(size for name, size in found["need"].items() if name not in ("total", "loading")))
    assert found["largest_row"] > found["load"]["row"] and found["hours"][0] < found["hours"][1]
    assert found["load"]["tokens"] <= found["load"]["alone"]


def test_what_does_not_fit(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Recomputation is tried, then the run; what surely does not fit is refused, and a sentence says what would help."""
    given = {**given, "train.max_tokens": 8192}
    kept, recomputed = (plan_json({**given, "train.checkpointing": way})["need"]["total"] for way in ("off", "on"))
    assert recomputed < kept
    rooms = (
        ((kept + recomputed) / 2 / ROOM, True, "fits ", "activations are recomputed"),
        (recomputed, True, "tight ", "what would help: "),
        (0.8 * recomputed, False, "too large ", "what would help: "),
    )
    for memory, begins, verdict, words in rooms:
        said = io.StringIO()
        recipe = load_recipe(None, {**given, "train.memory": memory / 2**30})
        assert plan(recipe, measure=False, console=Console(file=said, width=200)) == begins
        assert verdict in said.getvalue() and words in said.getvalue()
    assert "method: lora" in said.getvalue()


def test_small_states(given: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """The knobs reach the count, and what lies in the machine's memory is said."""
    knobs = {"train.weights": "bf16", "train.optimizer": "adamw_8bit", "train.offload": "states"}
    said, recipe = io.StringIO(), load_recipe(None, {**given, **knobs})
    assert plan(recipe, gpu="4060", as_json=True)
    found = json.loads(capsys.readouterr().out)
    count = found["parameters"]
    assert (found["need"]["weights"], found["need"]["gradients"], found["need"]["states"]) == (2 * count, 2 * count, 0)
    assert (
        found["need"]["host"] == pytest.approx(2.03 * count, rel=1e-2)
        and found["others"][0] == "train.weights: fp32 with train.optimizer: adamw with train.offload: none"
    )
    assert plan(recipe, gpu="4060", console=Console(file=said, width=200))
    assert "optimizer states, in the machine's memory and not part of the sum" in said.getvalue()


def test_smaller_rows(given: dict[str, Any]) -> None:
    """As `instil train` will fill them."""
    wide = plan_json({**given, "train.batch": 38, "max_length": 200})
    assert wide["rows"] == 8192 and wide["load"]["row"] > 400
    less = wide["need"]["total"] - 0.4 * wide["need"]["kept"]
    narrow = plan_json({**given, "train.batch": 38, "max_length": 200, "train.memory": less / ROOM / 2**30})
    assert narrow["rows"] == 256 >= narrow["way"]["tokens"] > 200 and not narrow["way"]["recompute"]


def plan_json(given: dict[str, Any], **kind: Any) -> dict[str, Any]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        plan(load_recipe(None, given), measure=False, as_json=True, **kind)
    return dict(json.loads(out.getvalue()))


def test_time_is_measured_here(given: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    said, recipe = io.StringIO(), load_recipe(None, {**given, "train.threads": 1})
    plan(recipe, console=Console(file=said, width=200))
    assert "measured on 5 layers with random weights" in said.getvalue()
    plan(recipe, measure=False, as_json=True)
    assert json.loads(capsys.readouterr().out)["measured_layers"] == 0
    plan(recipe, gpu="H100", as_json=True)
    assert json.loads(capsys.readouterr().out)["measured_layers"] == 0, "that is another machine"


def test_the_verb(given: dict[str, Any]) -> None:
    flags = ["--model", "pocket", "--template", "chatml", "--data", given["data"][0]]
    done = CliRunner().invoke(command, [*flags, "--gpu", "4090", "--price", "0.4/h"])
    assert done.exit_code == 0 and "on 1 x 4090" in done.output
    for wrong, sentence in ((["--price", "cheap"], "give money per hour"), (["--gpu", "4900"], "no such card")):
        with pytest.raises(UserError, match=sentence):
            CliRunner().invoke(command, [*flags, *wrong], catch_exceptions=False)
