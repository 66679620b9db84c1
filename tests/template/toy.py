"""A byte-level tokenizer for any chat template: every marker that the template writes becomes one added token.

With a toy tokenizer token counts mean nothing; which characters are trained, and whether a stop token is, does not depend on it.
"""

import functools
import importlib.util
import re
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from instil.template.tokenizer import ChatTokenizer

MARKER = re.compile(
    r"<\|[\w/ ]+\|?>|<[\w/]+\|>|<｜[^｜]+｜>|\[/?INST\]|<(?:start|end)_of_\w+>"
    r"|</?(?:think|tool_call|tool_response|tools|s|seed:think|start_of_turn|end_of_turn|end_of_utterance)>"
)
SOFT = re.compile(r"</?(think|tool_call|tool_response|tools)>")  # ordinary added tokens in the real tokenizers

# What the real tokenizers and generation configs declare as ends; without it the toy would not know what the real one knows. The first is
# the tokenizer's eos_token.
ENDS = {
    "cohere": ("<|END_OF_TURN_TOKEN|>",),
    "deepseek": ("<｜end▁of▁sentence｜>",),
    "glm4moe": ("<|endoftext|>", "<|user|>", "<|observation|>"),
    "gptoss": ("<|return|>", "<|call|>"),
    "llama3": ("<|end_of_text|>", "<|eot_id|>"),
    "llama3_1": ("<|eot_id|>", "<|end_of_text|>", "<|eom_id|>"),
    "llava": ("</s>",),
    "muse": ("<|eot|>",),
}


@functools.cache
def letters() -> dict[str, int]:
    return {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}


def toy_tokenizer(
    template: str,
    ends: tuple[str, ...] = ("<|endoftext|>",),
    bos: str = "<bos>",
    wants_bos: bool = False,
    extra: tuple[str, ...] = (),
) -> ChatTokenizer:
    backend = Tokenizer(models.BPE(vocab=letters(), merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    marks = dict.fromkeys([bos, *ends, *extra, *MARKER.findall(template)])
    backend.add_tokens([AddedToken(m, special=not SOFT.fullmatch(m), normalized=False) for m in marks])
    eos_ids = tuple(backend.token_to_id(end) for end in ends)
    return ChatTokenizer(backend, {"bos_token": bos, "eos_token": ends[0]}, {"default": template}, eos_ids, wants_bos)


def trl_templates(training: bool = False) -> dict[str, Path]:
    """The chat templates that the PyPI package trl carries, by name; with `training`, its variants marked with {% generation %}."""
    spec = importlib.util.find_spec("trl")
    if spec is None or spec.origin is None:
        return {}
    files = sorted((Path(spec.origin).parent / "chat_templates").glob("*.jinja"))
    marked = {f.stem.removesuffix("_training"): f for f in files if f.stem.endswith("_training")}
    return marked if training else {f.stem: f for f in files if not f.stem.endswith("_training")}


def ends_of(name: str) -> tuple[str, ...]:
    """The declared ends of a family of `trl_templates`."""
    return next((ENDS[start] for start in sorted(ENDS, key=len, reverse=True) if name.startswith(start)), ("<|endoftext|>",))
