"""What a template does, found out with tiny conversations before any row is prepared.

Templates are programs, so they are asked rather than read: where an answer stops, whether a BOS stands in front, which parts of a
conversation are shown at all.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from instil.core.errors import Refused, UserError
from instil.core.values import Message, ToolCall
from instil.template.render import ChatTemplate
from instil.template.tokenizer import ChatTokenizer

# Words that no template changes and no tokenizer lacks.
USER, ANSWER, MORE, SYSTEM, TOOL = "uquestion", "aanswer", "umore", "ssystem", "ttoolanswer"
PROBE_TOOL = {"type": "function", "function": {"name": "f", "description": "ttooltext", "parameters": {"type": "object", "properties": {}}}}
CALL = Message(role="assistant", tool_calls=(ToolCall("ffunction", {"a": 1}, "call00001"),))
TOLD = Message(role="tool", content=TOOL, tool_call_id="call00001", name="ffunction")

# Put in front of a template that writes no BOS. The comment swallows its line break (trim_blocks), so that the template's own first line
# still begins a line (lstrip_blocks).
WRITE_BOS = "{{ bos_token }}{# the model wants a BOS #}\n"


def chat(*texts: str) -> list[Message]:
    """user, assistant, user, ... from plain texts."""
    return [Message(role="assistant" if i % 2 else "user", content=text) for i, text in enumerate(texts)]


def attempt(template: ChatTemplate, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = (), generate: bool = False) -> str:
    """The text, or nothing where the template refuses the conversation."""
    try:
        return template.render(messages, tools, generate)
    except Refused:
        return ""


def pattern_of(strings: Sequence[str]) -> re.Pattern[str]:
    """Any of `strings`, the longest first, as tokenizers match their added tokens."""
    longest_first = sorted({s for s in strings if s}, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")


def settle_parts(template: ChatTemplate, where: str) -> ChatTemplate:
    """Some templates read contents as lists of typed parts only; servers find that out by probing too."""
    for candidate in (template, replace(template, parts=True)):
        text = attempt(candidate, chat(USER, ANSWER))
        if USER in text and ANSWER in text:
            return candidate
    try:
        template.render(chat(USER, ANSWER))
    except Refused as refused:
        raise UserError(f"{where}: the chat template refuses a plain question and answer ({refused.detail}): choose another") from None
    raise UserError(f"{where}: the chat template does not write what a user and an assistant say: choose another")


def settle_bos(
    template: ChatTemplate, tokenizer: ChatTokenizer, where: str, allow: Sequence[str], ours: bool
) -> tuple[ChatTemplate, list[str]]:
    """The template with exactly one BOS in front where the model wants one, and what to say about it."""
    bos = tokenizer.id_of(tokenizer.special.get("bos_token"))
    if bos is None:
        return template, []
    ids = tokenizer.encode(attempt(template, chat(USER), generate=True))
    if ids[:2] == [bos, bos] and "two_bos" not in allow:
        name = tokenizer.special["bos_token"]
        raise UserError(f"{where}: the chat template begins with two BOS tokens ({name}): remove one, or `allow: [two_bos]`")
    if not tokenizer.wants_bos or ids[:1] == [bos]:
        return template, []
    # Written into the template rather than added by code, so that every server that renders the saved template sends it too.
    note = "the model wants a BOS and the template wrote none: {{ bos_token }} now stands in front of it"
    return replace(template, source=WRITE_BOS + template.source), [] if ours else [note]


def controls_of(template: ChatTemplate, tokenizer: ChatTokenizer) -> tuple[str, ...]:
    """Strings that only the template may write: special tokens, declared ends, and ordinary added tokens that the template writes, whole or
    from pieces (white space apart, as Gemma's "\\n")."""
    conversations = ([*chat(USER, ANSWER, MORE)], [Message(role="system", content=SYSTEM), *chat(USER, ANSWER)], [*chat(USER), CALL, TOLD])
    written = "\0".join([template.literal_text(), *(attempt(template, c, [PROBE_TOOL], generate=True) for c in conversations)])
    added = [t for t, special in tokenizer.added_tokens.items() if not t.isspace() and (special or t in written)]
    return tuple(dict.fromkeys([*added, *declared_ends(tokenizer)]))


def declared_ends(tokenizer: ChatTokenizer) -> dict[str, int]:
    """The declared ends by their text."""
    return {text: i for i in tokenizer.eos_ids if (text := tokenizer.decode([i]))}


def stop_ids_of(template: ChatTemplate, tokenizer: ChatTokenizer, controls: Sequence[str]) -> tuple[int, ...]:
    """The tokenizer's and the generation config's ends, as far as the template leaves them to end a turn, and the template's own.

    After an answer that stands last comes some control token. If it is a declared end, nothing is to be found out (gpt-oss: <|return|>).
    If a declared end stands after an answer inside a conversation too, that one ends turns (Command R: <|END_RESPONSE|><|END_OF_TURN|>).
    Otherwise the first control token is the end of turn (ChatML on a base whose EOS is <|endoftext|>; Phi-3: <|end|>).
    Empty: nothing that the template writes after an answer could stop generation.
    """
    ends = declared_ends(tokenizer)
    after = attempt(template, chat(USER, ANSWER)).rpartition(ANSWER)[2]
    inside = attempt(template, chat(USER, ANSWER, MORE)).partition(ANSWER)[2].partition(MORE)[0]
    first = pattern_of(controls).search(after)
    ends_turns = any(text in inside for text in ends)
    if first is None and not ends_turns:
        return ()
    own = [first[0]] if first is not None and first[0] not in ends and not ends_turns else []
    behind_call = attempt(template, [*chat(USER), CALL], [PROBE_TOOL]).rpartition(CALL.tool_calls[0].name)
    last = [c for c in controls if behind_call[1] and tokenizer.added_tokens.get(c) and behind_call[2].rstrip().endswith(c)]
    if last and not any(text in behind_call[2] for text in [*ends, *own]):  # Gemma 4: <|tool_response>
        own += last[:1]
    return tuple(dict.fromkeys([*ends.values(), *(i for text in own if (i := tokenizer.id_of(text)) is not None)]))


def shown_by(template: ChatTemplate) -> frozenset[str]:
    """Which of {system, tools, tool_calls, tool, reasoning} the template renders: what it drops in silence must be known beforehand."""
    answer = chat(USER, ANSWER)[1]
    probes: dict[str, tuple[list[Message], list[Mapping[str, Any]], str]] = {
        "system": ([Message(role="system", content=SYSTEM), *chat(USER, ANSWER)], [], SYSTEM),
        "tools": (chat(USER, ANSWER), [PROBE_TOOL], "ttooltext"),
        "tool_calls": ([*chat(USER), CALL], [PROBE_TOOL], "ffunction"),
        "tool": ([*chat(USER), CALL, TOLD, answer], [PROBE_TOOL], TOOL),
        "reasoning": ([*chat(USER), replace(answer, reasoning="rreasoning")], [], "rreasoning"),
    }
    return frozenset(name for name, (messages, tools, word) in probes.items() if word in attempt(template, messages, tools))


def remarks_on(template: ChatTemplate) -> list[str]:
    """What the person who starts the run should know of the template's ways."""
    remarks = []
    if "strftime_now" in template.source and "date_string" not in template.options:
        remarks.append("the template writes the date of the day: prompts prepared today carry today's")
    prompt = attempt(template, chat(USER), generate=True)
    header = attempt(template, chat(USER, ANSWER)).removeprefix(prompt).partition(ANSWER)[0]
    if prompt == attempt(template, chat(USER)) and header.strip():
        remarks.append(f"the template has no generation prompt: every answer begins with {header!r}, which the model itself must write")
    return remarks
