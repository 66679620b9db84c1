"""Checkpoints: what is loaded is what was saved, whatever is damaged is noticed, and what is there survives a full disk."""

import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from instil.core.errors import UserError
from instil.train.checkpoint import State, list_checkpoints, load_optimizer, load_weights, prune, read_state, save_checkpoint
from tests.model.tiny import build
from tests.train.small import model_and_optimizer, run, weights_of

STATE = State(step=2, best_loss=1.25, best_step=1)
FILES = ["weights.safetensors", "optimizer.safetensors", "state.json"]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A checkpoint after two steps."""
    model, optimizer = model_and_optimizer()
    run(model, optimizer, steps=2)
    return save_checkpoint(tmp_path, model, optimizer, STATE, "recipe")


def test_round_trip(saved: Path) -> None:
    """Loaded into a model with other weights, it goes on exactly as the run that was never interrupted."""
    whole, resumed = model_and_optimizer(), model_and_optimizer()
    records = run(*whole, steps=4).steps
    with torch.no_grad():
        for parameter in resumed[0].parameters():
            parameter.add_(1)
    assert read_state(saved, "recipe") == STATE
    load_weights(saved, resumed[0])
    load_optimizer(saved, *resumed)
    assert run(*resumed, steps=4, state=State(step=2)).steps == records[2:]
    assert all(torch.equal(a, b) for a, b in zip(weights_of(whole[0]).values(), weights_of(resumed[0]).values(), strict=True))
    expected, found = (optimizer.state_dict()["state"] for _, optimizer in (whole, resumed))
    assert expected.keys() == found.keys()
    for index, a in expected.items():
        b = found[index]
        assert a.keys() == b.keys() == {"step", "exp_avg", "exp_avg_sq"}
        assert all(torch.equal(a[key], b[key]) and a[key].dtype == b[key].dtype for key in a)


def test_nothing_best_yet(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, *model_and_optimizer(), State(step=7), "recipe")
    assert read_state(tmp_path / "step-7", "recipe") == State(step=7)


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit(saved: Path, name: str) -> None:
    """Anywhere in the file; of the big ones a sample."""
    file = saved / name
    whole = file.read_bytes()
    for at in range(0, len(whole), 1 if name == "state.json" else len(whole) // 40):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(UserError, match=rf"^checkpoint .*step-2 is damaged \({name} does not match its checksum\): delete .*step-2 to"):
            read_state(saved, "recipe")
    file.write_bytes(whole)
    assert read_state(saved, "recipe") == STATE


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("left", [0, 100])
def test_file_cut_short(saved: Path, name: str, left: int) -> None:
    (saved / name).write_bytes((saved / name).read_bytes()[:left])
    with pytest.raises(UserError, match=f"is damaged .{name}"):
        read_state(saved, "recipe")


@pytest.mark.parametrize("text", ["[]", "null", "{}", '{"step": 2}', "\udcff"])
def test_state_of_another_shape(saved: Path, text: str) -> None:
    (saved / "state.json").write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(UserError, match=r"is damaged \(state.json does not match its checksum\)"):
        read_state(saved, "recipe")


@pytest.mark.parametrize("name", FILES)
def test_missing_file(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(UserError, match=f"step-2 .*{name}.*: delete .*step-2 to continue from the checkpoint before it, or start a new"):
        read_state(saved, "recipe")


def test_another_recipe(saved: Path) -> None:
    with pytest.raises(UserError, match="^checkpoint .*step-2 was written under another recipe: restore the run's recipe.yaml, or"):
        read_state(saved, "another")


@pytest.mark.parametrize("change", [{"hidden_size": 64}, {"num_hidden_layers": 1}, {"vocab_size": 98}, {"num_hidden_layers": 3}])
def test_another_model(saved: Path, change: dict[str, int]) -> None:
    model = build("llama", **change)
    before = weights_of(model)
    with pytest.raises(UserError, match=r"step-2 does not fit the model \(\S+.*\): restore the base model that the run began with$"):
        load_weights(saved, model)
    assert all(torch.equal(before[name], weight) for name, weight in weights_of(model).items())


def test_prune_keeps_last_and_best(tmp_path: Path) -> None:
    model, optimizer = model_and_optimizer()
    for step in (2, 10, 4, 6, 8):
        save_checkpoint(tmp_path, model, optimizer, State(step), "recipe")
    (tmp_path / ".step-12.99.tmp").mkdir()
    (tmp_path / "step-x").mkdir()
    assert [p.name for p in list_checkpoints(tmp_path)] == ["step-2", "step-4", "step-6", "step-8", "step-10"], "by number, not by name"
    prune(tmp_path, State(step=10, best_loss=1.0, best_step=4))
    assert [p.name for p in list_checkpoints(tmp_path)] == ["step-4", "step-10"]
    prune(tmp_path, State(step=10))
    assert [p.name for p in list_checkpoints(tmp_path)] == ["step-10"]


def test_no_checkpoints_yet(tmp_path: Path) -> None:
    assert list_checkpoints(tmp_path / "checkpoints") == []


@pytest.fixture
def tight_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 800 KiB: room for one checkpoint of about 530 KiB, not for two."""
    folder = tmp_path / "tight"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=800k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a file system takes more rights than this user has")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def small_files(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Files are limited to so many bytes (as `ulimit -f` does) from the call on: writing more fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size: int) -> Path:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        return tmp_path

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_full_disk(tight_disk: Path) -> None:
    model, optimizer = model_and_optimizer()
    run(model, optimizer, steps=1)
    save_checkpoint(tight_disk, model, optimizer, State(step=1), "recipe")
    with pytest.raises(UserError, match="^no space left on the disk that holds .*step-2: free some, then start again; what was"):
        save_checkpoint(tight_disk, model, optimizer, State(step=2), "recipe")
    assert [p.name for p in tight_disk.iterdir()] == ["step-1"], "nothing half-written stays behind"
    assert read_state(tight_disk / "step-1", "recipe") == State(step=1)


@pytest.mark.parametrize("size", [20_000, 200_000])
def test_file_too_large(small_files: Callable[[int], Path], tmp_path: Path, size: int) -> None:
    """In the weights, then in the optimizer's states."""
    model, optimizer = model_and_optimizer()
    run(model, optimizer, steps=1)
    kept = save_checkpoint(tmp_path, model, optimizer, State(step=1), "recipe")
    sizes = [(kept / name).stat().st_size for name in FILES]
    assert 20_000 < sizes[0] < 200_000 < sizes[1], "or the limits lie elsewhere"
    folder = small_files(size)
    with pytest.raises(UserError, match="step-2 .*`ulimit -f`"):
        save_checkpoint(folder, model, optimizer, State(step=2), "recipe")
    assert [p.name for p in folder.iterdir()] == ["step-1"]
    assert read_state(kept, "recipe") == State(step=1)
