"""GGUF files of every family, read by llama.cpp itself, held against transformers; and what tampering with a file does to the checks."""

import math
import sys
from dataclasses import replace
from importlib.resources import files

import pytest

pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")

import gguf
import numpy as np

from instil.model.load import add_tokens, load_model
from instil.release.expected import expect
from instil.release.gguf import write_gguf
from instil.release.gguf_parity import TOLERANCES, check_gguf, divergence
from instil.release.hf import write_ends
from instil.template.contract import make_contract
from instil.template.saved import save_contract
from instil.template.tokenizer import from_record
from tests.release.small_models import CONTEXT, MODELS, POSITIONS, write_small


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Writes each model once."""
    place, made = tmp_path_factory.mktemp("small"), {}

    def get(name):
        if name not in made:
            made[name] = write_small(place / name, name)
        return made[name]

    return get


def failed(parity):
    return {check.name: check.detail for check in parity.checks if not check.passed}


@pytest.mark.parametrize("kind", ["f32", "f16", "q8_0"])
@pytest.mark.parametrize("family", MODELS)
def test_every_family(small, tmp_path, family, kind):
    one = small(family)
    report = write_gguf(one.folder, tmp_path / f"{family}.gguf", quantize=kind)  # llama.cpp reads something into some names
    parity = check_gguf(report, one.expected)
    assert parity.passed, failed(parity)
    assert len(parity.checks) == 6 and len(one.expected.chats) >= 6
    assert kind.upper() in report.tensors


def test_the_built_in_model(tmp_path):
    """As it comes, under ChatML: all chats, tools among them."""
    source = files("instil") / "pocket" / "model"
    special = {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    record = {"tokenizer": (source / "tokenizer.json").read_text(encoding="utf-8"), "special": special, "templates": {}, "eos_ids": [0]}
    contract = make_contract(from_record(record), "chatml", where="pocket")
    model = load_model(str(source))
    new = [contract.tokenizer.backend.token_to_id(token) for token in contract.tokenizer.added]
    add_tokens(model, contract.tokenizer.vocab_size, new)
    model.save_pretrained(tmp_path)
    save_contract(contract, tmp_path, CONTEXT)
    write_ends(tmp_path, contract)
    expected = expect(model, contract, CONTEXT)
    assert any(chat.tools for chat in expected.chats)
    for kind in ("f32", "f16", "q8_0"):
        parity = check_gguf(write_gguf(tmp_path, tmp_path / f"{kind}.gguf", quantize=kind), expected)
        assert parity.passed, (kind, failed(parity))
        assert {check.name: check.detail for check in parity.checks}["text tokens"] == "20 of 20 equal"


@pytest.mark.parametrize("kind", POSITIONS)
def test_scaled_positions(small, tmp_path, kind):
    one = small(kind)
    parity = check_gguf(write_gguf(one.folder, tmp_path / "x.gguf", quantize="f32"), one.expected)
    assert parity.passed, failed(parity)


def test_the_random_models_would_show_a_wrong_layout(small, tmp_path, monkeypatch):
    """Without the reordering of q and k the figures are far outside of what F32 is allowed."""
    one = small("llama")
    monkeypatch.setattr("instil.release.gguf._order", lambda *_: None)
    parity = check_gguf(write_gguf(one.folder, tmp_path / "x.gguf", quantize="f32"), one.expected)
    assert "first log-probabilities" in failed(parity)


def rewrite(file, **changes):
    """Keys of a file changed in place; texts keep their length."""
    reader = gguf.GGUFReader(file, "r+")
    for key, value in changes.items():
        part = reader.fields[key.replace("__", ".")].parts[-1]
        part[:] = np.frombuffer(value, np.uint8) if isinstance(value, bytes) else value
    reader.data.flush()


def spoil_template(file):
    reader = gguf.GGUFReader(file, "r+")
    part = reader.fields["tokenizer.chat_template"].parts[-1]
    text = bytes(part).replace(b"assistant: ", b"assistant:\n")
    assert text != bytes(part)
    part[:] = np.frombuffer(text, np.uint8)
    reader.data.flush()


TAMPERING = {
    "template": (spoil_template, {"chat tokens"}),
    "bos": (lambda file: rewrite(file, tokenizer__ggml__bos_token_id=3), {"chat tokens"}),
    "eos": (lambda file: rewrite(file, tokenizer__ggml__eos_token_id=3), {"forced end of turn"}),
    "pre-tokenizer": (lambda file: rewrite(file, tokenizer__ggml__pre=b"qwen2"), {"text tokens"}),
}


@pytest.mark.parametrize("what", TAMPERING)
def test_tampering_is_seen(small, tmp_path, what):
    one = small("llama")
    report = write_gguf(one.folder, tmp_path / "x.gguf", quantize="f16")
    assert check_gguf(report, one.expected).passed
    spoil, seen = TAMPERING[what]
    spoil(report.path)
    assert seen <= failed(check_gguf(report, one.expected)).keys()


def test_a_bos_that_nobody_trained_on_is_seen(small, tmp_path):
    """The template writes none, and the file says that servers add one."""
    one = small("llama")
    bare = replace(
        one.contract, template=replace(one.contract.template, source=one.contract.template.source.replace("{{ bos_token }}", ""))
    )
    chat_ids = tuple(bare.prompt(chat.messages) for chat in one.expected.chats)
    report = write_gguf(one.folder, tmp_path / "x.gguf", quantize="f16")
    assert "chat tokens" in failed(check_gguf(report, replace(one.expected, chat_ids=chat_ids)))


def test_other_weights_are_seen(small, tmp_path):
    one, other = small("llama"), small("linear")
    report = write_gguf(other.folder, tmp_path / "x.gguf", quantize="q8_0")
    assert {"first log-probabilities", "greedy answers"} <= failed(check_gguf(report, one.expected)).keys()


def test_a_broken_file_is_a_failed_check(small, tmp_path, capfd):
    one = small("llama")
    report = write_gguf(one.folder, tmp_path / "x.gguf")
    report.path.write_bytes(report.path.read_bytes()[:3000])
    assert failed(check_gguf(report, one.expected)).keys() == {"loads"}


def test_without_llama_cpp_nothing_is_green(small, tmp_path, monkeypatch):
    one = small("llama")
    report = write_gguf(one.folder, tmp_path / "x.gguf")
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    assert "not asked, because xllamacpp is not installed" in failed(check_gguf(report, one.expected))["loads"]


def test_divergence_is_that_of_the_books():
    wanted, found = [0.5, 0.3, 0.2], [0.4, 0.4, 0.2]
    logs = [{k: math.log(p) for k, p in enumerate(row[:2])} for row in (wanted, found)]
    assert divergence(*logs) == pytest.approx(sum(p * math.log(p / q) for p, q in zip(wanted, found, strict=True)))
    assert divergence(logs[0], logs[0]) == pytest.approx(0, abs=1e-12)
    assert TOLERANCES["f32"].divergence < TOLERANCES["f16"].divergence < TOLERANCES["q8_0"].divergence
