"""A tokenizer without torch: the `tokenizers` backend as transformers would set it up, plus what a chat needs to know about it.

transformers may rebuild a tokenizer when it loads it (for a Llama or Qwen2 class it changes normaliser and pre-tokenizer of the same
tokenizer.json), and the servers that people use load through transformers. So the folder is *resolved* once by transformers itself, in a
process of its own (`model.resolve`), and cached; here only the result is read. A tuned model is saved with the resolved tokenizer.
"""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from instil.core.errors import UserError
from instil.core.files import hash_text


@dataclass(frozen=True)
class ChatTokenizer:
    """`special`: names and strings that templates see (`bos_token`, `eos_token`, ...). `templates`: the tokenizer's own chat templates.

    `eos_ids`: every id that the tokenizer or the generation config declares as end. `wants_bos`: the tokenizer itself puts a BOS in front
    of plain text, so the base model was trained with one. `added`: tokens that were added here and have no trained embedding.
    """

    backend: Tokenizer
    special: dict[str, str]
    templates: dict[str, str]
    eos_ids: tuple[int, ...]
    wants_bos: bool
    added: tuple[str, ...] = ()

    @property
    def vocab_size(self) -> int:
        return self.backend.get_vocab_size(with_added_tokens=True)

    @functools.cached_property
    def content_hash(self) -> str:
        return hash_text(self.backend.to_str(), json.dumps(self.special, sort_keys=True), str(self.eos_ids), str(self.wants_bos))

    @functools.cached_property
    def added_tokens(self) -> dict[str, bool]:
        """Strings that are matched whole before any other tokenizing; True for special ones."""
        return {t.content: t.special for t in self.backend.get_added_tokens_decoder().values()}

    @functools.cached_property
    def matches_normalized(self) -> bool:
        """Whether some added token is looked for in normalised text, where other strings than its own can become it."""
        return self.backend.normalizer is not None and any(t.normalized for t in self.backend.get_added_tokens_decoder().values())

    def id_of(self, token: str | None) -> int | None:
        return None if token is None else self.backend.token_to_id(token)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [e.ids for e in self.backend.encode_batch_fast(list(texts), add_special_tokens=False)]

    def encode(self, text: str) -> list[int]:
        return self.backend.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        return self.backend.decode(list(ids), skip_special_tokens=False)

    def decode_batch(self, batch: Sequence[Sequence[int]]) -> list[str]:
        return self.backend.decode_batch([list(ids) for ids in batch], skip_special_tokens=False)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The text that each token adds, in order; joined they are `decode(ids)`. A token that ends inside a character adds ''."""
        texts: list[str] = []
        # Decoding ever longer windows is quadratic, so the window starts anew at a token that is whole by itself. It stays in the window: a
        # decoder treats what stands first differently (it strips a space).
        start, shown = 0, ""
        for stop in range(1, len(ids) + 1):
            text = self.decode(ids[start:stop])
            if text.endswith("\ufffd") and stop < len(ids):
                texts.append("")
                continue
            texts.append(text[len(shown) :])
            shown = text
            if stop - start >= 16 and "\ufffd" not in (anchor := self.decode(ids[stop - 1 : stop])):
                start, shown = stop - 1, anchor
        return texts

    def with_tokens(self, tokens: Sequence[str]) -> "ChatTokenizer":
        """The tokenizer with `tokens` as special tokens. `added` grows by those that it had no id for: the base model never saw them."""
        if all(self.added_tokens.get(t) for t in tokens):
            return self
        backend = Tokenizer.from_str(self.backend.to_str())
        backend.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in tokens if not self.added_tokens.get(t)])
        return replace(self, backend=backend, added=(*self.added, *(t for t in tokens if self.id_of(t) is None)))


def read_resolved(path: Path) -> ChatTokenizer:
    """The tokenizer in a file that `model.resolve` wrote."""
    record = json.loads(path.read_text(encoding="utf-8"))
    return from_record(record)


def from_record(record: dict[str, Any]) -> ChatTokenizer:
    """From {"tokenizer": json text, "special": {}, "templates": {}, "eos_ids": []}."""
    backend = Tokenizer.from_str(record["tokenizer"])
    backend.no_padding()
    backend.no_truncation()
    special = {k: v for k, v in record["special"].items() if isinstance(v, str)}
    bos = backend.token_to_id(special["bos_token"]) if "bos_token" in special else None
    ids = [backend.token_to_id(special["eos_token"])] if "eos_token" in special else []
    # A generation config may name ids that this tokenizer does not have: they cannot be trained, and decode to nothing.
    eos_ids = tuple(dict.fromkeys(i for i in [*ids, *record["eos_ids"]] if i is not None and backend.id_to_token(i)))
    wants_bos = bos is not None and backend.encode("a", add_special_tokens=True).ids[:1] == [bos]
    return ChatTokenizer(backend, special, record["templates"], eos_ids, wants_bos)


def choose_template(tokenizer: ChatTokenizer, with_tools: bool, where: str) -> str:
    """The tokenizer's own template: `tool_use` where rows have tools and there is one, else the default, as transformers chooses."""
    if with_tools and "tool_use" in tokenizer.templates:
        return tokenizer.templates["tool_use"]
    if "default" in tokenizer.templates:
        return tokenizer.templates["default"]
    known = f" (it has: {', '.join(tokenizer.templates)})" if tokenizer.templates else ""
    raise UserError(
        f"the tokenizer of {where} has no chat template{known}: choose one with `template: chatml` "
        "(or alpaca, zephyr, llama3, a .jinja file)"
    )
