"""A mixture of many tasks, end to end: `python benchmarks/mixture.py --tasks FOLDER`, a folder of Super-NaturalInstructions task files.

`instil data mix` with a cap and a temperature, five tasks held out whole (named below, before anything was measured), then `instil train`
with docs/recipes/mixture.yaml and its evaluation; once with the bare definition in front of every question, once with two worked examples
as well. *Laid out* are the tokens that a step of so many rows computes when shared prefixes are computed once, *alone* those of the same
paths one by one: counts, the same on every machine. *One task* has steps with rows of one task each: what the order of a shuffled
mixture leaves on the table. Seconds are of this machine, `--threads` threads, other work beside it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from instil.batch.trie import lay_out
from instil.core.loading import load_recipe
from instil.core.run import hardware, versions
from instil.core.values import Path as Tokens
from instil.stages.prepare import Data, prepare

ROOT = Path(__file__).parents[1]
RECIPE, PAGE = ROOT / "docs" / "recipes" / "mixture.yaml", ROOT / "docs" / "mixing.md"
RESULTS = ROOT / "benchmarks" / "results" / "mixture.json"
BEGIN, END = "<!-- figures, written by benchmarks/mixture.py -->\n", "<!-- end of the figures -->\n"
HELD_OUT = (
    "task1147_country_currency",
    "task1453_person_entity_extraction_btc_corpus",
    "task1582_bless_hypernym_generation",
    "task275_enhanced_wsc_paraphrase_generation",
    "task859_prost_question_generation",
)
MIX = ("--cap", "200 rows", "--temperature", "2", "--budget", "2000 rows", "--epochs", "2", "--hold-tasks", ",".join(HELD_OUT))
ASKED = {"train.batch": 32, "evaluate.samples": "100 rows", "evaluate.suites": ["heldout", "unseen_tasks", "stop", "regression"]}
SHOTS = (0, 2)
BATCHES = (16, 64, 256)


def instil(*words: str, threads: int) -> tuple[str, float]:
    """What a verb said, and its seconds."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(threads)}
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "instil", *words], capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(f"instil {' '.join(words)}\n{done.stdout[-1000:]}{done.stderr[-2000:]}")
    return done.stdout, round(time.monotonic() - began, 1)


def shared(steps: Iterable[Sequence[Tokens]], max_tokens: int) -> dict[str, Any]:
    """Tokens of these steps' paths one by one, and laid out."""
    alone = together = 0
    for paths in steps:
        alone += sum(len(path.tokens) for path in paths)
        together += sum(len(row.tokens_T) for row in lay_out(paths, max_tokens))
    return {"alone": alone, "laid_out": together, "saved": round(1 - together / alone, 3)}


def by_task(data: Data, batch: int) -> list[list[Tokens]]:
    """Steps that hold rows of one task each."""
    found: dict[str, list[Tokens]] = defaultdict(list)
    for step in range(data.num_steps()):
        for source, row in data.rows_at(step):
            store = data.stores[source]
            found[store.tasks[store.task[row]]] += store.paths(row)
    return [paths[start : start + batch] for paths in found.values() for start in range(0, len(paths), batch)]


def sharing(data: Data) -> dict[str, Any]:
    """Saved tokens by rows a step, over the run's own order."""
    found: dict[str, Any] = {}
    for batch in BATCHES:
        train = data.recipe.train.model_copy(update={"batch": batch})
        other = replace(data, recipe=data.recipe.model_copy(update={"train": train}))
        steps = (other.paths_at(step) for step in range(other.num_steps()))
        found[str(batch)] = shared(steps, data.max_tokens)
    found["one task, 64"] = shared(by_task(data, 64), data.max_tokens)
    return found


def short(suite: dict[str, Any]) -> dict[str, Any]:
    """What a suite came to, without its intervals."""
    scores = {kind: {arm: round(figures["score"], 4) for arm, figures in suite[kind].items()} for kind in ("arms", "nulls")}
    return {"n": suite["n"], "measure": suite["measure"], "word": suite.get("word"), **scores}


def measured(shots: int, tasks: Path, model: str, threads: int, folder: Path) -> dict[str, Any]:
    """Mixed, counted, trained, judged."""
    out, run = folder / f"mixture{shots}", folder / f"run{shots}"
    options = ("--format", "super_ni", "--options", f"few_shot={shots}", "--model", model, "--json")
    said, mixing = instil("data", "mix", str(tasks), *MIX, *options, "--out", str(out), threads=threads)
    knobs = {"model": model, "data": str(out), "evaluate.sets": {"unseen_tasks": str(out / "heldout.jsonl")}}
    knobs |= {"runs": str(folder), "name": run.name, "train.threads": threads, **ASKED}
    file = folder / f"{run.name}.yaml"
    recipe = load_recipe(RECIPE, knobs)
    file.write_text(json.dumps(recipe.model_dump(exclude_unset=True)), encoding="utf-8")
    data = prepare(recipe)
    counts = data.write_ledger(folder / f"ledger{shots}.jsonl")
    tokens = sharing(data)
    _, seconds = instil("train", str(file), threads=threads)
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    held = [step["held_out"]["loss"] for step in steps if "held_out" in step]
    summary = json.loads((run / "evaluation" / "summary.json").read_text(encoding="utf-8"))
    return {
        "mix": {"outcomes": json.loads(said)["outcomes"], "seconds": mixing},
        "train_rows": {name: number for name, number in sorted(counts.outcomes.items()) if number},
        "tokens": tokens,
        "steps": data.num_steps(),
        "trained_tokens": sum(step.get("tokens", 0) for step in steps),
        "step_seconds": round(sum(step["speed"]["seconds"] for step in steps if "held_out" not in step), 1),
        "train_and_judge_seconds": seconds,
        "held_out_loss": [round(held[0], 3), round(held[-1], 3)],
        "verdict": summary["verdict"],
        "sentence": summary["sentence"],
        "suites": {name: short(suite) for name, suite in summary["suites"].items() if "arms" in suite},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=Path, required=True, help="folder of task files")
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for shots in SHOTS:
            found[str(shots)] = measured(shots, arguments.tasks, arguments.model, arguments.threads, Path(folder))
            print(json.dumps(found[str(shots)], indent=2), flush=True)
    about = {"model": arguments.model, "threads": arguments.threads, "held_out": HELD_OUT, "mix": MIX}
    stored = {**about, "shots": found, "versions": versions(), "hardware": hardware()}
    RESULTS.write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    PAGE.write_text(before + BEGIN + figures(found) + END + rest.split(END)[1], encoding="utf-8")


def figures(found: dict[str, Any]) -> str:
    """The results as the page shows them."""
    lines = [
        "| worked examples | rows trained, refused | rows a step | tokens alone | laid out | saved |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for shots, one in found.items():
        rows = f"{one['train_rows']['kept']:,}, {one['train_rows'].get('refused', 0):,}"
        for batch, t in one["tokens"].items():
            lines.append(f"| {shots} | {rows} | {batch} | {t['alone']:,} | {t['laid_out']:,} | {t['saved']:.1%} |")
    lines += [
        "",
        "| worked examples | suite (prompts) | base, best arm | tuned | best null answer | word |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for shots, one in found.items():
        for name, suite in one["suites"].items():
            arms = dict(suite["arms"])
            tuned, null = arms.pop("tuned"), max(suite["nulls"].values(), default=None)
            shown = f"{max(arms.values()):.1%} | {tuned:.1%} | {'' if null is None else f'{null:.1%}'} | {suite['word']}"
            lines.append(f"| {shots} | {name} ({suite['n']}) | {shown} |")
    lines.append("")
    for shots, one in found.items():
        (first, last), steps, whole = one["held_out_loss"], one["step_seconds"], one["train_and_judge_seconds"]
        lines += [
            f"{shots} worked examples: {one['steps']} steps in {steps:.0f} s, with evaluation {whole:.0f} s; "
            f"held-out loss {first} -> {last}. Verdict: {one['verdict']}.",
            "",
        ]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    main()
