"""Masks beside TRL's: what instil trains, and what TRL's hand-patched templates mark with {% generation %}, turn by turn.

TRL's marks were made by other people in another way, so they are independent ground truth. Where the two differ, the difference must have
one of the names below, and must be in the table of its family; and whatever the table says must be found.
"""

import re
from collections import defaultdict

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from instil.core.errors import Refused
from instil.core.values import Conversation
from instil.template.contract import Contract, make_contract
from instil.template.options import choose_options
from instil.template.turns import Turn, turns_of
from tests.template.dialogues import DIALOGUES, letters_of, mark, openai, owner, unmark
from tests.template.toy import ends_of, toy_tokenizer, trl_templates

# TRL marks what stands behind the stop token, a line break or (Phi-3) an EOS as well: no model is ever asked for it.
BEHIND = "more behind the stop"
# TRL marks what the server's prompt already holds (the turn's header, <think>): no model is ever asked for it.
HEADER = "the prompt's own end"
# The reasoning of an earlier turn is gone from the one rendering that TRL trains on; instil trains each turn as it was asked for.
REASONING = "reasoning that history drops"
# gpt-oss writes <|end|> in history for what the model must end with <|return|>; TRL trains the former on all turns but the last.
END = "another end in history"
# Gemma's diffusion model ends a call with <|tool_response>, which its prompt then continues from; TRL leaves it unmarked.
CALL_END = "the stop of a call"
# Its prompt shows no header behind a tool's answer, though its history does: the model must write it, and TRL takes it for the prompt's.
NO_HEADER = "a header that no server sends"

SAME: set[str] = set()
DIFFERENCES = {
    "cohere": SAME,
    "cohere2": SAME,
    "diffusion_gemma": {BEHIND, REASONING, CALL_END, NO_HEADER},
    "gemma": {BEHIND},
    "gemma3": {BEHIND},
    "glm4moe": {REASONING},
    "gptoss": {HEADER, REASONING, END},
    "idefics3": {BEHIND},
    "lfm2": {BEHIND},
    "lfm2_v2": {BEHIND},
    "llama3": SAME,
    "llava_next": SAME,
    "muse_glimmer": {HEADER},
    "nemotron_3_5_lightning": {BEHIND, HEADER, REASONING},
    "nemotron_3_nano": {BEHIND, HEADER, REASONING},
    "nemotron_3_super": {BEHIND, HEADER, REASONING},
    "nemotron_3_ultra": {BEHIND, HEADER, REASONING},
    "phi3": {BEHIND},
    "phi3_5": {BEHIND},
    "qwen2_5": {BEHIND, HEADER},
    "qwen2_5_vl": {BEHIND},
    "qwen3": {BEHIND},
    "qwen3_5_nothink": {BEHIND, HEADER},
    "qwen3_5_think": {BEHIND, HEADER},
    "qwen3_6": {BEHIND, HEADER},
    "qwen3_8": {BEHIND, HEADER},
    "qwen3_instruct_2507": {BEHIND},
    "qwen3_vl": {BEHIND},
    "smolvlm": {BEHIND},
}
REFUSED = {"deepseek_r1_distill", "deepseekv3"}  # by instil: the prompt opens <think>, and their history never closes it


def marked_by_trl(source: str, conversation: Conversation, contract: Contract) -> dict[int, str] | None:
    """What TRL marks, by message. None: its variant refuses the dialogue."""
    try:
        [text], [spans] = render_jinja_template(
            [[openai(m, contract.template.parts) for m in conversation.messages]],
            tools=list(conversation.tools) or None,
            chat_template=source,
            return_assistant_tokens_mask=True,
            **contract.tokenizer.special,
            **contract.template.options,
        )
    except Exception:
        return None
    found: dict[int, str] = defaultdict(str)
    last = -1
    for begin, end in spans:
        owners = {owner(c) for c in text[begin:end]} - {None}
        assert len(owners) <= 1, f"one mark over several messages: {unmark(text[begin:end])}"
        last = next(iter(owners), last)  # type: ignore[assignment]
        found[last] += text[begin:end]
    return found


def difference(theirs: str, turn: Turn) -> set[str]:
    """Names of what parts TRL's marked text of a turn from instil's completion. Fails where that is something else."""
    ours, names = turn.completion, set()
    stop = ours[max(ours.rfind(c) for c in "<[") :]
    before, found, behind = theirs.rpartition(stop)
    if found and not behind.replace("<|endoftext|>", "").strip() and behind:
        names, theirs = names | {BEHIND}, before + found
    if stop == "<|tool_response>" and not found:
        names, ours = names | {CALL_END}, ours.removesuffix(stop)
    if stop == "<|return|>" and theirs.endswith("<|end|>"):
        names, theirs = names | {END}, theirs.removesuffix("<|end|>") + stop
    header = max(k for k in range(len(theirs)) if turn.context.endswith(theirs[:k]))
    if header and (theirs[header:] == ours or not ours.startswith(theirs[:header])):
        names, theirs = names | {HEADER}, theirs[header:]
    if ours.startswith("<|turn>model\n") and not theirs.startswith("<|turn>"):
        names, ours = names | {NO_HEADER}, ours.removeprefix("<|turn>model\n")
    if len(letters_of(ours)) > len(letters_of(theirs)):
        names, ours, theirs = names | {REASONING}, without_reasoning(ours), without_reasoning(theirs)
    assert theirs == ours, f"unexplained: TRL marks {unmark(theirs)!r}, instil trains {unmark(ours)!r} ({sorted(names)})"
    return names


def without_reasoning(text: str) -> str:
    blocks = (
        r"<\|channel>thought\n[^<]*<channel\|>",
        r"<\|channel\|>analysis<\|message\|>[^<]*<\|end\|><\|start\|>assistant",
        r"\s*(<think>)?[^<]*</think>",
    )
    return re.sub(f"^({'|'.join(blocks)})", "", text)


@pytest.mark.parametrize("name", trl_templates(training=True))
def test_every_difference_is_explained(name: str) -> None:
    marked = trl_templates(training=True)[name].read_text(encoding="utf-8")
    base = make_contract(toy_tokenizer(trl_templates()[name].read_text(encoding="utf-8"), ends_of(name)), "own", where=name)
    names: set[str] = set()
    compared = 0
    for label, dialogue in DIALOGUES.items():
        conversation = mark(dialogue)
        contract = choose_options([conversation], base)
        try:
            turns = turns_of(conversation, contract)
        except Refused:
            continue
        theirs = marked_by_trl(marked, conversation, contract)
        assert theirs is not None, f"TRL refuses {label} and instil does not"
        assert set(theirs) == {turn.index for turn in turns}
        for turn in turns:
            names |= difference(theirs[turn.index], turn)
            compared += 1
    assert (compared == 0) == (name in REFUSED)
    assert names == DIFFERENCES.get(name, SAME)


def test_the_table_is_complete() -> None:
    assert set(DIFFERENCES) | REFUSED == set(trl_templates(training=True))
