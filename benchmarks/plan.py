"""What `instil plan` predicts, beside what a run takes: `python benchmarks/plan.py`. Peak memory, and seconds a step.

Each configuration trains a few steps of two full rows in processes of its own, built as `instil train` builds it, on a random Llama.
Measured: the peak resident memory of one that gives back freed memory, as a run does that has little of it (`train/heap.py`); the median
step of one that keeps it, as a run does that has enough, the first step left out. Predicted: memory from the configuration alone; the step
from a few layers with random weights, timed for seconds in a third process (`stages/pace.py`), and, as it was before, from this processor's
matrix rate. Sizes are counted, not fitted; one part, the head's own gradient, was added after a first look at the table.

`--runs` instead plans whole runs on the command line, then really trains them, each in a process of its own, and compares the range of
`instil plan` with the seconds by the wall, from the command to its end, without the evaluation: the built-in model on the built-in data,
and a random Llama of 25M parameters on Alpaca rows (`--shared`, as in `sft_cpu.py`; left out where there are none). It takes a quarter of
an hour, and wants a quiet machine.

With `--threads 1` seconds are the process's own, not the wall's: for a machine that others use as well. `--only NAME` runs one
configuration and leaves the figures of the others as they are: a machine need not be quiet for half an hour.
"""

import argparse
import contextlib
import fcntl
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path as Folder
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from instil.core.recipe import Recipe
    from instil.core.values import Path
    from instil.stages.fit import Fit

RESULTS, PAGE = Folder(__file__).parent / "results" / "plan.json", Folder(__file__).parents[1] / "docs" / "plan.md"
BEGIN, END = "<!-- figures: benchmarks/plan.py -->\n", "<!-- end of figures -->\n"
BEGIN_RUNS, END_RUNS = "<!-- figures: benchmarks/plan.py --runs -->\n", "<!-- end of runs -->\n"
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
RUNS: dict[str, dict[str, Any]] = {
    "built-in 3M, full, 300 steps": {"method": "full", "train.steps": 300, "train.batch": 16, "train.learning_rate": 3e-4},
    "built-in 3M, full, 900 steps": {"method": "full", "train.steps": 900, "train.batch": 16, "train.learning_rate": 3e-4},
    "built-in 3M, LoRA, 150 steps": {"method": "lora", "train.steps": 150, "train.batch": 32, "train.learning_rate": 4e-3},
    "built-in 3M, LoRA, 450 steps": {"method": "lora", "train.steps": 450, "train.batch": 32, "train.learning_rate": 4e-3},
    "25M, full, Alpaca, 30 steps": {"method": "full", "train.steps": 30, "train.learning_rate": 1e-4, "alpaca": True},
    "25M, LoRA, Alpaca, 30 steps": {"method": "lora", "train.steps": 30, "train.learning_rate": 1e-3, "alpaca": True},
}
EXAMPLE = 256
"""Tokens of an example, half of them trained."""
STEPS = {True: 4, False: 3}
"""Where freed memory is kept, where it is given back."""
NAMES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "vocab_size")


def config_of(shape: str) -> dict[str, Any]:
    return {"model_type": "llama", **dict(zip(NAMES, SHAPES[shape], strict=True)), "tie_word_embeddings": True}


def recipe_of(case: dict[str, Any]) -> "Recipe":
    from instil.core.recipe import Recipe

    train = {
        "max_tokens": case["tokens"],
        "precision": case.get("precision", "bf16"),
        "checkpointing": "on" if case.get("recompute") else "off",
        "learning_rate": 1e-4,
    }
    return Recipe.model_validate({"model": "random", "data": "random", "method": case.get("method", "full"), "train": train})


def paths_of(case: dict[str, Any], step: int) -> "list[Path]":
    """Two rows of random examples."""
    from instil.core.values import Path

    random = np.random.default_rng(step)
    vocabulary = config_of(case["shape"])["vocab_size"]
    return [Path(random.integers(3, vocabulary, EXAMPLE).astype(np.uint32), EXAMPLE // 2) for _ in range(2 * case["tokens"] // EXAMPLE)]


def fit_of(case: dict[str, Any], memory: float) -> "Fit":
    from instil.plan.need import Way
    from instil.plan.shape import read_shape
    from instil.stages.fit import Fit, Load

    kind = {name: case[name] for name in ("method", "precision", "recompute", "tokens") if name in case}
    tokens = case["tokens"]
    load = Load(1, 2 * tokens, 2 * tokens, tokens, EXAMPLE, 0.5)
    return Fit(read_shape(config_of(case["shape"])), load, Way(**kind, example=EXAMPLE, predicted=0.5), tokens, memory)


def clock_of(threads: int) -> Callable[[], float]:
    """One thread's own time, which somebody else's work beside it changes least; else the wall's."""
    return time.process_time if threads == 1 else time.perf_counter


def measure(case: dict[str, Any], keep: bool) -> dict[str, Any]:
    """Steps as `instil train` takes them."""
    import torch
    from rich.console import Console
    from transformers import LlamaConfig, LlamaForCausalLM

    from instil.batch.trie import lay_out
    from instil.model.attention import tree_attention
    from instil.model.lora import lean_lora
    from instil.model.norms import lean_norms
    from instil.model.probe import probe
    from instil.model.rotary import lean_rotary
    from instil.stages.build import adapt, ready_blocks
    from instil.stages.say import Teller
    from instil.train.distributed import World
    from instil.train.heap import give_back_freed_memory, keep_freed_memory
    from instil.train.loop import take_step
    from instil.train.memory import autocast_for
    from instil.train.objectives import supervised
    from instil.train.optimizer import make_optimizer

    clock = clock_of(torch.get_num_threads())
    (keep_freed_memory if keep else give_back_freed_memory)()
    recipe, cpu = recipe_of(case), torch.device("cpu")
    precision = torch.float32 if recipe.train.precision == "fp32" else torch.bfloat16
    base = LlamaForCausalLM(LlamaConfig(**{k: v for k, v in config_of(case["shape"]).items() if k != "model_type"}))
    probe(base, paths_of(case, 0)[:2])
    model: Any = adapt(base, recipe, [], precision, cpu)[0]
    ready_blocks(base, bool(case.get("recompute")), recipe, Teller(Console(), quiet=True))
    optimizer = make_optimizer(model, recipe.train, recipe.learning_rate)
    seconds = []
    with lean_norms(model), lean_rotary(model), lean_lora(model), tree_attention(model):
        for step in range(STEPS[keep]):
            began = clock()
            rows = lay_out(paths_of(case, step), case["tokens"])
            take_step(model, rows, step, supervised(True), optimizer, 0, 1.0, autocast_for(precision, cpu), World(), str)
            seconds.append(clock() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"peak_mib": round(peak), "step_s": round(float(np.median(seconds[1:])), 3)}


def predict(case: dict[str, Any]) -> dict[str, Any]:
    """Seconds of a step: from the rate alone (from, to), from a few layers; and how long that took."""
    import torch
    from transformers import LlamaConfig

    from instil.plan.cards import UTILISATION_CPU
    from instil.plan.need import flops_per_token
    from instil.stages.pace import measure_pace
    from instil.stages.plan import measure_rate

    fit = fit_of(case, 2.0**36)
    dtype = torch.float32 if case.get("precision") == "fp32" else torch.bfloat16
    rate = measure_rate(torch.device("cpu"), dtype, 1024, clock_of(torch.get_num_threads()))
    flops = fit.load.tokens * flops_per_token(fit.shape, fit.way)
    config = LlamaConfig(**{k: v for k, v in config_of(case["shape"]).items() if k != "model_type"})
    began = time.perf_counter()
    pace = measure_pace(recipe_of(case), config, [paths_of(case, step) for step in range(4)], fit, rate, clock_of(torch.get_num_threads()))
    assert pace is not None
    return {
        "rate_gflops": round(rate / 1e9),
        "counted_s": [round(flops / rate / share, 2) for share in UTILISATION_CPU[::-1]],
        "predicted_s": round(pace.step(fit.load.tokens), 3),
        "layers": pace.layers,
        "measuring_s": round(time.perf_counter() - began, 1),
    }


def table(cases: dict[str, Any]) -> str:
    lines = [
        "| configuration | peak memory, MiB: predicted | measured | ratio | a step, s: counted | predicted | measured | ratio |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, one in cases.items():
        low, high = one["counted_s"]
        lines.append(
            f"| {name} | {one['predicted_mib']:,} | {one['peak_mib']:,} | {one['predicted_mib'] / one['peak_mib']:.2f} "
            f"| {low:.1f} to {high:.1f} | {one['predicted_s']:.2f} | {one['step_s']:.2f} | {one['predicted_s'] / one['step_s']:.2f} |"
        )
    return "\n".join(lines) + "\n"


@contextlib.contextmanager
def held(lock: str) -> Iterator[None]:
    """Nobody else holds the file `lock` meanwhile."""
    with open(lock, "a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def alone(kind: str, case: dict[str, Any], threads: int, lock: str) -> dict[str, Any]:
    """What a process of its own finds, while nobody else holds `lock`."""
    command = [sys.executable, __file__, "--kind", kind, "--case", json.dumps(case)]
    with held(lock):
        done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": str(threads)})
    return dict(json.loads(done.stdout.splitlines()[-1]))


def run_table(runs: dict[str, Any]) -> str:
    if not runs:
        return ""
    lines = ["| run | threads | predicted, s | middle | of it besides steps | took, s | ratio |", "| --- |" + " ---: |" * 6]
    for name, one in runs.items():
        low, high = one["predicted_s"]
        lines.append(
            f"| {name} | {one['threads']} | {low:.0f} to {high:.0f} | {one['middle_s']:.0f} | {one['beside_s']:.0f} | {one['wall_s']:.0f} "
            f"| {one['ratio']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def sources_of(work: Folder, shared: Folder) -> dict[bool, dict[str, str]]:
    """Model, template and data: the built-in ones, and where there are Alpaca rows (True), those with a random model."""
    import sft_data

    from instil.pocket.dataset import write_dataset

    found = {False: {"model": "pocket", "template": "chatml", "data": str(write_dataset(work)["train"])}}
    if shared.is_dir():
        sft_data.write_base(work / "base", shared)
        (file,), told = sft_data.write_rows("alpaca_all", work, shared)
        found[True] = {"model": str(work / "base"), "data": file, **told}
    return found


def whole_run(name: str, knobs: dict[str, Any], source: dict[str, str], work: Folder, threads: int) -> dict[str, Any]:
    """What is planned, and what it takes."""
    given = {"holdout.examples": "100 rows", "train.threads": threads, "evaluate": "none", "runs": work / "runs"}
    given |= {"name": "-".join(name.replace(",", "").split()), **source, **{key: value for key, value in knobs.items() if key != "alpaca"}}
    flags = [part for key, value in given.items() for part in (f"--{key}", str(value))]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "INSTIL_CACHE": str(work / "cache")}

    def instil(*arguments: str) -> str:
        command = [sys.executable, "-m", "instil", *arguments]
        return subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True).stdout

    planned = json.loads(instil("plan", *flags, "--json").splitlines()[-1])
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    instil("train", *flags)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    low, high = (3600 * hours for hours in planned["hours"])
    return {
        "predicted_s": [round(low, 1), round(high, 1)],
        "middle_s": round((low + high) / 2, 1),
        "beside_s": round(1800 * sum(planned["beside_hours"]), 1),
        "wall_s": round(wall, 1),
        "ratio": round((low + high) / 2 / wall, 3),
        "processor_s": round(processor, 1),
        "busy": planned["busy"],
        "threads": threads,
    }


def runs(only: list[str], threads: int, lock: str, shared: Folder) -> None:
    from instil.core.run import hardware, versions

    stored = json.loads(RESULTS.read_text(encoding="utf-8"))
    found = stored.get("runs", {}).get("cases", {})
    with tempfile.TemporaryDirectory() as folder:
        sources = sources_of(Folder(folder), shared)
        for name, knobs in RUNS.items():
            if (only and name not in only) or (source := sources.get("alpaca" in knobs)) is None:
                continue
            with held(lock):
                found[name] = whole_run(name, knobs, source, Folder(folder), threads)
            print(name, found[name], flush=True)
    found = {name: found[name] for name in RUNS if name in found}
    store({**stored, "runs": {"hardware": hardware(), "versions": versions(), "cases": found}})


def store(figures: dict[str, Any]) -> None:
    """Results, and the page that shows them."""
    RESULTS.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    tables = (BEGIN, END, table(figures["cases"])), (BEGIN_RUNS, END_RUNS, run_table(figures.get("runs", {}).get("cases", {})))
    for begin, end, shown in tables:
        before, rest = page.split(begin)
        page = before + begin + "\n" + shown + "\n" + end + rest.split(end)[1]
    PAGE.write_text(page, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=[*CASES, *RUNS], action="append", help="measure this one; may be given again")
    parser.add_argument("--runs", action="store_true", help="whole runs, instead of peaks and steps")
    parser.add_argument("--shared", type=Folder, default=Folder(__file__).parents[2] / "shared" / "data", help="where the Alpaca rows lie")
    parser.add_argument("--time", action="store_true", help="with --only: leave the measured peak as it is")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--lock", default=os.devnull, metavar="FILE", help="measure only while this file's lock is free")
    parser.add_argument("--kind", help=argparse.SUPPRESS)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    knobs = parser.parse_args()
    if knobs.case:
        case = json.loads(knobs.case)
        print(json.dumps(predict(case) if knobs.kind == "predict" else measure(case, knobs.kind == "kept")))
        return
    if knobs.runs:
        runs(knobs.only or [], knobs.threads, knobs.lock, knobs.shared)
        return
    from instil.core.run import hardware, versions

    stored = json.loads(RESULTS.read_text(encoding="utf-8"))
    found = stored["cases"] if knobs.only else {}
    for name in knobs.only or CASES:
        case = CASES[name]
        kinds = ("predict", "kept") if knobs.time else ("given back", "predict", "kept")
        *back, predicted, kept = (alone(kind, case, knobs.threads, knobs.lock) for kind in kinds)
        sizes = {"peak_mib": back[0]["peak_mib"], "given_back_step_s": back[0]["step_s"]} if back else found[name]
        times = {"step_s": kept["step_s"], "kept_peak_mib": kept["peak_mib"]}
        total = {"predicted_mib": round(fit_of(case, 2.0**36).need.total / 2**20)}
        found[name] = {
            **sizes,
            **total,
            **predicted,
            **times,
            "threads": knobs.threads,
            "clock": "processor" if knobs.threads == 1 else "wall",
        }
        print(name, found[name], flush=True)
    found = {name: found[name] for name in CASES if name in found}
    store({**stored, "hardware": hardware(), "versions": versions(), "cases": found})


if __name__ == "__main__":
    main()
