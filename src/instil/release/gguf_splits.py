"""How a byte-level tokenizer cuts text into words before it merges, and what llama.cpp calls that.

llama.cpp knows such rules by name only (`tokenizer.ggml.pre`), each name with regular expressions of its own (`src/llama-vocab.cpp`). A
name that is nearly right loads without a word and cuts other tokens than the model was trained on, so a rule is recognised by its exact
text here, or the tokenizer is refused.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tokenizers import pre_tokenizers

from instil.core.errors import UserError


@dataclass(frozen=True, slots=True)
class Cut:
    """`pre`: llama.cpp's name. `whole`: with that name a word that is in the vocabulary becomes one token, whatever the merges say.
    `differs`: texts that llama.cpp cuts differently all the same, and `why`, in words that finish the sentence "llama.cpp differs".
    `needs`: what must hold of the vocabulary's entries (as bytes) for the name to be right."""

    pre: str
    whole: bool = False
    differs: Callable[[str], bool] | None = None
    why: str = ""
    needs: Callable[[bytes], bool] | None = None


def _odd_case(text: str) -> bool:
    return any(
        unicodedata.category(b).startswith("M") or (a.isalpha() and b.isupper() and not b.isascii()) for a, b in pairwise(f" {text}")
    )


_ODD_CASE = "where a capital outside a-z stands inside a word, or a letter's accent is a character of its own"
_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_CASED = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
)
_CASED_REST = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_POCKET = r" ?\p{Lu}?[\p{Ll}\p{M}]+| ?\p{Lu}|\p{N}| ?[^\s\p{L}\p{N}]+|"

_FRAGMENT = re.compile(rb"[\x80-\xff]|[\xc2-\xf4]?[\x80-\xbf]{1,3}")
_SIMPLE_WORD = re.compile(r" ?U?l+| ?U|N| ?[PSC]+|C|Z| ")


def _simple_entry(entry: bytes) -> bool:
    """Whether no rule that keeps words, digits and punctuation apart, capitals in front, could cut through this entry.

    True of `word`, ` Word`, `A`, a digit, a run of punctuation, white space alone, a piece of one character. Where every entry is such, two
    rules that part only what no entry joins give the same tokens, although they cut differently.
    """
    try:
        text = entry.decode("utf-8")
    except UnicodeDecodeError:
        return _FRAGMENT.fullmatch(entry) is not None
    kinds = {"Lu": "U", "Ll": "l", "Zs": "Z"}
    spelt = "".join(c if c == " " else kinds.get(kind := unicodedata.category(c), kind[0]) for c in text)
    return _SIMPLE_WORD.fullmatch(spelt) is not None


def _blanks_before_word(text: str) -> bool:
    return re.search(r"\s (?=[^\s\d])", text) is not None


CUTS: Mapping[str, tuple[Cut, ...]] = {
    f"{_CONTRACTIONS}|{_WORD}|\\p{{N}}{{1,3}}|{_REST}": (Cut("llama-bpe", whole=True), Cut("dbrx")),
    f"{_CONTRACTIONS}|{_WORD}|\\p{{N}}|{_REST}": (Cut("qwen2"),),
    f"{_WORD}|\\p{{N}}|{_REST}": (Cut("ufakzeka"),),
    "|".join((*_CASED, r"\p{N}", _CASED_REST)): (Cut("tekken", True, _odd_case, _ODD_CASE),),
    "|".join((*(f"{c}{_CONTRACTIONS}?" for c in _CASED), r"\p{N}{1,3}", _CASED_REST)): (Cut("gpt-4o", False, _odd_case, _ODD_CASE),),
    # The rule of the built-in model. tekken cuts elsewhere, but joins and parts nothing that matters to entries as simple as its own; only
    # the first form leaves all blanks before a word together, which no rule of llama.cpp does.
    f"{_POCKET}\\s+": (
        Cut(
            "tekken", True, _blanks_before_word, "where two or more blanks, or a line break and a blank, stand before a word", _simple_entry
        ),
    ),
    f"{_POCKET}\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+": (Cut("tekken", True, needs=_simple_entry),),
}
"""By the regular expression in tokenizer.json. Of several names the first is taken that treats whole words as the tokenizer does."""

_GPT2, _DIGITS = Cut("gpt-2"), Cut("smollm")


def cut_of(pre_tokenizer: Mapping[str, Any] | None, where: str) -> tuple[Cut, ...]:
    """llama.cpp's names for a byte-level pre-tokenizer, the best first. Raises UserError for one that it has no name for."""
    steps = _steps(pre_tokenizer)
    if [s["type"] for s in steps] == ["ByteLevel"] and _own_regex(steps[0]):
        return (_GPT2,)
    if [s["type"] for s in steps] == ["Digits", "ByteLevel"] and steps[0].get("individual_digits") and _own_regex(steps[1]):
        return (_DIGITS,)
    if (
        [s["type"] for s in steps] == ["Split", "ByteLevel"]
        and not steps[1].get("use_regex", True)
        and not steps[1].get("add_prefix_space")
    ):
        regex, apart = steps[0]["pattern"].get("Regex"), steps[0]["behavior"] == "Isolated" and not steps[0].get("invert")
        if apart and regex in CUTS:
            return CUTS[regex]
    raise UserError(
        f"{where}: llama.cpp has no pre-tokenizer that cuts text as {_in_words(steps)} does, and one that is nearly right would give other "
        "tokens than the model was trained on: choose another export"
    )


def _steps(pre_tokenizer: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    if pre_tokenizer is None:
        return []
    return list(pre_tokenizer["pretokenizers"]) if pre_tokenizer["type"] == "Sequence" else [pre_tokenizer]


def _own_regex(step: Mapping[str, Any]) -> bool:
    return bool(step.get("use_regex", True)) and not step.get("add_prefix_space")


def _in_words(steps: list[Mapping[str, Any]]) -> str:
    regexes = [s["pattern"].get("Regex", "") for s in steps if s["type"] == "Split"]
    return f"'{regexes[0]}'" if regexes and regexes[0] else " + ".join(s["type"] for s in steps) or "this one"


def byte_alphabet() -> dict[str, int]:
    """The character that stands for each byte in a byte-level vocabulary (GPT-2's table)."""
    shown = sorted(ord(c) for c in pre_tokenizers.ByteLevel.alphabet() if ord(c) < 256)
    hidden = [byte for byte in range(256) if byte not in set(shown)]
    return {**{chr(byte): byte for byte in shown}, **{chr(256 + i): byte for i, byte in enumerate(hidden)}}
