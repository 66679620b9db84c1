"""What a run does besides its steps: against a run that was really made."""

from pathlib import Path
from typing import Any

import pytest

from instil.core.files import read_jsonl
from instil.core.loading import load_recipe
from instil.plan.shape import read_shape
from instil.stages import tune as stage
from instil.stages.beside import beside, pauses
from instil.stages.fit import config_of, fit_data
from instil.stages.prepare import prepare
from instil.stages.tune import tune
from tests.fakes import alpaca_rows, write_rows


@pytest.mark.parametrize(
    "knobs",
    [
        {"train.steps": 7, "train.evaluate_every": 3},
        {"train.steps": 6, "train.evaluate_every": 3, "train.checkpoint_every": 2, "method": "lora"},
        {"train.steps": 4, "train.checkpoint_every": 3, "holdout.examples": "0 rows"},
    ],
)
def test_as_many_as_the_run_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, knobs: dict[str, Any]) -> None:
    """Held-out losses by their number, checkpoints by their bytes; rates that fall make every loss the lowest."""
    rows = write_rows(tmp_path / "rows.jsonl", alpaca_rows())
    given = {
        "model": "pocket",
        "template": "chatml",
        "data": [str(rows)],
        "train.batch": 4,
        "train.threads": 1,
        "holdout.examples": "5 rows",
    }
    recipe = load_recipe(None, {**given, "runs": str(tmp_path), "name": "run", "evaluate": "none", "train.precision": "fp32", **knobs})
    data, shape = prepare(recipe), read_shape(config_of(recipe))
    trained = shape.parameters if recipe.method == "full" else shape.lora(recipe.lora.rank)
    found = beside(data, fit_data(data, shape, 2e10, device="cpu", precision="fp32"), trained)
    written = []
    save = stage.Records.save

    def counted(self: Any, model: Any, optimizer: Any, state: Any) -> None:
        save(self, model, optimizer, state)
        written.append(sum(file.stat().st_size for file in (tmp_path / f"run/checkpoints/step-{state.step}").iterdir()))

    monkeypatch.setattr(stage.Records, "save", counted)
    folder = tune(recipe).folder
    losses = [record for record in read_jsonl(folder / "metrics.jsonl") if "held_out" in record]
    if not losses:
        assert found.held == 0
    else:
        alone = sum(len(path.tokens) for path in data.held_paths())
        assert 0.5 * alone < found.held / len(losses) <= alone and found.held % len(losses) == 0
    model = sum(file.stat().st_size for file in (folder / "model").glob("*.safetensors"))
    assert found.written == pytest.approx(sum(written) + model, rel=0.1)
    assert found.read == 4 * shape.parameters


def test_pauses_are_a_tenth_of_the_run_unless_said() -> None:
    recipe = load_recipe(None, {"model": "m", "data": ["d"]})
    assert pauses(recipe, 100) == (10, 10) and pauses(recipe, 3) == (1, 1)
    assert pauses(load_recipe(None, {"model": "m", "data": ["d"], "train.evaluate_every": 5, "train.checkpoint_every": 2}), 100) == (5, 2)
