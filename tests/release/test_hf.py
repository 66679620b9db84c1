"""Folders as plain transformers and peft load them, in a process that has no instil; and what tampering does to the checks."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from instil.core.errors import UserError
from instil.core.values import Message
from instil.model.generate import generate
from instil.release.expected import expect
from instil.release.hf import copy_model, merge, save_merged, template_with_options
from instil.release.hf_parity import check_hf
from instil.stages.talk import load
from instil.template.contract import with_options
from tests.fakes import OWN_TEMPLATE

PLAIN = """
import json, sys, warnings
warnings.simplefilter("ignore")
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from peft import AutoPeftModelForCausalLM
asked = json.loads(sys.stdin.read())
said = {}
for name, folder in asked["folders"].items():
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if name.startswith("adapter"):
        given = {} if name == "adapter, base's ends" else {"generation_config": GenerationConfig.from_pretrained(folder)}
        model = AutoPeftModelForCausalLM.from_pretrained(folder, **given)
    else:
        model = AutoModelForCausalLM.from_pretrained(folder)
    ids = tokenizer.apply_chat_template(asked["chat"], add_generation_prompt=True, return_dict=True, return_tensors="pt")
    out = model.generate(**ids, max_new_tokens=24, do_sample=False)
    ends = model.generation_config.eos_token_id
    said[name] = {"prompt": ids["input_ids"][0].tolist(), "answer": out[0, ids["input_ids"].shape[1]:].tolist(), "ends": ends}
assert "instil" not in sys.modules
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def expected(lora):
    assistant = load(lora)
    return expect(assistant.model, assistant.contract, assistant.context)


@pytest.fixture(scope="module")
def folders(lora, full, tmp_path_factory):
    """`adapter` and `merged` of the LoRA run, `hf` of the full one."""
    place = tmp_path_factory.mktemp("folders")
    for name in ("adapter", "merged", "hf"):
        (place / name).mkdir()
    assistant = load(lora)
    copy_model(lora / "model", place / "adapter", assistant.contract)
    copy_model(full / "model", place / "hf", load(full).contract)
    merged, check = merge(assistant.model, expect(assistant.model, assistant.contract, assistant.context))
    assert check.passed, check
    save_merged(merged, place / "merged", assistant.contract, 512)
    return place


def by_name(parity):
    return {check.name: check for check in parity.checks}


def failed(parity):
    return {check.name for check in parity.checks if not check.passed}


def test_plain_libraries_say_the_same(folders, lora, full):
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What colour is grass?"}]
    where = {name: str(folders / name) for name in ("adapter", "merged", "hf")} | {"adapter, base's ends": str(folders / "adapter")}
    asked = json.dumps({"folders": where, "chat": chat})
    done = subprocess.run([sys.executable, "-P", "-c", PLAIN], input=asked, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-800:]
    said = json.loads(done.stdout.splitlines()[-1])
    for run, names in ((lora, ("adapter", "merged")), (full, ("hf",))):
        expected = expect_chat(run, chat)
        for name in names:
            assert (said[name]["prompt"], said[name]["answer"], set(said[name]["ends"])) == expected, name
    stops = set(load(lora).contract.stop_ids)
    assert {said["adapter, base's ends"]["ends"]} < stops, "peft keeps the base's: why the card gives the folder's own"


def expect_chat(run, chat):
    assistant = load(run)
    prompt = assistant.contract.prompt([Message(**turn) for turn in chat])
    (answer,) = generate(assistant.model, [prompt], stop_ids=assistant.contract.stop_ids, max_new_tokens=24)
    return prompt, answer.tokens, set(assistant.contract.stop_ids)


@pytest.mark.parametrize("name", ["adapter", "merged"])
def test_untouched_folders_pass(folders, expected, name):
    parity = check_hf(name, folders / name, expected)
    assert parity.passed, parity
    assert len(parity.checks) == 6 and "2" in by_name(parity)["forced end of turn"].detail


def edit_json(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def tamper_template(folder):
    file = folder / "chat_template.jinja"
    file.write_text(file.read_text().replace("<|im_start|>assistant\\n", "<|im_start|>assistant"))


def tamper_bos(folder):
    file = folder / "chat_template.jinja"
    file.write_text(f"{{{{ bos_token }}}}{file.read_text()}")


def tamper_eos(folder):
    edit_json(folder / "generation_config.json", eos_token_id=266)


def tamper_scaling(folder):
    edit_json(folder / "adapter_config.json", use_rslora=False)


def tamper_alpha(folder):
    edit_json(folder / "adapter_config.json", lora_alpha=4)


def tamper_tokenizer(folder):
    edit_json(folder / "tokenizer.json", pre_tokenizer={"type": "Whitespace"})


TAMPERING = {
    "template": (tamper_template, {"chat tokens"}),
    "bos": (tamper_bos, {"chat tokens"}),
    "eos": (tamper_eos, {"forced end of turn"}),
    "rslora": (tamper_scaling, {"first log-probabilities"}),
    "alpha": (tamper_alpha, {"first log-probabilities"}),
    "tokenizer": (tamper_tokenizer, {"text tokens", "chat tokens"}),
    "weights": (lambda folder: (folder / "adapter_model.safetensors").unlink(), {"loads"}),
}


@pytest.mark.parametrize("what", TAMPERING)
def test_tampering_is_seen(folders, expected, tmp_path, what):
    tamper, seen = TAMPERING[what]
    folder = shutil.copytree(folders / "adapter", tmp_path / "adapter")
    tamper(folder)
    assert seen <= failed(check_hf("adapter", folder, expected)), what


def test_a_wrong_merge_is_seen(lora, expected):
    wrong = replace(expected, first_QV=expected.first_QV + 0.01 * torch.randn_like(expected.first_QV))
    _, check = merge(load(lora).model, wrong)
    assert not check.passed


def test_options_travel_in_the_template(full):
    contract = load(full).contract
    thinking = "{% if think %}hm {% endif %}" + OWN_TEMPLATE
    changed = replace(contract, template=replace(contract.template, source=thinking, options={}))
    told = with_options(changed, {"think": True, "unread": 1})
    source = template_with_options(told)
    assert source.endswith(thinking) and "unread" not in source
    bare = replace(told, template=replace(told.template, source=source, options={}))
    assert bare.render([Message(role="user", content="a")]) == told.render([Message(role="user", content="a")])
    assert bare.render([Message(role="user", content="a")]).startswith("hm ")


def test_what_never_stops_is_not_released(full, tmp_path):
    with pytest.raises(UserError, match="never stops"):
        copy_model(full / "model", tmp_path, replace(load(full).contract, stop_ids=()))
