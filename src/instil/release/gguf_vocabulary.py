"""A tokenizer.json as llama.cpp takes it: tokens, types, merges or scores, and the name of its pre-tokenizer.

Two structures are known, which nearly all models have: byte-level BPE (GPT-2, Llama 3, Qwen, Mistral's tekken, ...) and BPE over
characters with a byte fallback, which is SentencePiece in Hugging Face's form (Llama 2, Mistral v0.x, Gemma, Phi-3). Anything else is
refused.
"""

import json
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gguf import TokenType
from tokenizers import Tokenizer

from instil.core.errors import UserError
from instil.release.gguf_splits import Cut, byte_alphabet, cut_of

SPACE = "▁"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """`model`: llama.cpp's name of the algorithm. `tokens`, `types`, `scores`: one per id. `space_prefix`: text begins with a blank (None:
    the algorithm has no such switch). `bare`: only text behind a control token is cut alike, because the tokenizer puts a blank in front of
    what stands first. `strips`: blanks behind control tokens vanish as in Phi-3. `differs`: texts that llama.cpp is known to cut
    differently, and `remarks` says which."""

    model: str
    pre: str
    tokens: tuple[str, ...]
    types: tuple[int, ...]
    scores: tuple[float, ...] = ()
    merges: tuple[str, ...] = ()
    space_prefix: bool | None = None
    bare: bool = False
    differs: Callable[[str], bool] | None = None
    strips: bool = False
    remarks: tuple[str, ...] = ()


def vocabulary_of(tokenizer: Tokenizer, size: int, begins_special: bool, where: str) -> Vocabulary:
    """The vocabulary for `size` embeddings. `begins_special`: a rendered chat begins with a control token.

    Raises UserError for a structure that llama.cpp would treat differently, for more tokens than embeddings, for two tokens of one text.
    """
    record = json.loads(tokenizer.to_str())
    model = record["model"]
    if model["type"] != "BPE" or model.get("dropout") or model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        raise UserError(
            f"{where}: a tokenizer of type {model['type']} with these settings has no counterpart in llama.cpp: choose another export"
        )
    if any(isinstance(step, Mapping) and step["type"] in ("StripAccents", "Lowercase") for step in _sequence(record["normalizer"])):
        raise UserError(
            f"{where}: a tokenizer that changes letters (its normalizer) has no counterpart in llama.cpp: choose another export"
        )
    make = _characters if model.get("byte_fallback") else _byte_level
    found = make(tokenizer, record, begins_special, where)
    return _with_tokens(replace(found, strips=_strips_as_phi3(record)), record, size, where)


def _strips_as_phi3(record: Mapping[str, Any]) -> bool:
    """Whether blanks behind added tokens vanish as llama.cpp lets them in models named Phi-3: behind all but three of them, and `</s>`."""
    kept = {"<unk>", "<s>", "<|endoftext|>"}
    added = {token["content"]: (token["rstrip"], token["lstrip"]) for token in record["added_tokens"]}
    return kept <= added.keys() and all(strips == (text not in kept, False) for text, strips in added.items())


def _sequence(step: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    if step is None:
        return []
    return list(step.get("normalizers", [])) if step["type"] == "Sequence" else [step]


def _merges(model: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [tuple(m.split(" ", 1)) if isinstance(m, str) else tuple(m) for m in model["merges"]]  # type: ignore[misc]


def _unreached(tokenizer: Tokenizer, entries: Iterable[tuple[str, int]]) -> list[str]:
    """Entries of the vocabulary that the merges do not make of their own text."""
    return [text for text, i in entries if [token.id for token in tokenizer.model.tokenize(text)] != [i]]


def _byte_level(tokenizer: Tokenizer, record: Mapping[str, Any], begins_special: bool, where: str) -> Vocabulary:
    model, normal = record["model"], [step["type"] for step in _sequence(record["normalizer"])]
    if normal not in ([], ["NFC"]):
        raise UserError(f"{where}: llama.cpp has no counterpart to the normalizer {' + '.join(normal)}: choose another export")
    cuts, alphabet = cut_of(record["pre_tokenizer"], where), byte_alphabet()
    added = {token["id"] for token in record["added_tokens"]}
    entries = [(text, i) for text, i in model["vocab"].items() if i not in added]
    cut = next((c for c in cuts if c.whole == bool(model.get("ignore_merges"))), cuts[0])
    if cut.whole != bool(model.get("ignore_merges")) and (odd := _unreached(tokenizer, entries)):
        raise UserError(
            f"{where}: llama.cpp's '{cut.pre}' would make whole words such as {odd[0]!r} one token, or not: choose another export"
        )
    if cut.needs and (odd := [t for t, _ in entries if not (set(t) <= alphabet.keys() and cut.needs(bytes(alphabet[c] for c in t)))]):
        raise UserError(f"{where}: the entry {odd[0]!r} keeps llama.cpp's '{cut.pre}' from cutting text alike: choose another export")
    differs, remarks = _differences(cut, normal == ["NFC"])
    joined = tuple(f"{a} {b}" for a, b in _merges(model))
    return Vocabulary("gpt2", cut.pre, (), (), merges=joined, differs=differs, remarks=remarks)


def _differences(cut: Cut, composes: bool) -> tuple[Callable[[str], bool] | None, tuple[str, ...]]:
    ways = [(cut.differs, cut.why)] if cut.differs else []
    if composes:
        ways.append((lambda text: unicodedata.normalize("NFC", text) != text, "where an accent is a character of its own (no NFC)"))
    if not ways:
        return None, ()
    return (lambda text: any(way(text) for way, _ in ways)), tuple(f"tokens: llama.cpp differs {why}" for _, why in ways)


def _characters(tokenizer: Tokenizer, record: Mapping[str, Any], begins_special: bool, where: str) -> Vocabulary:
    """SentencePiece's BPE: any neighbours are joined whose text is an entry, best score first. Hugging Face keeps no scores but merges in
    their order, so the score is the (negative) rank of the first merge that makes the entry."""
    model = record["model"]
    prefix = _prefix(record, where)
    added = {token["content"] for token in record["added_tokens"]}
    ranks: dict[str, list[int]] = {}
    for rank, (a, b) in enumerate(_merges(model)):
        ranks.setdefault(a + b, []).append(rank)
    remarks = []
    if loose := _loose(model, added, ranks):
        remarks.append(
            f"tokens: {loose:,} entries can be joined in ways that the merges do not list or not in that order; llama.cpp joins them"
        )
    last = float(len(model["merges"]))
    scores = {text: -float(min(found)) for text, found in ranks.items()}
    everything = tokenizer.get_vocab(with_added_tokens=True)
    by_id = {i: scores.get(text, -last) for text, i in everything.items()}
    bare = prefix == "first" and begins_special
    if bare:
        remarks.append("tokens: a chat is cut alike; plain text sent to /completion gets no blank in front, which the tokenizer gives it")
    ordered = tuple(by_id.get(i, -last) for i in range(max(by_id) + 1))
    blank = prefix == "always" or (prefix == "first" and not bare)
    return Vocabulary("llama", "default", (), (), scores=ordered, space_prefix=blank, bare=bare, remarks=tuple(remarks))


def _loose(model: Mapping[str, Any], added: set[str], ranks: Mapping[str, list[int]]) -> int:
    """How many entries SentencePiece would join where the merges do not: from neighbours that no merge lists, or at another time."""
    vocab, pairs = model["vocab"], {(a, b) for a, b in _merges(model)}
    loose = 0
    for text in vocab:
        if text in added or len(text) < 2 or text.startswith("<0x"):
            continue
        missing = any(text[:i] in vocab and text[i:] in vocab and (text[:i], text[i:]) not in pairs for i in range(1, len(text)))
        found = ranks.get(text, [0])
        loose += missing or max(found) - min(found) >= len(found)
    return loose


def _prefix(record: Mapping[str, Any], where: str) -> str:
    """Where the tokenizer puts a blank: 'always' (before every stretch of text), 'first' (before the very first), 'never'.

    Raises UserError where its steps are not SentencePiece's.
    """
    normal, cut = _sequence(record["normalizer"]), record["pre_tokenizer"]
    replaces = any(s["type"] == "Replace" and s["pattern"].get("String") == " " and s["content"] == SPACE for s in normal)
    prepends = any(s["type"] == "Prepend" and s["prepend"] == SPACE for s in normal)
    known = all(s["type"] in ("Replace", "Prepend") for s in normal) and len(normal) == replaces + prepends
    splits = cut is not None and cut["type"] == "Split" and cut["pattern"].get("String") == " "  # finds nothing: no blank is left
    if known and replaces and (cut is None or splits):
        return "always" if prepends else "never"
    if not normal and cut is not None and cut["type"] == "Metaspace" and cut["replacement"] == SPACE:
        entries = record["model"]["vocab"].keys() - {token["content"] for token in record["added_tokens"]}
        if not cut.get("split", True) or not any(SPACE in text[1:] for text in entries):
            return str(cut.get("prepend_scheme", "always"))
    raise UserError(f"{where}: this tokenizer treats blanks in a way that llama.cpp has no counterpart for: choose another export")


def _with_tokens(found: Vocabulary, record: Mapping[str, Any], size: int, where: str) -> Vocabulary:
    """The vocabulary with one token for every row of the embedding; rows that no token has are padding, which is never written."""
    added = {token["id"]: token for token in record["added_tokens"]}
    own = {i: text for text, i in record["model"]["vocab"].items()}
    if twice := [i for i, token in added.items() if own.get(i, token["content"]) != token["content"]]:
        raise UserError(f"{where}: {own[twice[0]]!r} and {added[twice[0]]['content']!r} are both token {twice[0]}: mend tokenizer.json")
    texts = own | {i: token["content"] for i, token in added.items()}
    if max(texts) >= size:
        raise UserError(f"{where}: the tokenizer has {max(texts) + 1:,} tokens and the model {size:,} embeddings: resize the model first")
    if len(set(texts.values())) < len(texts):
        raise UserError(f"{where}: two tokens have the same text, which llama.cpp does not take: mend tokenizer.json")
    unknown = record["model"].get("unk_token")
    tokens = [_spelt(texts[i], i in added) if i in texts else f"[PAD{i}]" for i in range(size)]
    types = [_type(texts.get(i), added.get(i), unknown, found.model) for i in range(size)]
    scores = (*found.scores, *([min(found.scores)] * (size - len(found.scores)))) if found.scores else ()
    strips = [] if found.strips else [t["content"] for t in added.values() if t["lstrip"] or t["rstrip"]]
    remarks = (f"tokens: blanks beside {strips[0]!r} vanish in Hugging Face's tokenizer and stay in llama.cpp's",) if strips else ()
    return replace(found, tokens=tuple(tokens), types=tuple(types), scores=scores, remarks=(*found.remarks, *remarks))


def _spelt(text: str, added: bool) -> str:
    """Added tokens are looked for in the text as it came, where a blank is a blank."""
    return text.replace(SPACE, " ") if added else text


def _type(text: str | None, added: Mapping[str, Any] | None, unknown: str | None, model: str) -> int:
    if text is None:
        return int(TokenType.UNUSED)
    if text == unknown:
        return int(TokenType.UNKNOWN)
    if added is not None:
        return int(TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED)
    byte = model == "llama" and len(text) == 6 and text.startswith("<0x") and text.endswith(">")
    return int(TokenType.BYTE if byte else TokenType.NORMAL)
