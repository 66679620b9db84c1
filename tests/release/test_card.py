"""The card says what the run's files say, and warns where a licence does."""

import json

import pytest
import yaml

from instil.core.files import hash_file
from instil.release.card import card, licence_text
from instil.release.facts import gather_facts, licence_of_card
from instil.release.parity import Check, Parity
from instil.stages.talk import load
from tests.release.conftest import write_run

PASSED = Parity("hf", (Check("loads", True, "plain | transformers"),))
SUMMARY = {
    "verdict": "better",
    "sentence": "better by 16 points (5 to 26)",
    "headline": "heldout",
    "regressions": ["knowledge: −1.5 points"],
    "suites": {
        "heldout": {
            "title": "held-out | prompts",
            "arms": {k: {"score": s, "interval": [s - 0.1, s + 0.1], "n": 90} for k, s in {"base": 0.25, "tuned": 0.41}.items()},
            "difference": 0.16,
            "interval": [0.05, 0.26],
            "base_best_arm": "base",
            "word": "better",
        },
        "judge": {"title": "judge", "note": "not measurable: no endpoint"},
    },
}


@pytest.fixture
def run(bases, tmp_path):
    return write_run(tmp_path / "mine", bases / "own", "own", None)


def text_of(run, target="hf", **facts):
    folder = run / "model"
    return card(gather_facts(folder, **facts), load(run).contract, target, PASSED, folder)


def test_evaluation_data_and_hashes(run):
    (run / "evaluation").mkdir()
    (run / "evaluation" / "summary.json").write_text(json.dumps(SUMMARY))
    text = text_of(run, data_licence="apache-2.0")
    assert "Verdict: **better**. better by 16 points (5 to 26)" in text and "- knowledge: −1.5 points" in text
    assert "| held-out \\| prompts | tuned | 0.410 | 0.310 to 0.510 | 90 |" in text
    assert "| | tuned − base: better | +0.160 | +0.050 to +0.260 | |" in text
    assert "| rows.jsonl | Apache-2.0 |" in text and "56 rows: 50 kept, 6 held out." in text
    assert f"`{hash_file(run / 'model' / 'model.safetensors')}`" in text
    front = yaml.safe_load(text.split("---")[1])
    assert front["base_model_relation"] == "finetune" and front["library_name"] == "transformers"


def test_without_an_evaluation_nothing_is_claimed(run):
    assert "Not evaluated: nothing is claimed" in text_of(run) and "was not measured" in text_of(run)


@pytest.mark.parametrize(
    ("licence", "said"),
    [
        ("cc-by-nc-4.0", "forbids commercial use"),
        ("cc-by-sa-4.0", "carries the same licence"),
        (None, "nothing may be assumed"),
        ("mit", None),
    ],
)
def test_licences_that_forbid(run, bases, licence, said):
    (bases / "own" / "README.md").write_text("---\nlicense: apache-2.0\n---\n# a base")
    try:
        facts = gather_facts(run / "model", licence)
        text = text_of(run, data_licence=licence)
        assert licence_text(facts) == (None if facts.licence == "NOASSERTION" else facts.licence)
    finally:
        (bases / "own" / "README.md").unlink()
    assert facts.base_licence == "Apache-2.0"
    assert ("[!WARNING]" in text) == bool(facts.warnings()) == bool(said)
    assert said is None or said in text


def test_the_built_in_model_declares_its_licence():
    from instil.pocket import MODEL

    assert licence_of_card(MODEL) == "Apache-2.0"


@pytest.mark.parametrize("target", ["hf", "merged", "adapter", "gguf", "ollama", "lmstudio"])
def test_every_target_says_how_to_use_it(run, target):
    text = text_of(run, target)
    said = {"adapter": "AutoPeftModelForCausalLM", "gguf": "llama-server -m", "ollama": "ollama create mine", "lmstudio": "lms import"}
    assert said.get(target, "AutoModelForCausalLM.from_pretrained(folder)") in text


def test_code_in_the_card_is_python(run):
    for target in ("hf", "adapter"):
        code = text_of(run, target).split("```python\n")[1].split("```")[0]
        compile(code, target, "exec")
