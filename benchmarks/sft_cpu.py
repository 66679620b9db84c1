"""Supervised fine-tuning on a CPU beside TRL and plain transformers: `python benchmarks/sft_cpu.py [--data alpaca ...] [--json]`.

A random Llama of 25M parameters with 16,384 tokens, real rows (see `sft_data.py`), the same steps for everybody, each contender in a process
of its own (see `sft_peers.py`), one after the other. Asserted: wherever the steps are the same, loss and gradient norm of every step agree.
`ratio_best`: instil's examples/s over those of TRL's fastest setting, padding to packing, in the same precision. Peers run with PyTorch's
own attention for CPUs. The first step of a process is reported apart (kernels are made in it) and is in no rate.
Needs the PyPI package `trl` and the rows in ../shared/data. Results go to results/sft_cpu.json, the table and the picture to docs.
"""

import argparse
import importlib.metadata
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path as Folder
from statistics import median
from typing import Any

import numpy as np

ROOT = Folder(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
os.environ |= {"TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1"}

import sft_data  # noqa: E402
import sft_words  # noqa: E402

from instil.core.run import hardware, versions  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "sft_cpu.json"
REFERENCE = "instil"
ALPACA = ("instil", "instil_unshared", "trl", "trl_sorted_4", "trl_sorted_8", "trl_sorted_16", "trl_packing", "trainer", "trainer_sorted_8")
CONTENDERS = {"alpaca": (*ALPACA, "trl_sorted_8_bf16_weights")}
OTHERS = ("instil", "instil_unshared", "trl", "trl_sorted_4", "trl_sorted_8")
LOSS, NORM = 2e-3, 3e-2
"""How far loss and gradient norm of a step may lie apart, relative: bf16 rounds products to 8 bits, in another order for everybody."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=sorted(sft_data.STEP), default=list(sft_data.STEP))
    parser.add_argument("--only", nargs="+", help="contenders (default: all)")
    parser.add_argument("--shared", type=Folder, default=sft_data.SHARED, help="where the rows lie")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    arguments = parser.parse_args()
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"sets": {}}
    with tempfile.TemporaryDirectory() as temporary:
        work = Folder(temporary)
        sft_data.write_base(work / "base", arguments.shared)
        for name in arguments.data:
            found = measure(name, work, arguments)
            known["sets"].setdefault(name, {}).update(found) if arguments.only else known["sets"].update({name: found})
    peers = {package: importlib.metadata.version(package) for package in ("trl", "accelerate", "datasets")}
    known |= {"versions": versions() | peers, "hardware": hardware(), "threads": arguments.threads}
    known["ratio_best"] = known["sets"].get("alpaca", {}).get("ratio_best")
    RESULTS.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    sft_words.write_page(known)
    if arguments.json:
        print(json.dumps({"ratio_best": known["ratio_best"], **{name: known["sets"][name] for name in arguments.data}}, indent=1))
    else:
        print(sft_words.table(known))


def measure(name: str, work: Folder, arguments: argparse.Namespace) -> dict[str, Any]:
    """One data set: every contender's figures, checked against each other."""
    os.environ["INSTIL_CACHE"] = str(work / "cache")
    began = time.perf_counter()
    rows = sft_data.prepared(name, work / "base", arguments.shared)
    preparing = time.perf_counter() - began
    size = sft_data.STEP[name]
    batches = [rows[i : i + size] for i in range(0, len(rows), size)]
    batches = (batches * 4)[: max(4, len(batches))]
    facts = sizes(batches)
    found: dict[str, Any] = {"facts": facts | {"prepare_s": round(preparing, 2)}, "contenders": {}}
    for contender in arguments.only or CONTENDERS.get(name, OTHERS):
        ours = contender.startswith("instil")
        steps = batches if ours else [[seq for row in batch for seq in sft_data.sequences(row)] for batch in batches]
        (work / "steps.pkl").write_bytes(pickle.dumps(steps))
        figures = run(contender, work, arguments.threads)
        found["contenders"][contender] = rates(figures, facts, packed="packing" in contender)
        print(f"{name:12} {contender:26} {found['contenders'][contender]['examples_per_s']:8.2f} examples/s", file=sys.stderr, flush=True)
    check(found["contenders"])
    mine = found["contenders"].get(REFERENCE, {}).get("examples_per_s")
    best = {c: f["examples_per_s"] for c, f in found["contenders"].items() if c.startswith("trl") and "bf16_weights" not in c}
    if mine and best:
        found |= {"best_of_trl": max(best, key=lambda c: best[c]), "ratio_best": round(mine / max(best.values()), 2)}
    return found


def sizes(batches: list[Any]) -> dict[str, Any]:
    """Per step, on average: examples, tokens of the examples as sequences, supervised ones."""
    counted = [[seq for row in batch for seq in sft_data.sequences(row)] for batch in batches]
    return {
        "steps": len(batches),
        "examples": len(batches[0]),
        "tokens": round(float(np.mean([sum(len(tokens) for tokens, _ in step) for step in counted]))),
        "supervised": round(float(np.mean([sum(int(on.sum()) for _, on in step) for step in counted]))),
        "longest": max(len(tokens) for step in counted for tokens, _ in step),
    }


def run(contender: str, work: Folder, threads: int) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, str(ROOT / "benchmarks" / "sft_peers.py"), contender, str(work)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(f"{contender}: {done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def rates(figures: dict[str, Any], facts: dict[str, Any], packed: bool) -> dict[str, Any]:
    """Per second, from the median step; packing fills steps otherwise, so there the sum counts."""
    steps = facts["steps"]
    seconds = sum(figures["step_s"]) * steps / (steps - 1) / steps if packed else median(figures["step_s"])
    if packed:  # all rows but the first pack's share, over all steps but the first
        seconds = sum(figures["step_s"]) / (len(figures["step_s"]) / (len(figures["step_s"]) + 1)) / steps
    computed = round(sum(figures["computed"]) / steps)
    per_second = {key: round(facts[key] / seconds, 2) for key in ("examples", "tokens", "supervised")}
    kept = {f"{key}_per_s": value for key, value in per_second.items()} | {"computed": computed, "median_step_s": round(seconds, 3)}
    return kept | {key: value for key, value in figures.items() if key != "computed"}


def check(contenders: dict[str, Any]) -> None:
    """Whoever takes the same steps must find the same losses and gradients."""
    mine = contenders.get(REFERENCE)
    for name, found in contenders.items() if mine else ():
        if "packing" in name or "bf16_weights" in name:  # other steps, another precision
            continue
        for key, most in (("loss", LOSS), ("norm", NORM)):
            apart = float(np.max(np.abs(np.array(found[key]) / np.array(mine[key]) - 1)))
            found[f"{key}_apart"] = round(apart, 5)
            if not apart <= most:
                sys.exit(f"{name}: {key} {found[key]} is not {mine[key]}: the comparison is void")


if __name__ == "__main__":
    main()
