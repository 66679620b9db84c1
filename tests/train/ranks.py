"""Worlds of one, two and four ranks, each rank a forked process with torchrun's variables; what each found goes to a file.

Run as `python -m tests.train.ranks FOLDER`, outside of pytest: threads that other tests started do not survive a fork.
"""

import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from instil.core.recipe import Train
from instil.model.head import splits
from instil.model.shard import gather_trained, own_part, shard_model, within
from instil.train.checkpoint import State, load_optimizer, load_weights, read_state, save_checkpoint
from instil.train.distributed import World, join_world, leave_world, mesh_of
from instil.train.loop import Every, mean_loss
from instil.train.objectives import supervised
from instil.train.optimizer import make_optimizer
from tests.model.tiny import Float64
from tests.train.small import Trained, model_and_optimizer, rows_of, run, weights_of

SIZES = (1, 2, 4)
DIVIDED = {"2 of 2": (2, 2), "4 of 4": (4, 4), "2 of 4": (4, 2)}  # over how many ranks weights are divided, of how many
STEPS = 3
NARROW = 45  # tokens a row: three rows a step, so that the fourth rank has none


def start(size: int, folder: Path, work: Callable[[Path], None]) -> None:
    """All ranks of a world, to their end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(size):
        child = os.fork()
        if not child:
            os.environ.update(WORLD_SIZE=str(size), RANK=str(rank), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
            run_rank(folder / f"{size}-{rank}", work)
        children.append(child)
    assert not any(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children), f"a rank of {size} failed"


def run_rank(folder: Path, work: Callable[[Path], None]) -> None:
    signal.alarm(100)  # ranks that wait for each other for ever are killed, rather than left behind
    try:
        work(folder)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def whole(folder: Path) -> None:
    """Every rank has all weights."""
    folder.mkdir()
    world = join_world()
    found = {"rank": world.rank, "size": world.size, **training(world, folder), **sums(world), "stopped": stopping(world)}
    world.wait()
    leave_world()
    (folder / "found.json").write_text(json.dumps(found))


def divided(folder: Path) -> None:
    """Weights are divided, in every way that this many ranks allow; each such run saves a checkpoint, and continues others'."""
    world = join_world()
    for name, (size, shards) in DIVIDED.items():
        if size == world.size:
            world = replace(world, shards=shards)
            here = folder.parent / name / str(world.rank)
            here.mkdir(parents=True, exist_ok=True)
            (here / "found.json").write_text(json.dumps(divided_training(world, here)))
            world.wait()
    world.wait()
    leave_world()


class Divided:
    """A model, its optimizer and its objective in a world that divides weights, or keeps them whole."""

    def __init__(self, world: World, **changes: Any):
        self.world = world
        self.model, _ = model_and_optimizer(**changes)
        splits(self.model)
        self.objective = supervised(tree=True)
        if world.shards:
            root = shard_model(self.model, mesh_of(world, torch.device("cpu")))
            self.objective = within(root, self.objective)
        self.optimizer = make_optimizer(self.model, Train(weight_decay=0.01), 1e-2)

    def run(self, steps: int, **options: Any) -> Trained:
        evaluate = mean_loss(rows_of(NARROW)(9), self.objective, lambda: torch.autocast("cpu", enabled=False), self.world)
        plain = {"evaluate": evaluate, "every": Every(1, 1), "clip": 0.5, "rows_at": rows_of(NARROW)}
        return run(self.model, self.optimizer, steps, world=self.world, objective=self.objective, **{**plain, **options})

    def save(self, folder: Path, state: State) -> None:
        save_checkpoint(folder, self.model, self.optimizer, state, "recipe", self.world)

    def load(self, path: Path) -> State:
        load_weights(path, self.model)
        load_optimizer(path, self.model, self.optimizer)
        return read_state(path, "recipe")


def divided_training(world: World, folder: Path) -> dict[str, object]:
    checkpoints = folder.parent / "checkpoints"
    with Float64():
        now = Divided(world)
        trained = now.run(STEPS, save=lambda state: now.save(checkpoints, state))
        parts = {name: list(own_part(p).shape) for name, p in now.model.named_parameters()}
        gather_trained(now.model, world.leads)
        if world.leads:
            save_file(weights_of(now.model), folder / "weights.safetensors")
        tied = Divided(world, tie_word_embeddings=True)
        ended = tied.run(1)
    return {"steps": trained.steps, "held_out": list(trained.held_out.values()), "parts": parts, "tied": ended.steps}


def resumed(folder: Path) -> None:
    """Every run's first checkpoint, continued by this many ranks, dividing weights or not."""
    world = join_world()
    for name in (*DIVIDED, "whole"):
        for shards in sorted({0, world.size} - {1}):
            world = replace(world, shards=shards)
            with Float64():
                now = Divided(world)
                state = now.load(folder.parent / name / "checkpoints" / "step-1")
                trained = now.run(STEPS, state=state)
                gather_trained(now.model, world.leads)
            if world.leads:
                here = folder.parent / f"{name}, continued by {world.size} divided by {shards}"
                here.mkdir()
                save_file(weights_of(now.model), here / "weights.safetensors")
                (here / "found.json").write_text(json.dumps({"steps": trained.steps}))
    world.wait()
    leave_world()


def training(world: World, folder: Path) -> dict[str, object]:
    """A run, float64, clipped, with held-out losses."""
    with Float64():
        now = Divided(world)
        trained = now.run(STEPS, save=lambda state: now.save(folder.parent / "whole" / "checkpoints", state) if world.size == 2 else None)
    save_file(weights_of(now.model), folder / "weights.safetensors")
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
    for what in (whole, divided, resumed):
        for number in SIZES:
            start(number, Path(sys.argv[1]), what)
