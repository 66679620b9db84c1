"""A miniature of FLAN's claim: `python benchmarks/diversity.py`. Written before it was first run.

Wei et al. (2022) tuned one model on more and more clusters of tasks and saw it do better on tasks of clusters it was not tuned on. Here the
built-in base model is tuned on K of the built-in tasks, the same number of rows and steps for every K, and asked the ten tasks that are
never trained. This tests the mechanism, not the magnitude: the world is small, and its unseen tasks have near relatives among the others.

What was decided beforehand:
- measure: exact match on the unseen tasks, the mean over tasks; the tuned model as served, greedy;
- K = 1, 2, 4, 8, 16, 32 and all tasks; which K tasks, which rows and their order are drawn by the seed; five seeds; the same base model,
  rows (1,600), steps and learning rate throughout; nothing is selected on the outcome;
- claim: the accuracy at 32 tasks exceeds that at 2 by at least 5 points (the smallest interesting effect), over seeds, paired t, 95 %;
- negative control: 32 tasks with every answer given to another row's instruction. Format, length and answers are the same, only what the
  instruction has to do with the answer is gone. It must stay below the true pairs; positive control: tuned on the unseen tasks themselves
  (their other half of entities).
"""

import argparse
import json
import platform
import shutil
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Any

import torch
from rich.console import Console

from instil.core.loading import load_recipe
from instil.evaluate.arms import ask, template_arm
from instil.evaluate.scorers import exact_match
from instil.evaluate.statistics import compare
from instil.pocket.tasks import UNSEEN_TASKS, rows, trained_tasks
from instil.stages.gather import read_set
from instil.stages.judge import speaker
from instil.stages.talk import load
from instil.stages.tune import tune

RESULTS = Path(__file__).parent / "results" / "diversity.json"
PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "diversity.svg"
COUNTS = (1, 2, 4, 8, 16, 32, len(trained_tasks()))
SEEDS = 5
ROWS = 1600
PROMPTS = 200
LONGEST = 24
"""Tokens of an answer; the longest reference has 11."""
KNOBS = {"train.learning_rate": 3e-4, "train.epochs": 2, "train.batch": 16, "holdout.examples": "0 rows", "train.keep": "last"}


def training_rows(count: int, seed: int, control: str | None) -> list[dict[str, Any]]:
    """ROWS rows of `count` tasks drawn by `seed`; few tasks give more rows each."""
    rng = Random(f"diversity/{seed}")
    order = rng.sample(trained_tasks(), len(trained_tasks()))
    tasks = UNSEEN_TASKS if control == "positive" else tuple(order[:count])
    found = list(distinct(tasks, seed))
    if control == "shuffled":
        return shuffled(found, rng)
    return found


def distinct(tasks: tuple[str, ...], seed: int) -> list[dict[str, Any]]:
    """ROWS rows over `tasks`. A task with fewer different rows than asked for is gone over again."""
    found: list[dict[str, Any]] = []
    asked = ROWS
    while not found:
        try:
            found = list(rows("train", asked, seed, tasks))
        except AssertionError:
            asked = asked * 3 // 4
    return (found * -(-ROWS // len(found)))[:ROWS]


def shuffled(found: list[dict[str, Any]], rng: Random) -> list[dict[str, Any]]:
    """Every plain row's answer goes to another row."""
    plain = [row for row in found if len(row["messages"]) == 2 and "tools" not in row]
    answers = [row["messages"][-1] for row in plain]
    rng.shuffle(answers)
    return [{"messages": [row["messages"][0], answer], "task": row["task"]} for row, answer in zip(plain, answers, strict=True)]


def accuracy(count: int, seed: int, control: str | None, work: Path) -> dict[str, float]:
    """Task -> share of its prompts that are answered exactly, after tuning on `count` tasks."""
    data, asked = work / "train.jsonl", work / "unseen.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in training_rows(count, seed, control)))
    asked.write_text("".join(json.dumps(row) + "\n" for row in rows("unseen_tasks", PROMPTS)))
    recipe = load_recipe(
        None,
        {
            **KNOBS,
            "model": "pocket",
            "template": "chatml",
            "data": [str(data)],
            "runs": str(work),
            "name": "run",
            "duplicates": "keep",
            "evaluate": "none",
            "seed": seed,
        },
    )
    tune(recipe, Console(quiet=True))
    assistant = load(work / "run")
    assert assistant.contract is not None
    prompts = read_set("unseen_tasks", str(asked), None, lambda text: None)
    limits = dict.fromkeys((prompt.id for prompt in prompts), LONGEST)
    answers = dict(ask(template_arm("tuned", speaker(assistant), assistant.contract), prompts, limits))
    shutil.rmtree(work / "run")
    scores: dict[str, list[float]] = {}
    for prompt in prompts:
        assert prompt.reference is not None and prompt.task is not None
        scores.setdefault(prompt.task, []).append(exact_match(answers[prompt.id].text, prompt.reference))
    return {task: sum(found) / len(found) for task, found in scores.items()}


def draw_picture(results: list[dict[str, Any]]) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "instil"
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4))
    true = [r for r in results if r["control"] is None]
    for seed in range(SEEDS):
        of_seed = sorted((r["tasks"], r["accuracy"]) for r in true if r["seed"] == seed)
        axes.plot(*zip(*of_seed, strict=True), color="#9bb8d3", linewidth=1, marker="o", markersize=3)
    means = [(k, sum(r["accuracy"] for r in true if r["tasks"] == k) / SEEDS) for k in COUNTS]
    axes.plot(*zip(*means, strict=True), color="#1f4e79", linewidth=2.5, marker="D", label="tuned on K tasks (mean of five seeds)")
    for control, color, text in (
        ("shuffled", "#b5532a", "32 tasks, answers shuffled"),
        ("positive", "#4b7f3a", "the unseen tasks themselves"),
    ):
        values = [r["accuracy"] for r in results if r["control"] == control]
        axes.axhline(sum(values) / len(values), color=color, linestyle="--", label=text)
    axes.set_xscale("log", base=2)
    axes.set_xticks(COUNTS, [str(k) for k in COUNTS])
    axes.set_ylim(0, 1)
    axes.set_xlabel("training tasks K (1,600 rows each time)")
    axes.set_ylabel("exact match on ten unseen tasks")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", action="store_true", help="only draw the picture of the kept results")
    if parser.parse_args().picture:
        draw_picture(json.loads(RESULTS.read_text())["runs"])
        return
    began = time.monotonic()
    results = []
    plan = [(count, None) for count in COUNTS] + [(32, "shuffled"), (len(UNSEEN_TASKS), "positive")]
    for seed in range(SEEDS):
        for count, control in plan:
            with tempfile.TemporaryDirectory() as work:
                tasks = accuracy(count, seed, control, Path(work))
            mean = sum(tasks.values()) / len(tasks)
            results.append({"tasks": count, "control": control, "seed": seed, "accuracy": round(mean, 4), "by_task": tasks})
            print(f"seed {seed}  {count:3d} tasks  {control or '':9s} {mean:6.1%}", flush=True)
    at = {key: [r["accuracy"] for r in results if (r["tasks"], r["control"]) == key] for key in plan}
    claim = compare(at[2, None], at[32, None])
    control = compare(at[32, "shuffled"], at[32, None])
    low, high = claim.interval
    print(f"32 tasks against 2: {claim.difference:+.1%} ({low:+.1%} to {high:+.1%}), p = {claim.p:.4f}")
    print(f"true against shuffled pairs: {control.difference:+.1%} ({control.interval[0]:+.1%} to {control.interval[1]:+.1%})")
    facts = {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "versions": {name: version(name) for name in ("instil", "torch", "transformers")},
        "seconds": round(time.monotonic() - began),
        "claim": {"difference": claim.difference, "interval": claim.interval, "p": claim.p},
        "control": {"difference": control.difference, "interval": control.interval, "p": control.p},
        "runs": results,
    }
    RESULTS.write_text(json.dumps(facts, indent=1) + "\n")
    draw_picture(results)


if __name__ == "__main__":
    main()
