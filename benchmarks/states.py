"""What states in eight bits and weights in bf16 cost and save: `python benchmarks/states.py`. Held-out losses of the demo's tuning (the
built-in model of 3.2M, 150 steps) under each way, beside float32 with two seeds and beside bf16 rounded to the nearest; then, for a random
Llama of 135M in a process of its own, the peak of memory beside what `instil.plan` predicts, and seconds of a step and of its update.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

RESULTS = Path(__file__).parent / "results" / "states.json"
WAYS: dict[str, dict[str, str]] = {
    "fp32": {},
    "8-bit states": {"optimizer": "adamw_8bit"},
    "bf16 weights": {"weights": "bf16"},
    "bf16 weights, 8-bit states": {"weights": "bf16", "optimizer": "adamw_8bit"},
}
NEAREST = "bf16 weights, rounded to the nearest"
SHAPE = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3}
TOKENS, EXAMPLE = 1024, 256


def held_out(name: str, seed: int, rate: float) -> float:
    """The last held-out loss of the demo's tuning."""
    import io

    from rich.console import Console

    from instil.batch.store import cache_folder
    from instil.core.loading import load_recipe
    from instil.pocket.dataset import write_dataset
    from instil.stages.demo import demo_knobs
    from instil.stages.tune import tune
    from instil.train import lean

    knobs = {f"train.{key}": value for key, value in WAYS.get(name, WAYS["bf16 weights"]).items()}
    nearest = patch.object(lean, "round_randomly", lambda exact, _: exact.bfloat16())
    with tempfile.TemporaryDirectory() as folder, nearest if name == NEAREST else patch.dict({}):
        given = {**demo_knobs(Path(folder) / "run", "full", write_dataset(cache_folder())), **knobs}
        del given["train.epochs"]
        given |= {"train.steps": 150, "train.precision": "bf16", "train.learning_rate": rate, "seed": seed, "evaluate": "none"}
        outcome = tune(load_recipe(None, given), Console(file=io.StringIO()))
    assert outcome.loss is not None
    return outcome.loss


def memory(name: str) -> dict[str, float]:
    import numpy as np
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from instil.batch.trie import lay_out
    from instil.core.recipe import Train
    from instil.core.values import Path as Tokens
    from instil.model.adapters import round_weights
    from instil.model.attention import tree_attention
    from instil.model.norms import lean_norms
    from instil.model.rotary import lean_rotary
    from instil.stages import build  # noqa: F401  what a run has imported
    from instil.train.distributed import World
    from instil.train.heap import give_back_freed_memory
    from instil.train.loop import take_step
    from instil.train.memory import autocast_for
    from instil.train.objectives import supervised
    from instil.train.optimizer import make_optimizer

    give_back_freed_memory()
    config = LlamaConfig(**SHAPE, head_dim=64, vocab_size=49152, tie_word_embeddings=True)
    model: Any = LlamaForCausalLM(config)
    if "weights" in WAYS[name]:
        round_weights(model, torch.bfloat16)
    optimizer = make_optimizer(model, Train(**WAYS[name]), 1e-4)
    updates: list[float] = []
    plain_step = optimizer.step

    def timed() -> None:
        began = time.perf_counter()
        plain_step()
        updates.append(time.perf_counter() - began)

    random, seconds = np.random.default_rng(0), []
    autocast, objective = autocast_for(torch.bfloat16, torch.device("cpu")), supervised(True)
    with lean_norms(model), lean_rotary(model), tree_attention(model), patch.object(optimizer, "step", timed):
        for step in range(3):
            paths = [Tokens(random.integers(3, 49152, EXAMPLE).astype(np.uint32), EXAMPLE // 2) for _ in range(TOKENS // EXAMPLE)]
            began = time.perf_counter()
            take_step(model, lay_out(paths, TOKENS), step, objective, optimizer, 0, 1.0, autocast, World(), str)
            seconds.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"peak_mib": round(peak), "step_s": round(float(np.median(seconds[1:])), 2), "update_s": round(float(np.median(updates[1:])), 3)}


def predict(name: str) -> float:
    from instil.plan.need import Way, need
    from instil.plan.shape import Shape

    shape = Shape(hidden=576, wide=1536, layers=30, heads=9, groups=3, width=64, vocabulary=49152, tied=True)
    way = Way(**WAYS[name], tokens=TOKENS, example=EXAMPLE)  # type: ignore[arg-type]
    return round(need(shape, way).total / 2**20)


def apart(*arguments: str) -> Any:
    """What this script prints with `arguments`, in a process of its own."""
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=True, env={**os.environ})
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["losses", "memory", "all"], default="all", help="measure only this part, keep the other")
    parser.add_argument("--loss", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    knobs = parser.parse_args()
    if knobs.loss:
        print(json.dumps(held_out(knobs.loss[0], int(knobs.loss[1]), float(knobs.loss[2]))))
        return
    if knobs.memory:
        print(json.dumps(memory(knobs.memory)))
        return
    from instil.core.run import hardware, versions

    found: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    found |= {"hardware": hardware(), "versions": versions()}
    if knobs.part != "memory":
        found["losses"] = {}
        for rate in ("3e-4", "3e-5"):
            for name, seed in (*((way, "0") for way in WAYS), ("fp32", "1"), (NEAREST, "0")):
                found["losses"][f"{name}, rate {rate}, seed {seed}"] = round(apart("--loss", name, seed, rate), 4)
                print(list(found["losses"].items())[-1], flush=True)
    if knobs.part != "losses":
        found["memory"] = {name: {"predicted_mib": predict(name), **apart("--memory", name)} for name in WAYS}
        print(json.dumps(found["memory"], indent=1))
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
