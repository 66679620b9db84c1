"""A real model in miniature: a Llama of two layers with a byte-level tokenizer in Hugging Face's layout; and rows to tune it on."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

BOS, EOS = "<|begin|>", "<|end|>"
MERGES = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("i", "n"), ("a", "n"), ("Ġ", "a"), ("e", "r"), ("Ġ", "i"), ("o", "u")]
CONTEXT = 256

# Every turn ends in EOS, whoever speaks; the tokenizer adds BOS by itself, and the template writes it.
OWN_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def write_model(folder: Path, *, template: str | None = OWN_TEMPLATE, seed: int = 0, **config: Any) -> Path:
    """A model folder. `template`: the tokenizer's chat template, None for a base model without one. `config`: changes to the model's."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = byte_level_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BOS, "eos_token": EOS, "clean_up_tokenization_spaces": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(about), encoding="utf-8")
    if template is not None:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    logging.disable_progress_bar()
    small_llama(tokenizer.get_vocab_size(), seed=seed, **config).save_pretrained(folder)
    return folder


def byte_level_tokenizer() -> Tokenizer:
    """All 256 bytes, nine merges, BOS and EOS."""
    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(pair) for pair in MERGES)]
    tokenizer = Tokenizer(models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=MERGES))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in (BOS, EOS)])
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))])
    return tokenizer


def small_llama(vocabulary: int, *, seed: int = 0, **config: Any) -> LlamaForCausalLM:
    """Two layers of 32, random; embeddings spread as wide as trained ones, so that attention is not uniform from the start."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    ends = {"bos_token_id": vocabulary - 2, "eos_token_id": vocabulary - 1}
    spread = {"max_position_embeddings": CONTEXT, "initializer_range": 0.1}
    torch.manual_seed(seed)
    return LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, **{**sizes, **ends, **spread, **config}))


COLOURS = {
    "grass": "green", "the sky": "blue", "snow": "white", "coal": "black", "a lemon": "yellow", "blood": "red", "an orange": "orange",
    "milk": "white", "a leaf": "green", "the sea": "blue", "night": "black", "a rose": "red", "gold": "yellow", "ash": "grey",
    "a plum": "purple", "mud": "brown",
}  # fmt: skip
NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


def alpaca_rows() -> list[dict[str, Any]]:
    """40 rows: a task with an input, a task without."""
    rows = [{"instruction": "Say its colour.", "input": thing, "output": f"It is {colour}."} for thing, colour in COLOURS.items()]
    rows += [{"instruction": f"What follows {a}?", "output": f"{b}."} for a, b in zip(NUMBERS, NUMBERS[1:], strict=False)]
    return rows + [{"instruction": f"What precedes {b}?", "output": f"{a}."} for a, b in zip(NUMBERS, NUMBERS[1:], strict=False)]


def message_rows() -> list[dict[str, Any]]:
    """16 conversations: two exchanges each, half of them under a system message."""
    rows = []
    for i, (thing, colour) in enumerate(COLOURS.items()):
        turns = [("user", f"What colour is {thing}?"), ("assistant", f"{colour}."), ("user", "Sure?"), ("assistant", f"Yes, {colour}.")]
        turns = [("system", "Be brief."), *turns] if i % 2 else turns
        rows.append({"messages": [{"role": role, "content": content} for role, content in turns]})
    return rows


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
