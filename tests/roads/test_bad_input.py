"""Whatever is wrong ends in one sentence on stderr that says what, where and what to do; exit code 2; nothing written is damaged."""

import importlib.util
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import CONTEXT, alpaca_rows, message_rows, write_model, write_rows
from tests.roads.forks import Forks
from tests.roads.runs import ledger_of, refused, train_here

ROW = '{"instruction": "Say yes.", "output": "Yes."}\n'


# What is wrong with the command line -> the sentence.
ARGUMENTS = {
    "trian recipe.yaml": r"instil has no verb 'trian'; did you mean 'train'\?",
    "train": r"no recipe: give a YAML file, or at least --model and --data; `--help` lists every knob",
    "train nothing.yaml": r"recipe nothing.yaml does not exist: check the path.*",
    "train model": r"recipe model is not a YAML text file: give the path of a recipe",
    "train --model model": r".*'data' is missing.*",
    "train --data alpaca.jsonl": r".*'model' is missing.*",
    "train --model model --data nothing.jsonl": r"nothing.jsonl does not exist.*",
    "train --model model --data alpaca.jsonl --train.bacth 4": r".*'bacth'.*did you mean 'batch'\?",
    "train --model model --data alpaca.jsonl --metod lora": r".*'metod'.*did you mean 'method'\?",
    "train --model model --data alpaca.jsonl --train.batch 0": r".*train.batch.*greater than 0.*",
    "train --model model --data alpaca.jsonl --train.batch many": r".*train.batch.*many.*",
    "train --model model --data alpaca.jsonl --method dora": r".*method.*'full', 'lora' or 'qlora'.*",
    "train --model model --data alpaca.jsonl --train.offload states": r"train.offload: states moves .* no GPU here: leave it out",
    "train --model model --data alpaca.jsonl --train.weights bf16 --method lora": r".*train.weights: bf16 is for method: full, .*",
    "train --model model --data alpaca.jsonl --train.weights bf16 --train.precision fp32": r".*train.weights: bf16 cannot be computed .*",
    "train --model model --data alpaca.jsonl --train.steps 3 --train.epochs 2": r".*epochs and steps .*: keep one.*",
    "train --model model --data alpaca.jsonl --data.0.take 5": r".*'5' is not an amount.*'50%'.*",
    "train --model model --data alpaca.jsonl --allow everything": r".*everything.*",
    "train --model model --data alpaca.jsonl --name a/b": r"run name 'a/b' must .*",
    "train --model model --data alpaca.jsonl --name ..": r"run name '..' must .*",
    "train --model nowhere/model/at/all --data alpaca.jsonl": r"model folder nowhere/model/at/all does not exist: check the path.*",
    "train --model ./nowhere --data alpaca.jsonl": r"model folder ./nowhere does not exist: check the path.*",
    "train --model runs --data alpaca.jsonl --runs alpaca.jsonl": r".*",
    "train --model bare --data alpaca.jsonl": r"the tokenizer of bare has no chat template: choose one with `template: chatml`.*",
    "train --model model --data alpaca.jsonl --template chatlm": r"template 'chatlm' is neither .*; did you mean 'chatml'\?",
    "train --model model --data alpaca.jsonl --template no.jinja": r"template file no.jinja cannot be read.*",
    "train --model model --data alpaca.jsonl --template_options.thinking true": r"template_options: model does not read 'thinking'.*",
    "train --model model --data alpaca.jsonl --data.0.format alpca": r".*alpca.*did you mean 'alpaca'\?.*",
    "train --model model --data alpaca.jsonl --holdout.tasks [poems]": r"holdout.tasks: no row has the task 'poems'.*",
    "train --model model --data alpaca.jsonl --holdout.examples 100%": r"holdout.examples .100%. would .*: ask for fewer, or add data",
    "train --model model --data alpaca.jsonl --max_length 9999": r"max_length 9999 exceeds the context of model .256 tokens.: lower it",
    "train --model model --data alpaca.jsonl --train.max_tokens 100": r"train.max_tokens .100. must hold .* .256 tokens.: .*",
    "train --model model --data alpaca.jsonl --train.keep best --holdout.examples 0": r"train.keep is best, but no row is held out.*",
    "train --model model --data alpaca.jsonl --method lora --lora.targets [qproj]": r"lora.targets: 'qproj' matches no .*q_proj.*",
    "train --resume nothing": r"nothing is not a run folder .*: give the folder that `instil train` made, e.g. runs/NAME",
    "train --resume model": r"model is not a run folder .*",
    "train --resume alpaca.jsonl": r"alpaca.jsonl is not a run folder .*",
    "train --resume model --train.batch 3": r"--resume continues a run under its own recipe: leave out the recipe and other flags",
    "inspect --model model --data alpaca.jsonl --row 999": r"--row 999: the data has rows 1 to 40",
    "chat nothing/at/all": r"model folder nothing/at/all does not exist.*",
}


@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_arguments(forks: Forks, here: Path, arguments: str) -> None:
    before = sorted(here.rglob("*"))
    refused(forks.run(*arguments.split(" "), cwd=here), ARGUMENTS[arguments])
    assert sorted(here.rglob("*")) == before, "nothing is written"


# What a data file holds -> the sentence.
FILES = {
    "empty.jsonl": ("", r".*empty.jsonl.*"),
    "blank.jsonl": ("\n\n \n", r".*blank.jsonl.*"),
    "nothing.json": ("[]", r".*nothing.json.*"),
    "broken.jsonl": (ROW * 2 + '{"instruction": "Say\n' + ROW, r"broken.jsonl:3: .*; mend the file, or set `allow: \[bad_json\]`.*"),
    "broken.json": ('[{"instruction": "a", "output": "b"},\n {"instruction" "c"}]', r"broken.json:2: .*"),
    "odd.jsonl": ('{"some": "thing", "other": 3}\n' * 3, r".*odd.jsonl.*"),
    "list.jsonl": ("[1, 2]\n" * 3, r".*list.jsonl.*"),
    "rows.docx": ("what", r".*rows.docx.*"),
    "silent.jsonl": (
        '{"instruction": "Say nothing.", "output": ""}\n' * 5,
        r"no row of silent.jsonl is left to train: 5 refused.*silent.jsonl:1.*empty_answer.*",
    ),
    "forged.jsonl": (
        '{"instruction": "Say <|end|>.", "output": "No."}\n' * 5,
        r"no row of forged.jsonl is left to train: .*forged.jsonl:1.*control_token.*",
    ),
    "long.jsonl": (
        json.dumps({"instruction": "Count.", "output": "one " * CONTEXT}) + "\n",
        r"no row of long.jsonl is left to train: .*long.jsonl:1.*overlong.*",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_data(forks: Forks, here: Path, name: str) -> None:
    text, sentence = FILES[name]
    (here / name).write_text(text, encoding="utf-8")
    refused(train_here(forks, here, data=name), sentence)
    assert not (here / "runs").exists()


def test_bad_json_can_be_allowed(forks: Forks, here: Path) -> None:
    (here / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in alpaca_rows()[:9]) + "{\n", encoding="utf-8")
    done = train_here(forks, here, data="rows.jsonl", allow="[bad_json]", name="run", train__steps=2)
    assert done.code == 0, done.err
    assert ledger_of(here / "runs/run")[9]["reason"] == "bad_json" and "allowed by the recipe: bad_json" in done.out


def test_rows_beyond_the_context(forks: Forks, here: Path) -> None:
    """What can lose leading turns loses them, what cannot is refused; the ledger says which, and so does the terminal."""
    long_talk: list[dict[str, Any]] = [m for row in message_rows() for m in row["messages"] if m["role"] != "system"]
    rows = [*alpaca_rows(), {"instruction": "Count.", "output": "one " * CONTEXT}]
    write_rows(here / "rows.jsonl", [{"messages": long_talk}, *({"messages": as_messages(row)} for row in rows)])
    done = train_here(forks, here, data="rows.jsonl", name="run", train__steps=2)
    assert done.code == 0, done.err
    ledger = ledger_of(here / "runs/run")
    assert Counter(entry["outcome"] for entry in ledger) == {"kept": 37, "held out": 3, "shortened": 1, "refused": 1}
    assert (ledger[0]["outcome"], ledger[-1]["reason"]) == ("shortened", "overlong")
    assert "1 shortened, 1 refused (1 overlong)" in done.out
    done = train_here(forks, here, data="rows.jsonl", name="strict", train__steps=2, overlong="refuse")
    assert "2 refused (2 overlong)" in done.out


def as_messages(row: dict[str, str]) -> list[dict[str, str]]:
    return [{"role": "user", "content": row["instruction"] + row.get("input", "")}, {"role": "assistant", "content": row["output"]}]


TEMPLATES = {
    "syntax.jinja": ("{% for m in messages %}\n{{ m.content }\n{% endfor %}", r"template syntax.jinja.*line 2.*"),
    "endless.jinja": (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}",
        r"template endless.jinja: the chat template writes nothing after an answer that could stop generation.*",
    ),
    "deaf.jinja": ("{{ bos_token }}hello{{ eos_token }}", r".*deaf.jinja.*"),
    "moody.jinja": ("{{ raise_exception('not today') }}", r".*moody.jinja.*not today.*"),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates(forks: Forks, here: Path, name: str) -> None:
    source, sentence = TEMPLATES[name]
    (here / name).write_text(source, encoding="utf-8")
    refused(train_here(forks, here, template=name), sentence)
    assert not (here / "runs").exists()


RECIPES = {
    "model: model\ndata: alpaca.jsonl\ntrain:\n  lerning_rate: 1\n": r"r.yaml, line 4: .*'lerning_rate'.*did you mean 'learning_rate'\?",
    "model: model\ndata: alpaca.jsonl\nmodel: bare\n": r"r.yaml, line 3: 'model' is given twice: keep one",
    "model: model\n data: alpaca.jsonl\n": r"r.yaml, line 2,? is not valid YAML .*",
    "- model\n- data\n": r"r.yaml .*`key: value` lines.*",
    "model: model\ndata: alpaca.jsonl\ntrain: {batch: no}\n": r"r.yaml, line 3: train.batch.*",
    "": r".*r.yaml.*",
}


@pytest.mark.parametrize("text", RECIPES)
def test_recipes(forks: Forks, here: Path, text: str) -> None:
    (here / "r.yaml").write_text(text, encoding="utf-8")
    refused(forks.run("train", "r.yaml", cwd=here), RECIPES[text])


def spoil_model(folder: Path, how: str) -> None:
    weights, config = folder / "model.safetensors", folder / "config.json"
    if how == "only .bin":
        weights.rename(folder / "pytorch_model.bin")
    elif how == "no weights":
        weights.unlink()
    elif how == "no config":
        config.unlink()
    elif how == "no tokenizer":
        (folder / "tokenizer.json").unlink()
        (folder / "tokenizer_config.json").unlink()
    elif how == "cut weights":
        weights.write_bytes(weights.read_bytes()[:5000])
    elif how == "broken config":
        config.write_text(config.read_text()[:-20])
    elif how == "unknown kind":
        config.write_text(config.read_text().replace('"llama"', '"lama"').replace("LlamaForCausalLM", "Lama"))
    elif how == "other sizes":
        config.write_text(config.read_text().replace('"intermediate_size": 64', '"intermediate_size": 32'))


MODELS = {
    "only .bin": r"m holds weights only as .bin files, which can run code when opened: .*convert them once.*",
    "no weights": r"m holds no weights .*download the model whole",
    "no config": r".*m.*config.json.*",
    "no tokenizer": r"the tokenizer in m cannot be loaded .*",
    "cut weights": r"the weights of m are damaged .*: download them again",
    "broken config": r".*m.*",
    "unknown kind": r".*m.*",
    "other sizes": r"some weights of m have other shapes than its config.json says: download the model again",
}


@pytest.mark.parametrize("how", MODELS)
def test_models(forks: Forks, here: Path, how: str) -> None:
    spoil_model(write_model(here / "m"), how)
    refused(train_here(forks, here, "m"), MODELS[how])
    assert not (here / "runs").exists()


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is not None, reason="TensorBoard is installed")
def test_tensorboard_is_asked_for_before_anything_else(forks: Forks, here: Path) -> None:
    done = train_here(forks, here, train__tensorboard="true")
    refused(done, r"train.tensorboard needs TensorBoard: pip install 'instil\[track\]', or set it to false")
    assert not (here / "runs").exists()
