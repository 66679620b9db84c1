"""Checkpoints: wholly there or not there, verified before they are used, complete enough that a resumed run is the same run.

    step-N/  weights.safetensors (trainable parameters)  optimizer.safetensors  state.json (step, best, recipe, checksums)
    step-N/  shards/ (both, in one file per rank)  state.json                   where weights are divided among ranks

Whichever was written is read by any number of ranks, whether they divide weights or not.
The batch of step s and every random number of it are functions of (seed, s), so neither data position nor generator state is saved.
"""

import contextlib
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from instil.core.errors import UserError
from instil.core.files import atomic_folder, hash_file, hash_text, read_json, write_json
from instil.model.shard import divided_like
from instil.train.checkpoint_shards import SHARDS, empty_states, read_shards, shapes_in_shards, write_shards
from instil.train.distributed import World
from instil.train.lean import place_state

WEIGHTS, OPTIMIZER, STATE = "weights.safetensors", "optimizer.safetensors", "state.json"


@dataclass(frozen=True)
class State:
    """How far a run has come: `step` optimizer steps are done; the lowest held-out loss was seen after `best_step` of them."""

    step: int = 0
    best_loss: float | None = None
    best_step: int | None = None


def save_checkpoint(
    folder: Path,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    state: State,
    recipe: str,
    world: World = World(),  # noqa: B008  frozen
) -> Path:
    """Write `folder/step-N`; every rank calls it. `recipe`: hash that a resume must match."""
    path = folder / f"step-{state.step}"
    with _led(path, world) as temporary, plain_disk_errors():
        if world.shards:
            checksums = write_shards(temporary, _under_one_roof(model, optimizer), world)
        elif world.leads:
            checksums = _write_whole(temporary, model, optimizer)
        if world.leads:
            record = {**asdict(state), "recipe": recipe, "checksums": checksums}
            write_json(temporary / STATE, {**record, "checksum": _checksum(record)})
    return path


@contextlib.contextmanager
def _led(path: Path, world: World) -> Iterator[Path]:
    """The first rank's temporary folder, on all ranks that write; it becomes `path` when they have left the block well."""
    with atomic_folder(path) if world.leads else contextlib.nullcontext(path) as own:
        if not world.shards:
            yield own
        else:
            yield Path(world.gather(str(own))[0])
            world.wait()
    world.wait()


def _write_whole(folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, str]:
    for name, tensors in ((WEIGHTS, trainable_tensors(model)), (OPTIMIZER, optimizer_tensors(model, optimizer))):
        save_file({key: t.detach().contiguous().cpu() for key, t in tensors.items()}, folder / name)
    return {name: hash_file(folder / name) for name in (WEIGHTS, OPTIMIZER)}


def _under_one_roof(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    weights = {f"weights:{name}": tensor for name, tensor in trainable_tensors(model).items()}
    return {**weights, **{f"optimizer:{name}": tensor for name, tensor in optimizer_tensors(model, optimizer).items()}}


@contextlib.contextmanager
def plain_disk_errors() -> Iterator[None]:
    """safetensors wraps what the operating system says, e.g. `I/O error: No space left on device (os error 28)`: unwrap it."""
    try:
        yield
    except SafetensorError as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), str(error)) from error


def _checksum(record: dict[str, Any]) -> str:
    return hash_text(json.dumps(record, sort_keys=True))


def prune(folder: Path, state: State) -> None:
    """Keep the last and the best checkpoint."""
    for path in list_checkpoints(folder):
        if path.name not in (f"step-{state.step}", f"step-{state.best_step}"):
            shutil.rmtree(path, ignore_errors=True)


def list_checkpoints(folder: Path) -> list[Path]:
    """Finished checkpoints, oldest first."""
    found = [p for p in folder.glob("step-*") if p.name.removeprefix("step-").isdigit()] if folder.exists() else []
    return sorted(found, key=lambda p: int(p.name.removeprefix("step-")))


def last_checkpoint(folder: Path, recipe: str) -> tuple[Path, State] | None:
    """The newest checkpoint, verified as `read_state` does, and its state. None where there is none yet."""
    found = list_checkpoints(folder)
    return (found[-1], read_state(found[-1], recipe)) if found else None


def read_state(path: Path, recipe: str) -> State:
    """The state of a checkpoint, after its files were verified.

    Raises UserError: damaged, incomplete, or written by a run of another recipe.
    """
    record = _whole(path)
    if record["recipe"] != recipe:
        raise UserError(
            f"checkpoint {path} was written under another recipe: restore the run's recipe.yaml, or start a new run with the changed recipe"
        )
    return State(record["step"], record["best_loss"], record["best_step"])


def _whole(path: Path) -> dict[str, Any]:
    advice = f"delete {path} to continue from the checkpoint before it, or start a new run"
    if not (path / STATE).exists():
        raise UserError(f"checkpoint {path} has no {STATE}: {advice}")
    try:
        record: dict[str, Any] = read_json(path / STATE)
        whole = record.pop("checksum") == _checksum(record)
    except (UserError, UnicodeDecodeError, AttributeError, KeyError, TypeError):
        whole = False
    if not whole:
        raise UserError(f"checkpoint {path} is damaged ({STATE} does not match its checksum): {advice}")
    for name, expected in record["checksums"].items():
        if not (path / name).exists() or hash_file(path / name) != expected:
            raise UserError(f"checkpoint {path} is damaged ({name} does not match its checksum): {advice}")
    return record


def load_weights(path: Path, model: torch.nn.Module) -> None:
    """Copy a verified checkpoint's weights into the model. Raises UserError where the parameters are not the model's."""
    current = trainable_tensors(model)
    _check_shapes(path, current)
    if (path / SHARDS).exists():
        read_shards(path, {f"weights:{name}": tensor for name, tensor in current.items()})
        return
    with torch.no_grad(), safe_open(path / WEIGHTS, "pt") as file:
        for name, tensor in current.items():
            tensor.copy_(divided_like(file.get_tensor(name), tensor))


def _check_shapes(path: Path, current: dict[str, torch.Tensor]) -> None:
    wanted = {name: tensor.shape for name, tensor in current.items()}
    if (path / SHARDS).exists():
        shapes = {n.removeprefix("weights:"): s for n, s in shapes_in_shards(path).items() if n.startswith("weights:")}
    else:
        with safe_open(path / WEIGHTS, "pt") as file:
            shapes = {name: torch.Size(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  no mapping
    if odd := sorted(name for name in shapes.keys() | wanted.keys() if shapes.get(name) != wanted.get(name)):
        raise UserError(f"checkpoint {path} does not fit the model ({', '.join(odd[:3])}): restore the base model that the run began with")


def load_optimizer(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Give the optimizer the states that it had when the checkpoint was written."""
    parameters = dict(model.named_parameters())
    for key, tensor in _saved_states(path, parameters):
        kind, _, name = key.partition(":")
        optimizer.state[parameters[name]][kind] = place_state(optimizer, tensor, parameters[name])


def _saved_states(path: Path, parameters: dict[str, torch.nn.Parameter]) -> Iterator[tuple[str, torch.Tensor]]:
    """`kind:parameter` and the state, divided as its parameter is where it has the same shape."""
    if (path / SHARDS).exists():
        states = empty_states(path, parameters)
        read_shards(path, states)
        yield from ((name.removeprefix("optimizer:"), state) for name, state in states.items())
        return
    for key, tensor in load_file(path / OPTIMIZER).items():
        parameter = parameters[key.partition(":")[2]]
        yield key, divided_like(tensor, parameter) if tensor.shape == parameter.shape else tensor.clone().to(parameter.device)


def trainable_tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def optimizer_tensors(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    named = trainable_tensors(model)
    return {f"{key}:{name}": value for name, p in named.items() for key, value in optimizer.state.get(p, {}).items()}
