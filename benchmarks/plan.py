"""What `instil plan` predicts, beside what a run takes: `python benchmarks/plan.py`. Peak memory, and seconds a step.

Each configuration trains three steps of two full rows in a process of its own, with the loop, objective and optimizer of `instil train`, on
a random Llama. Measured: the process's peak resident memory, and the median of the last two steps. Predicted: by `instil.plan` from the
configuration alone and this processor's matrix rate, before the process starts. Sizes are counted, not fitted; one part, the head's own
gradient, was added after a first look at the table. Memory that is freed is given back (`train/heap.py`), as it is in a run that has little
of it; so steps are slower than they could be.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path as Folder
from typing import Any

import numpy as np

RESULTS, PAGE = Folder(__file__).parent / "results" / "plan.json", Folder(__file__).parents[1] / "docs" / "plan.md"
BEGIN, END = "<!-- figures: benchmarks/plan.py -->\n", "<!-- end of figures -->\n"
SHAPES = {  # hidden, feed-forward, layers, heads, key-value heads, width of a head, vocabulary
    "6M": (256, 688, 4, 4, 4, 64, 8192),
    "25M": (384, 1024, 8, 6, 6, 64, 16384),
    "135M": (576, 1536, 30, 9, 3, 64, 49152),
    "360M": (960, 2560, 32, 15, 5, 64, 49152),
}
CASES: dict[str, dict[str, Any]] = {
    "6M full": {"shape": "6M", "tokens": 8192},
    "25M full": {"shape": "25M", "tokens": 8192},
    "25M full, rows of 2,048": {"shape": "25M", "tokens": 2048},
    "25M full, fp32": {"shape": "25M", "tokens": 4096, "precision": "fp32"},
    "25M full, recomputed": {"shape": "25M", "tokens": 8192, "recompute": True},
    "25M LoRA": {"shape": "25M", "tokens": 8192, "method": "lora"},
    "135M full": {"shape": "135M", "tokens": 2048},
    "135M LoRA": {"shape": "135M", "tokens": 2048, "method": "lora"},
    "135M full, recomputed": {"shape": "135M", "tokens": 4096, "recompute": True},
    "360M LoRA, recomputed": {"shape": "360M", "tokens": 1024, "method": "lora", "recompute": True},
}
EXAMPLE = 256
"""Tokens of an example, half of them trained."""


def config_of(shape: str) -> dict[str, Any]:
    names = (
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "vocab_size",
    )
    return {"model_type": "llama", **dict(zip(names, SHAPES[shape], strict=True)), "tie_word_embeddings": True}


def measure(case: dict[str, Any]) -> dict[str, Any]:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from instil.batch.trie import lay_out
    from instil.core.recipe import Lora, Train
    from instil.core.values import Path
    from instil.model.adapters import add_lora, round_frozen
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
    torch.set_num_threads(2)
    precision = torch.float32 if case.get("precision") == "fp32" else torch.bfloat16
    config = config_of(case["shape"])
    model: Any = LlamaForCausalLM(LlamaConfig(**{k: v for k, v in config.items() if k != "model_type"}))
    if case.get("method") == "lora":
        model = add_lora(model, Lora(rank=16))
        if precision == torch.bfloat16:
            round_frozen(model, precision)
    if case.get("recompute"):
        (model.get_base_model() if case.get("method") else model).gradient_checkpointing_enable({"use_reentrant": False})
    optimizer = make_optimizer(model, Train(), 1e-4)
    autocast, objective, random = autocast_for(precision, torch.device("cpu")), supervised(True), np.random.default_rng(0)
    seconds = []
    with lean_norms(model), lean_rotary(model), tree_attention(model):
        for step in range(3):
            count = 2 * case["tokens"] // EXAMPLE
            paths = [Path(random.integers(3, config["vocab_size"], EXAMPLE).astype(np.uint32), EXAMPLE // 2) for _ in range(count)]
            began = time.perf_counter()
            take_step(model, lay_out(paths, case["tokens"]), step, objective, optimizer, 0, 1.0, autocast, World(), str)
            seconds.append(time.perf_counter() - began)
    return {"peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024), "step_s": round(float(np.median(seconds[1:])), 3)}


def predict(case: dict[str, Any]) -> tuple[float, float]:
    """Bytes at the peak, and FLOP of a step."""
    from instil.plan.need import Way, flops_per_token, need
    from instil.plan.shape import read_shape

    shape = read_shape(config_of(case["shape"]))
    kind = {name: case[name] for name in ("method", "precision", "recompute", "tokens") if name in case}
    way = Way(**kind, example=EXAMPLE, predicted=0.5)
    return need(shape, way).total, 2 * case["tokens"] * flops_per_token(shape, way)


def table(found: dict[str, Any]) -> str:
    lines = [
        "| configuration | peak memory, MiB: predicted | measured | ratio | a step, s: predicted | measured |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, one in found.items():
        low, high = one["predicted_s"]
        lines.append(
            f"| {name} | {one['predicted_mib']:,} | {one['peak_mib']:,} | {one['predicted_mib'] / one['peak_mib']:.2f} "
            f"| {low:.1f} to {high:.1f} | {one['step_s']:.1f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    knobs = parser.parse_args()
    if knobs.case:
        print(json.dumps(measure(json.loads(knobs.case))))
        return
    from instil.core.run import hardware, versions
    from instil.plan.cards import UTILISATION_CPU
    from instil.stages.plan import _machine

    rate = _machine(None)[1]
    found = {}
    for name, case in CASES.items():
        total, flops = predict(case)
        command = [sys.executable, __file__, "--case", json.dumps(case)]
        environment = {**os.environ, "OMP_NUM_THREADS": "2"}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        seconds = [round(flops / rate / share, 2) for share in UTILISATION_CPU[::-1]]
        found[name] = {"predicted_mib": round(total / 2**20), "predicted_s": seconds, **json.loads(done.stdout.splitlines()[-1])}
        print(name, found[name], flush=True)
    facts = {"rate_gflops": round(rate / 1e9), "hardware": hardware(), "versions": versions(), "cases": found}
    RESULTS.write_text(json.dumps(facts, indent=1) + "\n")
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    PAGE.write_text(before + BEGIN + "\n" + table(found) + "\n" + END + rest.split(END)[1], encoding="utf-8")


if __name__ == "__main__":
    main()
