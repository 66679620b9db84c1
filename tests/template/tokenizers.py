"""Small tokenizers of the kinds that are in use, trained here in a moment, and the real ones of the shared data."""

import contextlib
import functools
import io
import json
import sys
from pathlib import Path
from unittest.mock import patch

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from instil.model.resolve import WORKER
from instil.template.tokenizer import ChatTokenizer, from_record

DATA = Path(__file__).parents[2].parent / "shared" / "data"
REAL = {
    name: DATA / kind / name
    for kind, names in {"tokenizers": ("granite", "minimind"), "weights": ("babyllama", "stories260K")}.items()
    for name in names
    if (DATA / kind / name).is_dir()
}
SPECIAL = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}

TEXTS = [
    "",
    "a",
    " ",
    "  two  spaces ",
    "Hello, world! How are you?",
    "\n\nline\tbreaks\r\n and tabs",
    "Ünïcödé ёлка 你好，世界 🙂‍↔️ नमस्ते",
    "e\u0301 and \u00e9, \ufb01 and fi",
    "def f(x):\n    return x ** 2  # a comment\n",
    "<s>[INST] no </s> <|im_start|>user\nhi<|im_end|> <|user|>",
    "▁ underscore ▁▁two <0x0A>",
    "12345 67,890.12 $€",
    "word" * 40,
]


@functools.cache
def corpus() -> list[str]:
    sentence = "the answer to a question is what you asked for and 2 + 2 = 4 Hello world user assistant"
    return [sentence[i:] + " " + sentence[:i] for i in range(len(sentence))] + [t for t in TEXTS if "<" not in t]


def sentencepiece_like() -> Tokenizer:
    """As Llama 2: BPE over ▁, byte fallback, a BOS in front of every text."""
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False)
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trained.train_from_iterator(["the answer is here and there", "a question and a word"] * 3, trainer)
    record = json.loads(trained.to_str())
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), *record["model"]["vocab"]]
    record["model"] |= {"vocab": {p: i for i, p in enumerate(dict.fromkeys(pieces))}, "byte_fallback": True, "fuse_unk": True}
    backend = Tokenizer.from_str(json.dumps(record))
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(content=" ", left=1, right=0)]
    )
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", backend.token_to_id("<s>"))])
    return backend


def unigram() -> Tokenizer:
    """As T5 and XLNet: a Unigram model, ▁ before the first word only."""
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    backend.decoder = decoders.Metaspace(prepend_scheme="first")
    trainer = trainers.UnigramTrainer(vocab_size=260, special_tokens=["<s>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False)
    backend.train_from_iterator(corpus(), trainer)
    return backend


def byte_level(nfc: bool = True) -> Tokenizer:
    """As Qwen2: byte-level BPE behind a normaliser."""
    backend = Tokenizer(models.BPE())
    if nfc:
        backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<unk>", "<s>", "</s>"], show_progress=False
    )
    backend.train_from_iterator(corpus(), trainer)
    return backend


SMALL = {"sentencepiece": sentencepiece_like, "unigram": unigram, "byte level": byte_level}


def chat_tokenizer(backend: Tokenizer, template: str | None = None, **special: str) -> ChatTokenizer:
    templates = {} if template is None else {"default": template}
    return from_record({"tokenizer": backend.to_str(), "special": SPECIAL | special, "templates": templates, "eos_ids": []})


def write_folder(folder: Path, backend: Tokenizer, tokenizer_class: str = "PreTrainedTokenizerFast", **config: object) -> Path:
    """A tokenizer folder in Hugging Face's layout."""
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": tokenizer_class, **SPECIAL, **config}), encoding="utf-8")
    return folder


def with_controls(backend: Tokenizer, *tokens: str) -> Tokenizer:
    backend.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in tokens])
    return backend


@functools.cache
def resolved(folder: Path) -> ChatTokenizer:
    """What `model.resolve` makes of a folder, without its process of its own (four seconds)."""
    out = io.StringIO()
    with patch.object(sys, "argv", ["-c", str(folder), "0"]), contextlib.redirect_stdout(out):
        exec(WORKER, {})
    return from_record(json.loads(out.getvalue()))
