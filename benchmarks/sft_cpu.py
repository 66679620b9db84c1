"""Supervised fine-tuning on a CPU beside TRL and plain transformers: `python benchmarks/sft_cpu.py [--data alpaca ...] [--json]`.

A random Llama of 25M parameters with 16,384 tokens, real rows (see `sft_data.py`), the same steps for everybody, each contender in a
process of its own (see `sft_peers.py`), one after the other. Asserted: wherever steps are the same, so are loss and gradient norm.
`ratio_best`: examples/s of instil's fastest setting (compiled or not) over those of TRL's fastest (padding to packing, compiled or not), in
the same precision. Peers run with PyTorch's
own attention for CPUs. The first step of a process is reported apart (kernels are made in it) and is in no rate.
Needs the PyPI package `trl` (`pip install trl`; in an environment of its own, with the same torch: `--peer-python`) and the rows in
../shared/data (`--shared`). Results go to results/sft_cpu.json, the table and the picture to docs.
"""

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path as Folder
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
STEPS = 3
"""Steps of every contender, the first of them not in the rates; a set with its peers takes four minutes on two cores."""
MEMORY = 7 * 2**30
DEFAULTS = 2
"""Steps of TRL at its defaults, which takes four times as long as at its best."""
CONTENDERS = {
    "alpaca": (
        "instil",
        "instil_unshared",
        "trl",
        "trl_sorted_2",
        "trl_sorted_4",
        "trainer_sorted_4",
        "trainer_sorted_8",
    ),
    "multi_turn": ("instil", "instil_unshared", "trl", "trl_sorted_2", "trainer_sorted_4"),
    "tools": ("instil", "instil_unshared", "trl", "trl_sorted_2", "trainer_sorted_4"),
}
OTHERS = ("instil", "instil_unshared", "trl", "trl_sorted_4", "trainer_sorted_8")
MORE = ("instil_compiled", "trl_sorted_4_compiled", "trainer", "trl_packing", "trl_sorted_8", "trl_sorted_16", "trl_sorted_8_bf16_weights")
"""Slower than their like where they were measured, or compiling in steps that count (once for rows of up to 4,096 tokens, once for longer);
they run when named by `--only`."""
LOSS, NORM = 2e-3, 3e-2
"""How far loss and gradient norm of a step may lie apart, relative: bf16 rounds products to 8 bits, in another order for everybody."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=sorted(sft_data.STEP), default=list(sft_data.STEP))
    parser.add_argument("--only", nargs="+", help=f"contenders; beside the usual ones: {', '.join(MORE)}")
    parser.add_argument("--shared", type=Folder, default=sft_data.SHARED, help="where the rows lie")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=1, help="every contender runs so often, in turn; medians over all its steps count")
    parser.add_argument("--work", type=Folder, help="keep model, rows and caches in this folder, for further calls")
    parser.add_argument("--peer-python", default=sys.executable, help="an interpreter that has trl (default: this one)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    arguments = parser.parse_args()
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"sets": {}}
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Folder(temporary)
        if not (work / "base" / "tokenizer_config.json").exists():
            sft_data.write_base(work / "base", arguments.shared)
        for name in arguments.data:
            measure(name, work, arguments, known)
    ask = "import importlib.metadata as m, json; print(json.dumps({p: m.version(p) for p in ('trl', 'accelerate', 'datasets')}))"
    peers = json.loads(subprocess.check_output([arguments.peer_python, "-c", ask], text=True))
    known |= {"versions": versions() | peers, "hardware": hardware(), "threads": arguments.threads}
    known["ratio_best"] = known["sets"].get("alpaca", {}).get("ratio_best")
    RESULTS.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    sft_words.write_page(known)
    if arguments.json:
        print(json.dumps({"ratio_best": known["ratio_best"], **{name: known["sets"][name] for name in arguments.data}}, indent=1))
    else:
        print(sft_words.table(known))


def measure(name: str, work: Folder, arguments: argparse.Namespace, known: dict[str, Any]) -> None:
    """One data set: every contender's figures, checked against each other, into `known` and the results file, one by one as they come."""
    os.environ["INSTIL_CACHE"] = str(work / "cache")
    began = time.perf_counter()
    rows = sft_data.prepared(name, work / "base", arguments.shared)
    preparing = time.perf_counter() - began
    size = sft_data.STEP[name]
    batches = [rows[i : i + size] for i in range(0, size * STEPS, size)]
    assert len(batches[-1]) == size, f"{name} has too few rows for {STEPS} steps"
    facts = sizes(batches)
    wanted = arguments.only or CONTENDERS.get(name, OTHERS)
    earlier = known["sets"].get(name, {}).get("contenders", {}) if arguments.only else {}
    found: dict[str, Any] = {"facts": facts | {"prepare_s": round(preparing, 2)}, "contenders": earlier}
    known["sets"][name] = found
    runs: dict[str, list[dict[str, Any]]] = {contender: [] for contender in wanted}
    # A virtual machine pays for the first use of a page, whoever comes first: every contender finds them used.
    subprocess.run([sys.executable, "-c", f"bytearray({MEMORY})[::4096] = bytes({MEMORY // 4096})"], check=True)
    again = [REFERENCE] * (REFERENCE in wanted)  # first and last: a slow minute of the machine shows
    for contender in list(wanted) * arguments.rounds + again:
        ours = contender.startswith("instil")
        steps = batches if ours else [[seq for row in batch for seq in sft_data.sequences(row)] for batch in batches]
        (work / "steps.pkl").write_bytes(pickle.dumps(steps[: DEFAULTS if contender == "trl" else STEPS]))
        runs[contender].append(run(contender, work, arguments))
        merged = runs[contender][0] | {"step_s": [s for one in runs[contender] for s in one["step_s"]], "rounds": len(runs[contender])}
        found["contenders"][contender] = rates(merged, facts, packed="packing" in contender)
        print(f"{name:12} {contender:26} {found['contenders'][contender]['examples_per_s']:8.2f} examples/s", file=sys.stderr, flush=True)
        judge(found)
        RESULTS.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


def judge(found: dict[str, Any]) -> None:
    """Losses checked; the ratio to TRL's best so far."""
    check(found["contenders"])
    mine = sft_words.fastest(found["contenders"])
    best = {c: f["examples_per_s"] for c, f in found["contenders"].items() if c.startswith("trl") and "bf16_weights" not in c}
    if mine and best:
        found |= {"best_of_trl": max(best, key=lambda c: best[c]), "ratio_best": round(mine / max(best.values()), 2)}


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


def run(contender: str, work: Folder, arguments: argparse.Namespace) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": str(arguments.threads)}
    python = sys.executable if contender.startswith("instil") else arguments.peer_python
    command = [python, str(ROOT / "benchmarks" / "sft_peers.py"), contender, str(work)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(f"{contender}: {done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def rates(figures: dict[str, Any], facts: dict[str, Any], packed: bool) -> dict[str, Any]:
    """Per second, from the mean step, each the median of the rounds; packing fills steps otherwise, so there the sum counts."""
    steps = len(figures["loss"]) if not packed else facts["steps"]
    seconds = float(np.mean(np.median(np.reshape(figures["step_s"], (figures["rounds"], -1)), axis=0)))
    if packed:  # each of its P steps but the first trains a P-th of the rows
        packs = len(figures["step_s"]) // figures["rounds"] + 1
        seconds = float(np.mean(figures["step_s"])) * packs / steps
    computed = round(sum(figures["computed"]) / steps)
    per_second = {key: round(facts[key] / seconds, 2) for key in ("examples", "tokens", "supervised")}
    kept = {f"{key}_per_s": value for key, value in per_second.items()} | {"computed": computed, "mean_step_s": round(seconds, 3)}
    return kept | {key: value for key, value in figures.items() if key != "computed"}


def check(contenders: dict[str, Any]) -> None:
    """Whoever takes the same steps must find the same losses and gradients."""
    mine = contenders.get(REFERENCE)
    for name, found in contenders.items() if mine else ():
        if "packing" in name or "bf16_weights" in name:  # other steps, another precision
            continue
        for key, most in (("loss", LOSS), ("norm", NORM)):
            apart = float(np.max(np.abs(np.array(found[key]) / np.array(mine[key][: len(found[key])]) - 1)))
            found[f"{key}_apart"] = round(apart, 5)
            if not apart <= most:
                sys.exit(f"{name}: {key} {found[key]} is not {mine[key]}: the comparison is void")


if __name__ == "__main__":
    main()
