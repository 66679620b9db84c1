"""Ranks share a step's rows and sum what they computed. One process is a world of one."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from instil.batch.share import cost, deal
from instil.batch.trie import Row
from instil.core.errors import UserError

T = TypeVar("T")
BUCKET = 2**25
"""Elements that are summed over ranks in one call: many small tensors would each wait for all ranks."""


@dataclass(frozen=True)
class World:
    """`rank` of `size` processes (torchrun's). Collectives are called by every rank in the same order, whatever rows it holds.

    `shards`: over how many ranks weights, gradients and optimizer states are divided (FSDP2, `model.shard`); 0: every rank has them whole.
    """

    rank: int = 0
    size: int = 1
    shards: int = 0

    @property
    def leads(self) -> bool:
        """Only one rank writes and prints."""
        return self.rank == 0

    def turns(self, rows: Sequence[Row]) -> list[tuple[int, bool]]:
        """Indices of the rows that this rank computes, each with whether it counts.

        Ranks that share weights gather them together, so each must make as many passes as the others: one that has fewer rows computes
        the cheapest row once more, and it does not count.
        """
        if self.size == 1:
            return [(index, True) for index in range(len(rows))]
        hands = deal(rows, self.size)
        mine = [(index, True) for index in hands[self.rank]]
        missing = max(map(len, hands)) - len(mine) if self.shards else 0
        cheapest = min(range(len(rows)), key=lambda index: cost(rows[index]))
        return mine + [(cheapest, False)] * missing

    def sum(self, values: Mapping[str, float]) -> dict[str, float]:
        """Sum over ranks, name by name. A rank that computed no row may lack names that others have."""
        if self.size == 1:
            return dict(values)
        gathered = self.gather(dict(values))
        return {name: sum(g.get(name, 0.0) for g in gathered) for name in sorted({n for g in gathered for n in g})}

    def gather(self, value: T) -> list[T]:
        """Every rank's value, on every rank."""
        if self.size == 1:
            return [value]
        gathered = [value] * self.size
        dist.all_gather_object(gathered, value)
        return gathered

    def first(self, work: Callable[[], T]) -> T:
        """What `work` returns on the first rank, on all of them. Its UserError is raised on all of them."""
        if self.size == 1:
            return work()
        found: list[Any] = [None, None]
        if self.leads:
            try:
                found[0] = work()
            except UserError as error:
                found[1] = str(error)
        dist.broadcast_object_list(found)
        if found[1] is not None:
            raise UserError(found[1])
        return cast(T, found[0])

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace every gradient by its sum over ranks; a rank without rows contributes zeros. Those of divided weights are sums already.

        A parameter that no rank used keeps no gradient, as in one process: the optimizer must not decay or move it.
        """
        if self.size == 1 or self.shards:
            return
        parameters = list(parameters)
        used = torch.tensor([float(p.grad is not None) for p in parameters], device=parameters[0].device)
        dist.all_reduce(used)
        summed = [p for p, ranks in zip(parameters, used.tolist(), strict=True) if ranks]
        for bucket in _buckets(summed):
            flat = torch.cat([torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in bucket])
            dist.all_reduce(flat)
            for parameter, part in zip(bucket, flat.split([p.numel() for p in bucket]), strict=True):
                parameter.grad = part.view_as(parameter)

    def any(self, flag: bool) -> bool:
        """True on every rank if true on one."""
        return self.sum({"flag": float(flag)})["flag"] > 0

    def wait(self) -> None:
        if self.size > 1:
            dist.barrier()


def _buckets(parameters: Sequence[torch.nn.Parameter]) -> Iterator[list[torch.nn.Parameter]]:
    """Parameters of one dtype, at most `BUCKET` elements together, or one alone."""
    bucket: list[torch.nn.Parameter] = []
    for parameter in sorted(parameters, key=lambda p: str(p.dtype)):
        if bucket and (parameter.dtype != bucket[0].dtype or sum(p.numel() for p in bucket) + parameter.numel() > BUCKET):
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket


def mesh_of(world: World, device: torch.device) -> DeviceMesh:
    """Ranks as `model.shard` divides weights over them: all of them, or groups of `world.shards` neighbours that hold copies."""
    copies = world.size // world.shards
    if copies == 1:
        return init_device_mesh(device.type, (world.size,), mesh_dim_names=("shard",))
    return init_device_mesh(device.type, (copies, world.shards), mesh_dim_names=("copy", "shard"))


def is_rank() -> bool:
    """Whether torchrun, or `instil train --gpus`, started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def local_size(world: World) -> int:
    """How many of the ranks are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", world.size))


@contextlib.contextmanager
def in_turn(world: World) -> Iterator[None]:
    """The ranks of one machine go through the block one after another."""
    number, count = int(os.environ.get("LOCAL_RANK", world.rank)), max(world.gather(local_size(world)))
    for _ in range(number):
        world.wait()
    yield
    for _ in range(number, count):
        world.wait()


def join_world() -> World:
    """The world that torchrun's environment variables describe; gloo on CPU, nccl on CUDA."""
    if not is_rank():
        return World()
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if torch.cuda.is_available():
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if local >= torch.cuda.device_count():
            raise UserError(
                f"rank {rank} has no GPU of its own (local rank {local}, {torch.cuda.device_count()} GPUs): start fewer processes"
            )
        torch.cuda.set_device(local)
    if not dist.is_initialized():
        # Hours, not the default minutes: the other ranks wait while one tokenizes. Whether they wait in vain, `train.watch` finds out.
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=timedelta(hours=12))
    return World(rank, size)


def leave_world() -> None:
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
