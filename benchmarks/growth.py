"""How cost grows on a CPU: `python benchmarks/growth.py [--part sizes steps rows prepare start] [--shared FOLDER]`.

sizes    Llamas of 5M, 25M, 135M and 360M parameters, steps of 16 Alpaca rows
steps    25M parameters, steps of 8, 64 and 512 Alpaca rows
rows     25M parameters, steps of 8,192 tokens of running text in rows of 512 to 8,192
prepare  made-up Alpaca-like rows to tokens, 1,000 to 1,000,000, start of the process included
start    50,000 rows: seconds to the first optimizer step beside TRL, first and second start (25M parameters)

Every point runs in a process of its own; the first step warms up, the median of the others counts. Needs `trl` for *start* alone.
Results go to results/growth.json (parts that do not run stay as they were), the table and the picture to docs/speed.md.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path as Folder
from statistics import median
from typing import Any

ROOT = Folder(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
os.environ |= {"TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}

import growth_words  # noqa: E402
import sft_data  # noqa: E402
from start import write_rows  # noqa: E402

from instil.core.run import hardware, versions  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "growth.json"
SHAPES = {"5M": (192, 512, 4, 3), "25M": (512, 1344, 6, 8), "135M": (960, 2560, 11, 15), "360M": (1280, 3456, 17, 20)}
"""Hidden width, MLP width, layers, heads of 64; 16,384 tokens, tied embeddings."""
POINTS: dict[str, tuple[str, ...]] = {
    "sizes": ("5M", "25M", "135M", "360M"),
    "steps": ("8", "64", "512"),
    "rows": ("512", "1024", "2048", "4096", "8192"),
    "prepare": ("1000", "10000", "100000", "1000000"),
    "start": ("instil", "trl"),
}
TEXT = 8192
"""Tokens of a step of running text."""

PREPARE = """
import sys
from instil.core.loading import load_recipe
from instil.stages.prepare import prepare
prepare(load_recipe(None, {"model": sys.argv[1], "data": sys.argv[2], "template": "alpaca", "max_length": "512"}))
"""

OURS = """
import os, sys, time
import instil.stages.tune as stage
from instil.core.loading import load_recipe

class Report(stage.Records):
    def report(self, record):
        if "loss" in record:
            print("first step", time.time(), flush=True)
            os._exit(0)

stage.Records = Report
knobs = {"model": sys.argv[1], "data": sys.argv[2], "template": "alpaca", "runs": sys.argv[3], "max_length": "512", "method": "full"}
stage.tune(load_recipe(None, {**knobs, "train.batch": "64", "holdout.examples": "0 rows"}))
"""

THEIRS = """
import sys, time
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer
model, tokenizer = AutoModelForCausalLM.from_pretrained(sys.argv[1]), AutoTokenizer.from_pretrained(sys.argv[1])
data = load_dataset("json", data_files=sys.argv[2], split="train")
form = "Below is an instruction. Write a response.\\n\\n### Instruction:\\n{}\\n\\n### Response:\\n"
data = data.map(lambda r: {"prompt": form.format(r["instruction"]), "completion": r["output"]}, remove_columns=data.column_names)

class Stop(TrainerCallback):
    def on_step_end(self, *_, **__):
        print("first step", time.time(), flush=True)
        raise SystemExit

config = SFTConfig(sys.argv[3], bf16=True, use_cpu=True, max_length=512, report_to="none", disable_tqdm=True, gradient_accumulation_steps=8)
SFTTrainer(model, args=config, train_dataset=data, processing_class=tokenizer, callbacks=[Stop()]).train()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="+", choices=sorted(POINTS), default=list(POINTS))
    parser.add_argument("--most", type=int, help="no point of *prepare* above so many rows")
    parser.add_argument("--point", nargs="+", help="only these points of the parts, such as 8192; the others stay as they were")
    parser.add_argument("--shared", type=Folder, default=sft_data.SHARED, help="where the rows lie")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        part, point, folder = arguments.one
        print(json.dumps(trained(part, point, Folder(folder), arguments)))
        return
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"parts": {}}
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Folder(temporary)
        sft_data.write_base(folder / "base", arguments.shared)
        for part in arguments.part:
            asked = [point for point in POINTS[part] if not arguments.point or point in arguments.point]
            points = [point for point in asked if part != "prepare" or int(point) <= (arguments.most or 10**9)]
            found = known["parts"].setdefault(part, {})
            for point in points:
                found[point] = measure(part, point, folder, arguments)
                print(f"{part} {point}: {found[point]}", file=sys.stderr, flush=True)
                known |= {"versions": versions(), "hardware": hardware()}
                RESULTS.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    growth_words.write_page(known)
    print(json.dumps(known["parts"], indent=1) if arguments.json else growth_words.table(known))


def measure(part: str, point: str, folder: Folder, arguments: argparse.Namespace) -> dict[str, Any]:
    if part == "prepare":
        return prepared(int(point), folder)
    if part == "start":
        return started(point, folder)
    told = ("--one", part, point, str(folder), "--shared", str(arguments.shared), "--threads", str(arguments.threads))
    done = python(__file__, *told)
    found: dict[str, Any] = json.loads(done.splitlines()[-1])
    return found


def python(*arguments: str, **environment: str) -> str:
    """What a fresh Python process prints."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env={**os.environ, **environment}, check=False)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return done.stdout


def prepared(rows: int, folder: Folder) -> dict[str, Any]:
    """Seconds from a file to a token store; for memory see `rows_50k.py`."""
    file = folder / f"{rows}.jsonl"
    write_rows(file, rows)
    began = time.perf_counter()
    python("-c", PREPARE, str(folder / "base"), str(file), INSTIL_CACHE=str(folder / "cache"))
    seconds = time.perf_counter() - began
    file.unlink()
    return {"seconds": round(seconds, 1), "rows_per_s": round(rows / seconds)}


def started(who: str, folder: Folder) -> dict[str, Any]:
    """From the start of a process to the end of its first optimizer step, twice; what the first start prepared is there for the second."""
    file = folder / "start.jsonl"
    write_rows(file, 50_000)
    found = {}
    for which in ("first_s", "second_s"):
        began = time.time()
        told = ("-c", OURS if who == "instil" else THEIRS, str(folder / "base"), str(file), str(folder / f"{who}_{which}"))
        said = python(*told, INSTIL_CACHE=str(folder / "start_cache"), HF_HOME=str(folder / "hf"))
        found[which] = round(float(next(line for line in said.splitlines() if line.startswith("first step")).split()[-1]) - began, 1)
    return found


def trained(part: str, point: str, folder: Folder, arguments: argparse.Namespace) -> dict[str, Any]:
    """Some steps of full training, in this process."""
    import torch
    from sft_peers import instil_steps
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(arguments.threads)
    width, wide, layers, heads = SHAPES[point if part == "sizes" else "25M"]
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=16384,
        hidden_size=width,
        intermediate_size=wide,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=TEXT,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config).float()
    steps = text_steps(int(point), folder, arguments.shared) if part == "rows" else row_steps(part, point, folder, arguments.shared)
    clock, computed, peak = instil_steps(model, steps, max_tokens=TEXT)
    seconds = median(clock.seconds[1:])
    examples = len(steps[0])
    return {
        "threads": arguments.threads,
        "parameters": sum(p.numel() for p in model.parameters()),
        "examples": examples,
        "computed": round(sum(computed) / len(computed)),
        "step_s": round(seconds, 3),
        "examples_per_s": round(examples / seconds, 2),
        "computed_per_s": round(sum(computed) / len(computed) / seconds),
        "peak_mib": peak,
    }


def row_steps(part: str, point: str, folder: Folder, shared: Folder) -> list[Any]:
    os.environ["INSTIL_CACHE"] = str(folder / "cache")
    rows = sft_data.all_rows("alpaca_all", folder / "base", shared)
    size = 16 if part == "sizes" else int(point)
    count = 2 if size > 100 else 3
    return [rows[i : i + size] for i in range(0, size * count, size)]


def text_steps(length: int, folder: Folder, shared: Folder) -> list[Any]:
    """Running text cut into rows, every token but the first of a row supervised."""
    import numpy as np
    from tokenizers import Tokenizer

    from instil.core.values import Path

    book = next(iter(sorted((shared / "text" / "gutenberg").rglob("*.txt")))).read_text(encoding="utf-8", errors="replace")
    tokens = np.array(Tokenizer.from_file(str(folder / "base" / "tokenizer.json")).encode(book).ids[: 3 * TEXT], np.uint32)
    assert len(tokens) == 3 * TEXT
    rows = [[Path(piece, 1)] for piece in tokens.reshape(-1, length)]
    return [rows[i : i + TEXT // length] for i in range(0, len(rows), TEXT // length)]


if __name__ == "__main__":
    main()
