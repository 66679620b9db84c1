"""lm-evaluation-harness over one model, in its own process: through `instil serve`, and with the harness's own loader.

    python -m tests.serve.harness FOLDER URL NAME TASKS

Prints one line of JSON: task -> way -> the score of every document.
"""

import json
import sys
from typing import Any

import lm_eval
from lm_eval.tasks import TaskManager

MOST = 24


def scores(found: dict[str, Any], task: str) -> list[Any]:
    """Every document's score, in the documents' order."""
    samples = sorted(found["samples"][task], key=lambda sample: sample["doc_id"])
    return [next(sample[name] for name in ("acc", "exact_match") if name in sample) for sample in samples]


def main(folder: str, url: str, name: str, tasks: str) -> None:
    known = TaskManager(include_path=tasks, include_defaults=False)
    local = {"model": "hf", "model_args": {"pretrained": folder, "dtype": "float32"}, "device": "cpu"}
    served = {"model": name, "tokenizer": folder, "base_url": f"{url}/v1/completions", "num_concurrent": 4, "max_retries": 1}
    chat = {"model": name, "base_url": f"{url}/v1/chat/completions", "num_concurrent": 4, "max_retries": 1}
    ways: dict[str, dict[str, dict[str, Any]]] = {
        "local_choice": {"hf": local, "served": {"model": "local-completions", "model_args": served}},
        "local_words": {"hf": local, "served": {"model": "local-chat-completions", "model_args": chat}},
    }
    found: dict[str, dict[str, Any]] = {}
    for task, by_way in ways.items():
        found[task] = {}
        for way, how in by_way.items():
            done = lm_eval.simple_evaluate(
                **how, tasks=[task], task_manager=known, apply_chat_template=task == "local_words", bootstrap_iters=0, random_seed=0
            )
            found[task][way] = scores(done, task)
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
