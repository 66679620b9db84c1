"""50,000 Alpaca-like rows from file to tokens: `python benchmarks/rows_50k.py [--model FOLDER] [--rows N] [--threads N]`.

`instil data validate` writes a dataset, `prepare` makes a run's token store from it (nothing cached), each in a process of its own as a
user starts it, start-up included. Rows are made up (`benchmarks/start.py`); one in 500 has an empty answer, and must be refused. Rates
are by seconds of CPU, so that what else the machine does counts little; the peak is the largest resident size of any one process of the
verb, of which the local engine has one for each worker.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from start import write_rows

from instil.core.run import hardware, versions

RESULTS = Path(__file__).parent / "results" / "rows_50k.json"
BAD_EVERY = 500

PREPARE = """
import sys
from pathlib import Path
from instil.core.loading import load_recipe
from instil.stages.prepare import prepare
data = prepare(load_recipe(None, {"model": sys.argv[1], "data": sys.argv[2], "template": "chatml", "max_length": "512"}))
print(data.write_ledger(Path(sys.argv[3])).sentence())
"""

MEASURE = """
import json, resource, subprocess, sys, time
began = time.monotonic()
done = subprocess.run(sys.argv[1:], capture_output=True, text=True, check=False)
seconds = time.monotonic() - began
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([done.returncode, done.stdout, done.stderr[-2000:], seconds, used.ru_utime + used.ru_stime, used.ru_maxrss]))
"""


def spoil(path: Path) -> int:
    """Every so many rows loses its answer; how many did."""
    lines = path.read_text(encoding="utf-8").splitlines()
    for index in range(0, len(lines), BAD_EVERY):
        lines[index] = json.dumps({**json.loads(lines[index]), "output": ""})
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(range(0, len(lines), BAD_EVERY))


def measured(rows: int, *command: str, cache: Path, threads: int) -> tuple[str, dict[str, Any]]:
    """What a command said; its rate and its peak."""
    environment = {**os.environ, "INSTIL_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    environment |= dict.fromkeys(("OMP_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS"), str(threads))
    found = subprocess.run([sys.executable, "-c", MEASURE, *command], capture_output=True, text=True, env=environment, check=True)
    code, said, errors, seconds, cpu, peak = json.loads(found.stdout)
    if code:
        sys.exit(f"{' '.join(command)}\n{errors}")
    return said, {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "rows_per_cpu_s": round(rows / cpu),
        "peak_mib": round(peak / 1024),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pocket", help="its tokenizer is used")
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    rows, threads = arguments.rows, arguments.threads
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_rows(folder / "rows.jsonl", rows)
        bad = spoil(folder / "rows.jsonl")
        out, cache, knobs = folder / "valid", folder / "cache", ("--workers", str(threads), "--max-bad", "1%")
        verb = (sys.executable, "-m", "instil", "data", "validate", str(folder / "rows.jsonl"), "--out", str(out), "--json", *knobs)
        said, validate = measured(rows, *verb, cache=cache, threads=threads)
        outcomes = json.loads(said)["outcomes"]
        assert outcomes["kept"] == rows - bad and outcomes["refused"] == bad, outcomes
        ledger = str(folder / "ledger.jsonl")
        said, prepared = measured(
            rows - bad, sys.executable, "-c", PREPARE, arguments.model, str(out), ledger, cache=cache, threads=threads
        )
    found = {"rows": rows, "bad": bad, "threads": threads, "validate": validate, "prepare": {**prepared, "said": said.strip()}}
    print(json.dumps(found, indent=2))
    RESULTS.write_text(json.dumps({**found, "versions": versions(), "hardware": hardware()}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
