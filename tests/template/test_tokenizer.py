"""The tokenizer without torch against AutoTokenizer, and what chats need to know of it."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, normalizers
from transformers import AutoTokenizer

from instil.core.errors import UserError
from instil.template.tokenizer import ChatTokenizer, choose_template, from_record, read_resolved
from tests.template.tokenizers import DATA, REAL, SMALL, SPECIAL, TEXTS, byte_level, chat_tokenizer, resolved, with_controls, write_folder

LONG = [" ".join(TEXTS), "".join(TEXTS), "".join(chr(c) for c in range(32, 1200))]


def assert_equal_to_transformers(tokenizer: ChatTokenizer, folder: Path) -> None:
    theirs = AutoTokenizer.from_pretrained(folder)
    texts = [*TEXTS, *LONG]
    expected = [theirs(text, add_special_tokens=False)["input_ids"] for text in texts]
    assert tokenizer.encode_batch(texts) == expected
    assert [tokenizer.encode(text) for text in texts] == expected
    plain = [theirs.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False) for ids in expected]
    assert tokenizer.decode_batch(expected) == plain == [tokenizer.decode(ids) for ids in expected]
    assert tokenizer.wants_bos == (theirs("a")["input_ids"][:1] == [theirs.bos_token_id])
    assert tokenizer.vocab_size == len(theirs)
    assert {name: theirs.special_tokens_map[name] for name in tokenizer.special} == tokenizer.special


@pytest.mark.parametrize("name", REAL)
def test_real_tokenizers(name: str) -> None:
    assert_equal_to_transformers(resolved(REAL[name]), REAL[name])


@pytest.mark.parametrize("kind", SMALL)
def test_small_tokenizers(kind: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / kind.replace(" ", "_"), with_controls(SMALL[kind](), "<|im_start|>", "<|im_end|>"))
    tokenizer = resolved(folder)
    assert_equal_to_transformers(tokenizer, folder)
    assert tokenizer.wants_bos == (kind == "sentencepiece")


@pytest.mark.parametrize(("kind", "family"), [("sentencepiece", "LlamaTokenizer"), ("byte level", "Qwen2Tokenizer")])
def test_classes_that_transformers_rebuilds(kind: str, family: str, tmp_path: Path) -> None:
    """tokenizer.json alone would give other tokens than every server that loads the folder through transformers."""
    backend = SMALL[kind]()
    if family == "Qwen2Tokenizer":
        backend.normalizer = normalizers.Lowercase()
    folder = write_folder(tmp_path, backend, family)
    tokenizer = resolved(folder)
    assert_equal_to_transformers(tokenizer, folder)
    alone = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert [alone.encode(text, add_special_tokens=False).ids for text in TEXTS] != tokenizer.encode_batch(TEXTS)


@pytest.mark.skipif("granite" not in REAL, reason="no shared data")
def test_granite_is_rebuilt() -> None:
    alone = Tokenizer.from_file(str(REAL["granite"] / "tokenizer.json"))
    assert alone.encode("<|user|>\nHi", add_special_tokens=False).ids != resolved(REAL["granite"]).encode("<|user|>\nHi")


def test_declared_ends(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, with_controls(byte_level(), "<|im_end|>"))
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "eos_token_id": 3}))
    assert resolved(folder).eos_ids == (2, 3), "a model without a generation config"
    other = write_folder(tmp_path / "other", with_controls(byte_level(), "<|im_end|>"))
    end = AutoTokenizer.from_pretrained(other).convert_tokens_to_ids("<|im_end|>")
    (other / "generation_config.json").write_text(json.dumps({"eos_token_id": [end, 10**6]}))
    assert resolved(other).eos_ids == (2, end), "an id beyond the vocabulary is no end"


def test_pieces_follow_the_text() -> None:
    tokenizer = chat_tokenizer(with_controls(byte_level(nfc=False), "<|im_end|>"))
    assert tokenizer.pieces(tokenizer.encode("ж<|im_end|>")) == ["", "ж", "<|im_end|>"]
    assert tokenizer.pieces([]) == []


PIECES = {kind: chat_tokenizer(with_controls(make(), "<|im_end|>")) for kind, make in SMALL.items()}
PIECES |= {name: resolved(folder) for name, folder in REAL.items()}


@pytest.mark.parametrize("kind", PIECES)
@given(text=st.text(st.sampled_from("ab 你é🙂\n\ufffd▁<>"), max_size=80) | st.text(max_size=30))
@settings(max_examples=40, deadline=None)
def test_pieces_join_to_the_decoded_text(kind: str, text: str) -> None:
    tokenizer = PIECES[kind]
    ids = tokenizer.encode(f"{text}<|im_end|> {text}")
    pieces = tokenizer.pieces(ids)
    assert len(pieces) == len(ids)
    assert "".join(pieces) == tokenizer.decode(ids)


def test_pieces_of_a_long_text_are_those_of_its_parts() -> None:
    tokenizer = PIECES["sentencepiece"]
    ids = tokenizer.encode("the answer is 你好 " * 60)
    for stop in (50, 100, 200):
        shown = "".join(tokenizer.pieces(ids)[:stop])
        assert tokenizer.decode(ids[:stop]).removeprefix(shown).strip("\ufffd") == ""
    assert all(len(piece) < 20 for piece in tokenizer.pieces(ids))


def test_with_tokens() -> None:
    tokenizer = chat_tokenizer(byte_level())
    grown = tokenizer.with_tokens(["<|im_start|>", "</s>", "<|im_end|>"])
    assert grown.added == ("<|im_start|>", "<|im_end|>") and tokenizer.added == ()
    assert grown.vocab_size == tokenizer.vocab_size + 2
    assert grown.encode("a<|im_end|>b")[1] == tokenizer.vocab_size + 1
    assert grown.encode("plain text") == tokenizer.encode("plain text")
    assert grown.with_tokens(["<|im_end|>"]) is grown
    assert grown.content_hash != tokenizer.content_hash


def test_with_tokens_of_a_known_string_adds_no_row() -> None:
    """A string that is a piece already, or an ordinary added token, becomes special under its own id: nothing new to train."""
    tokenizer = chat_tokenizer(byte_level())
    word = next(t for t, i in sorted(tokenizer.backend.get_vocab().items(), key=lambda item: item[1]) if t.isalpha() and len(t) > 1)
    grown = tokenizer.with_tokens([word])
    assert grown.added == () and grown.added_tokens[word] and grown.id_of(word) == tokenizer.id_of(word)


def test_choose_template() -> None:
    tokenizer = from_record(
        {"tokenizer": byte_level().to_str(), "special": SPECIAL, "templates": {"default": "d", "tool_use": "t"}, "eos_ids": []}
    )
    assert choose_template(tokenizer, with_tools=False, where="m") == "d"
    assert choose_template(tokenizer, with_tools=True, where="m") == "t"
    with pytest.raises(UserError, match="the tokenizer of m has no chat template: choose one with `template: chatml`"):
        choose_template(chat_tokenizer(byte_level()), with_tools=False, where="m")


def test_matches_normalized() -> None:
    backend = byte_level()
    assert not chat_tokenizer(with_controls(backend, "<|im_end|>")).matches_normalized
    backend.add_tokens(["<odd>"])  # ordinary added tokens are looked for in normalised text unless told otherwise
    assert chat_tokenizer(backend).matches_normalized
    assert not chat_tokenizer(byte_level(nfc=False)).matches_normalized


def test_read_resolved(tmp_path: Path) -> None:
    record = {"tokenizer": byte_level().to_str(), "special": {**SPECIAL, "extra": ["a"]}, "templates": {"default": "x"}, "eos_ids": [2, 5]}
    (tmp_path / "t.json").write_text(json.dumps(record))
    tokenizer = read_resolved(tmp_path / "t.json")
    assert tokenizer.special == SPECIAL and tokenizer.eos_ids == (2, 5) and tokenizer.templates == {"default": "x"}


def test_shared_data_is_where_it_is_looked_for() -> None:
    assert not DATA.is_dir() or len(REAL) == 4
