"""Tokenizers as llama.cpp takes them: asked of llama.cpp itself, text by text."""

import json
import random
import unicodedata

import pytest

pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")

from tokenizers import Tokenizer, models, normalizers

from instil.core.errors import UserError
from instil.pocket.prose import document
from instil.release.gguf import write_gguf
from instil.release.gguf_parity import check_gguf, serving
from instil.release.gguf_vocabulary import vocabulary_of
from instil.release.materials import TEXTS
from tests.fakes import BOS
from tests.release.small_models import FIN, small_contract, small_tokenizer, write_small

ALPHABET = [chr(c) for c in range(0x30000) if unicodedata.category(chr(c)) not in ("Cs", "Cn", "Co")]
COMMON = [
    *"abcdeABCDE  \n\t\r0123456789.,;:!?'\"()-/éÉßñ",
    "the",
    " The",
    "\n\n",
    "  ",
    "’s",
    "'re",
    "ing",
    " 12",
    "e\u0301",
    "日本",
    "ﬁ",
    "ǅ",
]
COMMON += ["٣", "½", "\u2028", "\u00a0", "\u3000", "\u200b", "\u0085", "👍🏽", "—", "_"]


def texts(count):
    """Pages, mixtures of what is common, mixtures with any character there is."""
    draw = random.Random(5)
    pages = [document(11, i, i % 7) for i in range(count // 4)]
    mixed = ["".join(draw.choice(COMMON) for _ in range(draw.randint(1, 30))) for _ in range(count)]
    wide = [
        "".join(draw.choice(ALPHABET) if draw.random() < 0.5 else draw.choice(COMMON) for _ in range(draw.randint(1, 16)))
        for _ in range(count)
    ]
    return [*TEXTS, *pages, *mixed, *wide]


def differing(one, tmp_path, asked):
    """Texts whose tokens llama.cpp and the tokenizer disagree about, and the report."""
    report = write_gguf(one.folder, tmp_path / "x.gguf", quantize="f16")
    wanted = one.contract.tokenizer.encode_batch(asked)
    with serving(report, 64) as ask:
        found = [ask("/tokenize", content=text, add_special=False, parse_special=True)["tokens"] for text in asked]
    return [text for text, mine, theirs in zip(asked, wanted, found, strict=True) if list(mine) != theirs], report


def pocket_like(splitting):
    """The built-in tokenizer's entries and merges with a rule that cuts text, and the tests' special tokens."""
    from importlib.resources import files

    record = json.loads((files("instil") / "pocket/model/tokenizer.json").read_text(encoding="utf-8"))
    record["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": splitting}
    free = 1 + max(record["model"]["vocab"].values())
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    record["added_tokens"] += [{"id": free + k, "content": text, **plain} for k, text in enumerate((BOS, FIN))]
    return record


POCKET = r" ?\p{Lu}?[\p{Ll}\p{M}]+| ?\p{Lu}|\p{N}| ?[^\s\p{L}\p{N}]+|"


def test_the_built_in_rule_is_tekken_to_the_letter(tmp_path):
    """Beyond this sample: 20,000 mixtures of either kind and each of 144,762 characters between words gave no difference."""
    one = write_small(tmp_path / "m", "llama", small_contract(pocket_like(POCKET + r"\s*[\r\n]+|\s+(?!\S)|\s+")))
    wrong, report = differing(one, tmp_path, texts(400))
    assert report.tokenizer == "gpt2, tekken" and report.differs is None
    assert wrong == []


def test_where_a_rule_differs_is_said(tmp_path):
    """The built-in model's first rule, which kept all blanks before a word together: every difference is foretold."""
    one = write_small(tmp_path / "m", "llama", small_contract(pocket_like(POCKET + r"\s+")))
    wrong, report = differing(one, tmp_path, texts(400))
    assert wrong and all(report.differs(text) for text in wrong)
    assert "two or more blanks" in report.remarks[0]
    assert not any(report.differs(text) for text in ("one two", "One.\n\nTwo", "a\nb"))


def character_tokenizer(prefix):
    """SentencePiece's BPE in Hugging Face's form: bytes to fall back on, letters, a few merges. `prefix`: a blank before every text."""
    alphabet = [*"▁abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,!?'012"]
    merges = [("▁", "t"), ("h", "e"), ("▁t", "he"), ("i", "n"), ("▁", "▁"), ("o", "r"), ("▁", "w"), ("▁w", "or"), ("l", "d")]
    pieces = ["<unk>", BOS, FIN, *(f"<0x{byte:02X}>" for byte in range(256)), *alphabet, *("".join(pair) for pair in merges)]
    model = models.BPE({text: i for i, text in enumerate(pieces)}, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    tokenizer = Tokenizer(model)
    steps = [normalizers.Prepend("▁")] if prefix else []
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    tokenizer.add_special_tokens(["<unk>", BOS, FIN])
    return json.loads(tokenizer.to_str())


@pytest.mark.parametrize("prefix", [False, True])
def test_sentencepiece_in_hugging_faces_form(tmp_path, prefix):
    one = write_small(tmp_path / "m", "llama", small_contract(character_tokenizer(prefix)))
    plain = [text for text in TEXTS if text.strip()]
    wrong, report = differing(one, tmp_path, plain)
    assert report.tokenizer == "llama" and wrong == []


def test_a_blank_before_the_first_word_only(tmp_path):
    """Llama 2's newer form: chats, which begin with BOS, are cut alike; plain text is not, which is said and not asked."""
    record = character_tokenizer(False)
    record["normalizer"] = None
    record["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
    one = write_small(tmp_path / "m", "llama", small_contract(record))
    report = write_gguf(one.folder, tmp_path / "x.gguf", quantize="f32")
    assert report.bare and "gets no blank in front" in report.remarks[-1]
    parity = check_gguf(report, one.expected)
    assert parity.passed and "text tokens" not in {check.name for check in parity.checks}


def test_joins_that_no_merge_lists_are_said():
    record = character_tokenizer(False)
    record["model"]["vocab"]["nt"] = len(record["model"]["vocab"])
    found = vocabulary(record)
    assert "1 entries can be joined in ways that the merges do not list" in found.remarks[0] and not found.strips


def vocabulary(record, size=512):
    return vocabulary_of(Tokenizer.from_str(json.dumps(record)), size, True, "here")


def spoilt(**changes):
    return {**small_tokenizer(), **changes}


BLANKS_APART = {
    "type": "Sequence",
    "pretokenizers": [
        {"type": "Split", "pattern": {"String": " "}, "behavior": "Isolated", "invert": False},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
    ],
}


def unigram():
    return json.loads(Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0)], 0)).to_str())


REFUSED = {
    "pre-tokenizer": (lambda: spoilt(pre_tokenizer=BLANKS_APART), "no pre-tokenizer that cuts text as"),
    "normalizer": (lambda: spoilt(normalizer={"type": "Lowercase"}), "changes letters"),
    "type": (unigram, "type Unigram"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused(what):
    make, said = REFUSED[what]
    with pytest.raises(UserError, match=said):
        vocabulary(make())


def test_more_tokens_than_embeddings():
    with pytest.raises(UserError, match="resize the model"):
        vocabulary(small_tokenizer(), size=100)


def test_rows_without_a_token_are_padding():
    found = vocabulary(small_tokenizer(), size=300)
    assert len(found.tokens) == len(found.types) == 300 and found.tokens[-1] == "[PAD299]"


def test_two_tokens_of_one_id():
    record = small_tokenizer()
    record["model"]["vocab"]["zz"] = max(record["model"]["vocab"].values()) + 2
    with pytest.raises(UserError, match="are both token"):
        vocabulary(record)
