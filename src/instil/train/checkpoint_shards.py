"""Checkpoints of divided weights: every rank writes its share (`torch.distributed.checkpoint`), any number of ranks reads them."""

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from instil.core.files import hash_file
from instil.train.distributed import World

SHARDS = "shards"


def write_shards(folder: Path, tensors: Mapping[str, torch.Tensor], world: World) -> dict[str, str]:
    """Write `tensors` under `folder`/shards, each rank its own share. Called by every rank; returns the checksum of every file, on all."""
    save({name: tensor.detach() for name, tensor in tensors.items()}, checkpoint_id=folder / SHARDS)
    prefixes = (f"__{world.rank}_", ".metadata") if world.leads else (f"__{world.rank}_",)
    own = {f"{SHARDS}/{path.name}": hash_file(path) for path in (folder / SHARDS).iterdir() if path.name.startswith(prefixes)}
    return {name: checksum for found in world.gather(own) for name, checksum in found.items()}


def shapes_in_shards(folder: Path) -> dict[str, torch.Size]:
    return {name: found.size for name, found in _index(folder).items()}


def read_shards(folder: Path, into: Mapping[str, torch.Tensor]) -> None:
    """Fill tensors, divided or whole, with what was saved under their names. Called by every rank."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # one process reads what many wrote
        load({name: tensor.detach() for name, tensor in into.items()}, checkpoint_id=folder / SHARDS)


def empty_states(folder: Path, parameters: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`optimizer:kind:parameter` -> a tensor to read it into: divided as its parameter is, where it has the same shape."""
    states = {}
    for name, found in _index(folder).items():
        if name.startswith("optimizer:"):
            like, dtype = parameters[name.split(":", 2)[2]], found.properties.dtype
            alike = found.size == like.shape
            states[name] = torch.zeros_like(like, dtype=dtype) if alike else torch.zeros(found.size, dtype=dtype, device=like.device)
    return states


def _index(folder: Path) -> dict[str, TensorStorageMetadata]:
    found = FileSystemReader(folder / SHARDS).read_metadata().state_dict_metadata
    return {name: entry for name, entry in found.items() if isinstance(entry, TensorStorageMetadata)}
