"""Worlds of one, two and four ranks, each rank a forked process with torchrun's variables; what each found goes to a file.

Run as `python -m tests.train.ranks FOLDER`, outside of pytest: threads that other tests started do not survive a fork.
"""

import json
import os
import signal
import socket
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from instil.train.distributed import World, join_world, leave_world
from instil.train.loop import Every, mean_loss
from instil.train.objectives import supervised
from tests.model.tiny import Float64
from tests.train.small import model_and_optimizer, rows_of, run, weights_of

SIZES = (1, 2, 4)
STEPS = 3
NARROW = 45  # tokens a row: three rows a step, so that the fourth rank has none


def start(size: int, folder: Path) -> None:
    """All ranks of a world, to their end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(size):
        child = os.fork()
        if not child:
            os.environ.update(WORLD_SIZE=str(size), RANK=str(rank), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
            work(folder / f"{size}-{rank}")
            os._exit(0)
        children.append(child)
    assert not any(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children), f"a rank of {size} failed"


def work(folder: Path) -> None:
    signal.alarm(60)  # ranks that wait for each other for ever are killed, rather than left behind
    folder.mkdir()
    world = join_world()
    found = {"rank": world.rank, "size": world.size, **training(world, folder), **sums(world), "stopped": stopping(world)}
    world.wait()
    leave_world()
    (folder / "found.json").write_text(json.dumps(found))


def training(world: World, folder: Path) -> dict[str, object]:
    """A run, float64, clipped, with held-out losses."""
    with Float64():
        model, optimizer = model_and_optimizer()
        evaluate = mean_loss(rows_of(NARROW)(9), supervised(tree=True), lambda: torch.autocast("cpu", enabled=False), world)
        options = {"evaluate": evaluate, "every": Every(1, 1), "clip": 0.5}
        trained = run(model, optimizer, STEPS, rows_at=rows_of(NARROW), world=world, **options)
    save_file(weights_of(model), folder / "weights.safetensors")
    return {"steps": trained.steps, "held_out": list(trained.held_out.values())}


def sums(world: World) -> dict[str, object]:
    """Names that one rank lacks; gradients that one rank, or all, lack."""
    named = world.sum({"all": 1.0, **({"first": 2.0} if world.rank == 0 else {"others": 3.0})})
    everywhere, first, nowhere = (torch.nn.Parameter(torch.zeros(2)) for _ in range(3))
    everywhere.grad = torch.full((2,), 1.0 + world.rank)
    if world.leads:
        first.grad = torch.full((2,), 5.0)
    world.sum_gradients(iter([everywhere, first, nowhere]))
    gradients = [None if p.grad is None else p.grad.tolist() for p in (everywhere, first, nowhere)]
    return {"named": named, "gradients": gradients, "any": [world.any(world.rank == world.size - 1), world.any(False)]}


def stopping(world: World) -> int:
    """Steps after which all ranks stop, if only the last one is asked to, after its second."""
    asked = iter([False, world.rank == world.size - 1, False])
    return run(*model_and_optimizer(), STEPS, world=world, stop=asked.__next__).state.step


if __name__ == "__main__":
    for number in SIZES:
        start(number, Path(sys.argv[1]))
