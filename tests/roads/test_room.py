"""Runs where memory is short: rows that fit, the same ones after a kill, and a refusal before anything is loaded."""

from pathlib import Path

import pytest

from instil.core.loading import load_recipe
from instil.core.run import RunFolder
from instil.plan.need import Way, need
from instil.plan.shape import read_shape
from instil.stages.fit import ROOM, config_of
from tests.roads.forks import Forks
from tests.roads.runs import SHORT, command, everything_of, losses_of, manifest_of, refused

STEP = {**SHORT, "train__batch": 32, "train__steps": 3, "train__checkpoint_every": 1, "max_length": 128}


@pytest.fixture(scope="module")
def memory(house: Path) -> float:
    """GiB that hold rows of 512 tokens of the house's model, about half a step, and not rows of 1,024."""
    shape = read_shape(config_of(load_recipe(None, {"model": str(house / "model"), "data": ["none"]})))
    return need(shape, Way(precision="fp32", tokens=768, example=40, predicted=0.3)).total / ROOM / 2**30


def row_of(run: Path) -> tuple[int, int]:
    """As the manifest and the resolved recipe say."""
    knobs = RunFolder(run).read_recipe().train
    assert knobs.max_tokens is not None
    return manifest_of(run)["memory"]["row"], knobs.max_tokens


def test_rows_that_fit(forks: Forks, house: Path, tmp_path: Path, memory: float) -> None:
    """They change rounding, and nothing else; where there is room they are the usual ones."""
    wide = forks.run(*command(house, **STEP, name="wide"), cwd=tmp_path, expect=0)
    narrow = forks.run(*command(house, **STEP, train__memory=memory, name="narrow"), cwd=tmp_path, expect=0)
    runs = [tmp_path / "runs" / name for name in ("wide", "narrow")]
    assert [row_of(run) for run in runs] == [(8192, 8192), (512, 512)]
    assert losses_of(runs[0]) == pytest.approx(losses_of(runs[1]), rel=1e-4)
    assert "rows of 512 tokens at most instead of 8,192: the run needs about 0." in narrow.out and "instead of" not in wide.out
    assert all(manifest_of(run)["memory"]["recomputed"] is False for run in runs)


def test_a_resumed_run_keeps_its_rows(forks: Forks, house: Path, tmp_path: Path, memory: float) -> None:
    """Also where there is more memory by then: the same rows, so the same run to the last bit."""
    runs = {}
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        arguments = command(house, **STEP, train__memory=memory, name="run")
        done = forks.run(*arguments, cwd=tmp_path / name, count=True, **({"kill_at": runs["whole"] * 2 // 3} if name == "killed" else {}))
        runs[name] = done.count
    folder = tmp_path / "killed/runs/run"
    assert list(folder.glob("checkpoints/step-*")) and not (folder / "model").exists()
    text = RunFolder(folder).recipe.read_text(encoding="utf-8")
    RunFolder(folder).recipe.write_text(text.replace(f"memory: {memory}", "memory: 100.0"), encoding="utf-8")
    assert RunFolder(folder).read_recipe().train.memory == 100
    forks.run("train", "--resume", folder, cwd=tmp_path, expect=0)
    assert row_of(folder) == (512, 512)
    found, expected = (everything_of(run) for run in (folder, tmp_path / "whole/runs/run"))
    assert found.pop("recipe.yaml") != expected.pop("recipe.yaml")
    assert found == expected


def test_what_cannot_fit_is_refused_before_it_is_loaded(forks: Forks, here: Path) -> None:
    """There are no weights in the folder, and nobody misses them."""
    model = here / "large"
    model.mkdir()
    for file in (here / "model").iterdir():
        if file.suffix != ".safetensors":
            (model / file.name).symlink_to(file)
    done = forks.run(*command(Path(), "large", ["alpaca.jsonl"], **SHORT, train__memory=0.2), cwd=here)
    said = refused(done, r"the run needs about 0\.4\d GiB of memory, and there are 0\.20: try method: lora; or set train\.memory, .*")
    assert "`instil plan` shows each part" in said
    assert not (here / "runs").exists()


def test_a_run_that_has_begun_is_not_refused(forks: Forks, house: Path, tmp_path: Path) -> None:
    done = forks.run(*command(house, **STEP, name="run"), cwd=tmp_path, count=True, expect=0)
    (tmp_path / "again").mkdir()
    forks.run(*command(house, **STEP, name="run"), cwd=tmp_path / "again", kill_at=done.count * 2 // 3)
    recipe = RunFolder(tmp_path / "again/runs/run").recipe
    recipe.write_text(recipe.read_text(encoding="utf-8").replace("memory: null", "memory: 0.1"), encoding="utf-8")
    done = forks.run("train", "--resume", tmp_path / "again/runs/run", cwd=tmp_path, expect=0)
    assert "memory may not suffice: the run needs about 0." in done.out
