"""How long until the first step, and how much of that is ours: `python benchmarks/start.py [--model FOLDER] [--data FILE]`.

A first start prepares the data, a second one opens what the first prepared. *Theirs* is what any program pays that trains this model
with these libraries: a process that imports torch, transformers and peft and loads the same weights. *Ours* is the rest, up to the moment
in which the first optimizer step begins. Also measured: the peak memory of preparing 5,000 and 50,000 rows.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "start.json"

THEIRS = """
import sys, time
import torch
from transformers import AutoModelForCausalLM
import peft
AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
print("loaded", time.time(), flush=True)
"""

OURS = """
import sys, time
import instil.stages.tune as stage
from instil.core.loading import load_recipe

def first_step(model, **arguments):
    print("first step", time.time(), flush=True)
    sys.exit(0)

stage.train = first_step
stage.tune(load_recipe(None, {"model": sys.argv[1], "data": sys.argv[2], "template": "zephyr", "runs": sys.argv[3], "max_length": "512"}))
"""

PREPARE = """
import resource, sys
from instil.core.loading import load_recipe
from instil.stages.prepare import prepare
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
prepare(load_recipe(None, {"model": sys.argv[1], "data": sys.argv[2], "template": "zephyr", "max_length": "512"}))
print(before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""

WORDS = (
    "the",
    "a",
    "of",
    "to",
    "and",
    "in",
    "is",
    "it",
    "that",
    "for",
    "as",
    "with",
    "river",
    "stone",
    "market",
    "answer",
    "number",
    "people",
)


def write_rows(path: Path, count: int) -> None:
    """Alpaca-like rows of the usual lengths (instructions of about 10 words, answers of about 60)."""
    draw = random.Random(0)
    with open(path, "w", encoding="utf-8") as file:
        for i in range(count):
            text = " ".join(draw.choices(WORDS, k=draw.randint(4, 16)))
            answer = " ".join(draw.choices(WORDS, k=draw.randint(5, 115)))
            file.write(json.dumps({"instruction": f"{i}: {text}", "input": "", "output": answer}) + "\n")


def run(code: str, *args: str, cache: Path) -> tuple[float, str]:
    """(start, output) of a fresh Python process."""
    began = time.time()
    environment = {**os.environ, "INSTIL_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    return began, done.stdout


def seconds_until(mark: str, code: str, *args: str, cache: Path) -> float:
    """From the start of the process to the moment that it reported; how long it takes to exit does not count."""
    began, output = run(code, *args, cache=cache)
    return float(next(line for line in output.splitlines() if line.startswith(mark)).split()[-1]) - began


def peak_growth(model: str, data: Path, folder: Path) -> float:
    """MiB that preparing adds to the process at its peak."""
    _, output = run(PREPARE, model, str(data), cache=folder / data.stem)
    before, after = (int(x) for x in output.split()[-2:])
    return (after - before) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="model folder whose tokenizer has an EOS")
    parser.add_argument("--data", type=Path, help="rows (default: 5,000 made-up Alpaca-like ones)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = arguments.data or folder / "rows.jsonl"
        if arguments.data is None:
            write_rows(data, 5_000)
        write_rows(folder / "many.jsonl", 50_000)
        run(THEIRS, arguments.model, cache=folder)  # once for the disk cache
        theirs = min(seconds_until("loaded", THEIRS, arguments.model, cache=folder) for _ in range(3))
        starts = [
            seconds_until("first step", OURS, arguments.model, str(data), str(folder / f"run{i}"), cache=folder / "cache") for i in range(4)
        ]
        first, second = starts[0], min(starts[1:])
        found = {
            "theirs_s": round(theirs, 2),
            "first_start_s": round(first, 2),
            "second_start_s": round(second, 2),
            "ours_in_second_start_s": round(second - theirs, 2),
            "peak_growth_mib": {"5000 rows": round(peak_growth(arguments.model, data, folder), 1)}
            | {"50000 rows": round(peak_growth(arguments.model, folder / "many.jsonl", folder), 1)},
        }
    from instil.core.run import hardware, versions

    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({**found, "versions": versions(), "hardware": hardware()}, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
