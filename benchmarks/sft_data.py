"""What `sft_cpu.py` trains on: a random Llama of 25M parameters, a tokenizer of 16,384 tokens made from the texts, and real rows.

All rows lie in `../shared/data` (see its README.md for sources and licences). Five sets, each prepared by instil itself, so that everybody
trains the same tokens and the same targets:

alpaca      256 rows of alpaca_en_demo.json and raschka_1100.json in the Alpaca template
multi_turn  the conversations of glaive_300.json that have no tools, every assistant turn trained
tasks_0     16 tasks of Super-NaturalInstructions, 16 instances each, definition and question
tasks_2     the same with two worked examples in front of the question
tools       the conversations of glaive_300.json that have tools, each with one catalogue of 12 tools
answers_4   32 prompts of oasst_en_100_trees.jsonl that people answered at least four times, four answers each
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path as Folder
from typing import Any

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

from instil.core.loading import load_recipe
from instil.core.values import Path
from instil.stages.prepare import prepare

SHARED = Folder(__file__).parents[1].parent / "shared" / "data"
STEP = {"alpaca": 64, "multi_turn": 8, "tasks_0": 64, "tasks_2": 64, "tools": 8, "answers_4": 32}
"""Rows of a step."""
LENGTH = 2048
TOOLS = 12


def make_model() -> LlamaForCausalLM:
    """25.5M parameters, 8.4M of them the tied embedding; the same weights every time."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=16384,
        hidden_size=512,
        intermediate_size=1344,
        num_hidden_layers=6,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=LENGTH,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=1,
    )
    return LlamaForCausalLM(config).float()


def write_base(folder: Folder, shared: Folder) -> None:
    """The model's folder: config, weights, tokenizer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(token, special=True, normalized=False) for token in ("<eos>", "<pad>", "<|im_start|>", "<|im_end|>")]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=16384, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(_texts(shared), trainer)
    make_model().save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<eos>", "pad_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(about), encoding="utf-8")


def _texts(shared: Folder) -> Iterator[str]:
    for name in ("alpaca_en_demo", "raschka_1100"):
        for row in _json(shared / "instruct" / f"{name}.json"):
            yield "\n".join(row.values())
    for file in sorted((shared / "text").rglob("*.txt")):
        yield from file.read_text(encoding="utf-8", errors="replace").split("\n\n")


def write_rows(name: str, folder: Folder, shared: Folder) -> tuple[list[str], dict[str, Any]]:
    """The data files of a set, and what a recipe says about them beside."""
    if name.startswith("tasks_"):
        return _task_files(folder, shared), {"data_options": {"few_shot": int(name[-1])}, "template": "chatml"}
    rows = {"alpaca": _alpaca, "alpaca_all": _alpaca_all, "multi_turn": _multi_turn, "tools": _tools, "answers_4": _answers}[name](shared)
    file = folder / f"{name}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return [str(file)], {"template": "alpaca" if name.startswith("alpaca") else "chatml"}


def prepared(name: str, folder: Folder, shared: Folder) -> list[list[Path]]:
    """As many rows of the set as four steps can hold."""
    rows = all_rows(name, folder, shared)
    return rows[: len(rows) // STEP[name] * STEP[name]][: 4 * STEP[name]]


def all_rows(name: str, folder: Folder, shared: Folder) -> list[list[Path]]:
    """The set's rows in a fixed order, each as its paths (one per trained turn)."""
    files, told = write_rows(name, folder, shared)
    options = told.pop("data_options", {})
    knobs = {"model": str(folder), "data": [{"path": file, "options": options} for file in files], "holdout.examples": "0 rows"}
    data = prepare(load_recipe(None, {**knobs, **told, "max_length": LENGTH}))
    rows = [store.paths(int(row)) for store, kept in zip(data.stores, data.rows, strict=True) for row in kept]
    rows = [row for row in rows if len(sequences(row)) == 1]  # so that a step holds the same rows for everybody
    if name != "answers_4":  # whose rows stand in groups of one prompt
        random.Random(0).shuffle(rows)
    return rows


def sequences(row: list[Path]) -> list[tuple[np.ndarray, np.ndarray]]:
    """A row as its longest paths, for trainers that know one sequence with labels: tokens, and where they are trained.

    A turn that lies whole in a later turn's context is trained there; every target exactly once.
    """
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for path in sorted(row, key=lambda path: -len(path.tokens)):
        trained = np.arange(len(path.tokens)) >= path.num_context
        for tokens, on in found:
            if len(tokens) >= len(path.tokens) and (tokens[: len(path.tokens)] == path.tokens).all():
                on[: len(path.tokens)] |= trained
                break
        else:
            found.append((path.tokens.astype(np.int64), trained))
    return found


def _alpaca(shared: Folder) -> list[dict[str, Any]]:
    return _alpaca_all(shared)[:320]


def _alpaca_all(shared: Folder) -> list[dict[str, Any]]:
    rows = [row for name in ("alpaca_en_demo", "raschka_1100") for row in _json(shared / "instruct" / f"{name}.json")]
    random.Random(0).shuffle(rows)
    return rows


def _multi_turn(shared: Folder) -> list[dict[str, Any]]:
    return [{"conversations": row["conversations"]} for row in _json(shared / "tools" / "glaive_300.json") if row["tools"] == "[]"]


def _tools(shared: Folder) -> list[dict[str, Any]]:
    rows = [row for row in _json(shared / "tools" / "glaive_300.json") if row["tools"] != "[]"]
    tools = {tool["name"]: tool for row in rows for tool in json.loads(row["tools"])}
    catalogue = [tools[name] for name in sorted(tools)[:: len(tools) // TOOLS][:TOOLS]]
    own = lambda row: [tool for tool in json.loads(row["tools"]) if tool not in catalogue]  # noqa: E731
    return [row | {"tools": json.dumps(catalogue + own(row))} for row in rows]


def _answers(shared: Folder) -> list[dict[str, Any]]:
    found = []
    for tree in _lines(shared / "instruct" / "oasst_en_100_trees.jsonl"):
        root = tree["prompt"]
        answers = [reply["text"] for reply in root["replies"] if reply["role"] == "assistant"][:4]
        asked = {"role": "user", "content": root["text"]}
        if len(answers) == 4:
            found += [{"messages": [asked, {"role": "assistant", "content": answer}]} for answer in answers]
    return found


def _task_files(folder: Folder, shared: Folder) -> list[str]:
    files = []
    for file in sorted((shared / "super_ni").glob("task*.json"))[:16]:
        task = _json(file)
        target = folder / file.name
        target.write_text(json.dumps(task | {"Instances": task["Instances"][:16]}), encoding="utf-8")
        files.append(str(target))
    return files


def _json(file: Folder) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def _lines(file: Folder) -> Iterator[Any]:
    return map(json.loads, file.read_text(encoding="utf-8").splitlines())
