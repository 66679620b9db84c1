"""Ranks share a step's rows and sum what they computed. One process is a world of one."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from instil.core.errors import UserError


@dataclass(frozen=True)
class World:
    """`rank` of `size` processes (torchrun's). Collectives are called by every rank in the same order, whatever rows it holds."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Only one rank writes and prints."""
        return self.rank == 0

    def sum(self, values: Mapping[str, float]) -> dict[str, float]:
        """Sum over ranks, name by name. A rank that computed no row may lack names that others have."""
        if self.size == 1:
            return dict(values)
        gathered: list[dict[str, float]] = [{} for _ in range(self.size)]
        dist.all_gather_object(gathered, dict(values))
        return {name: sum(g.get(name, 0.0) for g in gathered) for name in sorted({n for g in gathered for n in g})}

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace every gradient by its sum over ranks; a rank without rows contributes zeros.

        A parameter that no rank used keeps no gradient, as in one process: the optimizer must not decay or move it.
        """
        if self.size == 1:
            return
        parameters = list(parameters)
        used = torch.tensor([float(p.grad is not None) for p in parameters], device=parameters[0].device)
        dist.all_reduce(used)
        for parameter in (p for p, ranks in zip(parameters, used.tolist(), strict=True) if ranks):
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            dist.all_reduce(parameter.grad)

    def any(self, flag: bool) -> bool:
        """True on every rank if true on one."""
        return self.sum({"flag": float(flag)})["flag"] > 0

    def wait(self) -> None:
        if self.size > 1:
            dist.barrier()


def join_world() -> World:
    """The world that torchrun's environment variables describe; gloo on CPU, nccl on CUDA."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World()
    rank = int(os.environ["RANK"])
    if torch.cuda.is_available():
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if local >= torch.cuda.device_count():
            raise UserError(
                f"rank {rank} has no GPU of its own (local rank {local}, {torch.cuda.device_count()} GPUs): start fewer processes"
            )
        torch.cuda.set_device(local)
    if not dist.is_initialized():
        # Hours, not the default minutes: the other ranks wait while one tokenizes.
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=timedelta(hours=12))
    return World(rank, size)


def leave_world() -> None:
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
