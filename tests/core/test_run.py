import importlib.metadata
import json
from pathlib import Path

import pytest

from instil.core.errors import UserError
from instil.core.loading import load_recipe
from instil.core.recipe import Recipe
from instil.core.run import RunFolder, check_new, create_run, hardware, open_run, run_name, versions, write_manifest


def recipe(tmp_path: Path, name: str | None = "first") -> Recipe:
    return load_recipe({"model": "m", "data": "a.jsonl", "runs": str(tmp_path / "runs"), "name": name, "system": "é\n: #"})


def test_a_new_run_holds_its_recipe(tmp_path: Path) -> None:
    asked = recipe(tmp_path)
    folder = create_run(asked)
    assert folder == open_run(tmp_path / "runs" / "first") == open_run(str(tmp_path / "runs" / "first"))
    assert folder.read_recipe() == asked
    assert [p.name for p in folder.path.iterdir()] == ["recipe.yaml"]


def test_a_run_that_exists_is_not_touched(tmp_path: Path) -> None:
    create_run(recipe(tmp_path))
    before = (tmp_path / "runs" / "first" / "recipe.yaml").read_bytes()
    for make in (check_new, create_run):
        with pytest.raises(UserError, match=r"runs/first exists already: continue it with `instil train --resume .*runs/first`, or choose"):
            make(recipe(tmp_path).model_copy(update={"seed": 1}))
    assert (tmp_path / "runs" / "first" / "recipe.yaml").read_bytes() == before


def test_check_new_makes_nothing(tmp_path: Path) -> None:
    assert check_new(recipe(tmp_path)).path == tmp_path / "runs" / "first"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("given", "name"), [(None, "run"), ("a-b_c.1", "a-b_c.1"), ("7", "7"), ("größer", "größer")])
def test_names(tmp_path: Path, given: str | None, name: str) -> None:
    assert run_name(recipe(tmp_path, given)) == name


@pytest.mark.parametrize("name", ["..", ".", ".hidden", "-x", "a/b", "a b", "../../etc", "a\n", "/"])
def test_names_that_would_lead_elsewhere(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="run name"):
        create_run(recipe(tmp_path, name))
    assert not (tmp_path / "runs").exists()


def test_folders_that_are_no_runs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path, tmp_path / "absent", tmp_path / "file"):
        with pytest.raises(UserError, match=r"is not a run folder \(no recipe.yaml in it\): give the folder that `instil train` made"):
            open_run(path)


def test_a_damaged_recipe_is_a_sentence(tmp_path: Path) -> None:
    folder = create_run(recipe(tmp_path))
    folder.recipe.write_text("model: m\n  data: [", encoding="utf-8")
    with pytest.raises(UserError, match=r"recipe\.yaml, line 2, is not valid YAML"):
        folder.read_recipe()


def test_runs_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(UserError, match="a part of that path is a file: choose another folder"):
        create_run(recipe(tmp_path))


def test_the_manifest_grows_and_keeps_how_it_began(tmp_path: Path) -> None:
    folder = create_run(recipe(tmp_path))
    write_manifest(folder, rows=3, seed=1)
    first = json.loads(folder.manifest.read_text())
    write_manifest(folder, rows=4)
    second = json.loads(folder.manifest.read_text())
    assert (first["rows"], second["rows"], second["seed"]) == (3, 4, 1)
    assert second["started"] == first["started"] <= second["written"]
    assert second["versions"] == versions()
    assert second["hardware"]["cores"] >= 1 and second["hardware"]["memory_gib"] > 0


def test_a_damaged_manifest_is_a_sentence(tmp_path: Path) -> None:
    folder = create_run(recipe(tmp_path))
    folder.manifest.write_text("{")
    with pytest.raises(UserError, match=r"manifest\.json is damaged"):
        write_manifest(folder, rows=3)


def test_versions_and_hardware_are_plain_json() -> None:
    found = versions()
    assert found["torch"] == importlib.metadata.version("torch") and found["python"].startswith("3.")
    assert json.loads(json.dumps(hardware())) == hardware()


def test_everything_lies_in_the_folder(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    parts = (folder.recipe, folder.manifest, folder.ledger, folder.metrics, folder.checkpoints, folder.model)
    assert [part.parent for part in parts] == [tmp_path] * 6 and len({part.name for part in parts}) == 6
