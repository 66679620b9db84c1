"""One trained turn as text: what a server sends, what the model must answer, and the proof that nothing else is trained.

    context    = template(m[:i], tools, add_generation_prompt=True)
    full       = template(m[:i+1], tools)
    completion = what full has beyond the context, up to and including the stop token

Where the context is not a prefix of `full`, the answer's place is never searched for (an answer may repeat what a user said): positions
come from rendering the same conversation with texts replaced by MARK, which nothing but the replaced text can show.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from instil.core.errors import Refused
from instil.core.values import Conversation, Message
from instil.template.contract import SEAM, Contract, check_controls
from instil.template.options import exact_switch
from instil.template.render import map_text

MARK = "\ue0f2"
OWN = "\ue0f3"  # where a second mark is needed

# Blocks in which models reason before they answer, beside <name>...</name> and [NAME]...[/NAME].
REASONING = (
    ("<|channel>", "<channel|>"), ("<|START_THINKING|>", "<|END_THINKING|>"), ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"), ("<|think_start|>", "<|think_end|>"),
)  # fmt: skip
TAG = re.compile(r"<(\w[\w:-]*)>|\[([A-Z]\w*)\]")


@dataclass(frozen=True)
class Turn:
    """A trained turn as text. `bridged`: the context is not how the template shows the turn in history, and was proved to fit all the same.
    `reasoning_lost`: the template leaves out the reasoning that the row has."""

    index: int
    context: str
    completion: str
    weight: float
    bridged: bool = False
    reasoning_lost: bool = False


def turns_of(conversation: Conversation, contract: Contract, allow: frozenset[str] = frozenset()) -> list[Turn]:
    """The trained turns of `conversation` as text. Raises Refused with the reason."""
    trained = [i for i, m in enumerate(conversation.messages) if m.role == "assistant" and m.weight > 0]
    if not trained:
        raise Refused("no_answer", "no assistant turn to train")
    if "control_token" not in allow:
        check_controls(contract, conversation.messages, conversation.tools)
    check_shown(conversation, contract)
    return [turn_at(conversation, i, contract, allow) for i in trained]


def check_shown(conversation: Conversation, contract: Contract) -> None:
    """Raise Refused("template_error") for what the template would drop in silence."""
    present = {m.role for m in conversation.messages}
    if any(m.tool_calls for m in conversation.messages):
        present.add("tool_calls")
    if conversation.tools:
        present.add("tools")
    for part in ("system", "tool", "tool_calls", "tools"):
        if part in present and part not in contract.shows:
            name = {"tool_calls": "tool calls", "tools": "tool definitions"}.get(part, f"{part} messages")
            raise Refused("template_error", f"the template leaves out or refuses {name}; another (`template: chatml`) shows them")


def turn_at(conversation: Conversation, i: int, contract: Contract, allow: frozenset[str] = frozenset()) -> Turn:
    """Turn `i` as context and completion text. Raises Refused."""
    before, answer = conversation.messages[:i], conversation.messages[i]
    if not before:
        raise Refused("template_error", "nothing stands before the first answer: no server can ask for it")
    if not answer.content.strip() and not answer.tool_calls and "empty_answer" not in allow:
        raise Refused("empty_answer", f"message {i + 1}: the answer is empty")
    context = contract.render(before, conversation.tools, generate=True)
    full = contract.render((*before, answer), conversation.tools)
    _check_context(before, context, contract)
    bridged = not full.startswith(context)
    start = _start_elsewhere(conversation, i, context, full, contract, allow) if bridged else len(context)
    if start is None:
        raise Refused("inexact", _difference(context, full, conversation, i, contract))
    completion, frame = _cut(full[start:], conversation, i, contract, allow)
    if (bridged or _says_something(frame, contract)) and not _is_own(conversation, i, full[start:], contract):
        raise Refused(
            "template_error", f"message {i + 1}: what the template writes around the answer depends on what others said before it"
        )
    return Turn(i, context, completion, answer.weight, bridged, _reasoning_lost(answer, completion))


def _check_context(before: Sequence[Message], context: str, contract: Contract) -> None:
    """Refuse where the prompt does not show the system's and the users' words as written, the users' in order."""
    seen = context.replace(SEAM, "") if contract.escape else context
    behind = 0
    for j, message in enumerate(before):
        if message.role not in ("system", "user"):
            continue
        text = message.content.strip()
        found = seen.find(text, behind if message.role == "user" else 0)
        if found < 0:
            raise Refused("template_error", f"message {j + 1} ({message.role}): the template does not show it as written")
        behind = found + len(text) if message.role == "user" else behind


def _start_elsewhere(conversation: Conversation, i: int, context: str, full: str, contract: Contract, allow: frozenset[str]) -> int | None:
    """Where turn `i` begins in `full` although the context is not a prefix of it. None: nowhere that can be proved.

    Either they part where an answer begins, and the rest of the context is a block that it opens and closes (Gemma 4, Command R7B); or
    the template shows earlier turns otherwise once the answer stands there (gpt-oss), and this turn all the same.
    """
    if MARK in full or OWN in full or MARK in context:
        return None
    before = conversation.messages[:i]
    marked = _try(conversation, (*before, Message(role="assistant", content=MARK)), contract)
    opening = marked.partition(MARK)[0]
    fits = marked.count(MARK) == 1 and full.startswith(opening) and opening.startswith(_try(conversation, before, contract))
    if fits and context.startswith(opening) and _closes(context[len(opening) :], full[len(opening) :]):
        return len(opening)
    if (start := _rewritten(conversation, i, context, full, contract)) is not None:
        return start
    return len(opening) if fits and "inexact" in allow else None


def _closes(tail: str, turn: str) -> bool:
    """Whether the prompt's tail leaves no block open, and the turn opens none of the kind again that the tail has closed."""
    named = [(f"<{a}>", f"</{a}>") if a else (f"[{b}]", f"[/{b}]") for a, b in TAG.findall(tail)]
    blocks = [(opening, closing) for opening, closing in (*REASONING, *named) if opening in tail]
    closed = all(tail.count(o) <= tail.count(c) and tail.rfind(o) < tail.rfind(c) for o, c in blocks)
    return closed and not any(opening in turn for opening, _ in blocks)


def _rewritten(conversation: Conversation, i: int, context: str, full: str, contract: Contract) -> int | None:
    """Where turn `i` begins in `full` if only earlier turns are shown otherwise there: whatever follows the last word of an earlier message
    is the same in the prompt and in `full`, up to the end of the prompt."""
    before, answer = conversation.messages[:i], conversation.messages[i]
    blotted = _blotted(before, contract)
    prompt, turn = (
        _try(conversation, messages, contract, generate).rpartition(MARK)
        for messages, generate in ((blotted, True), ((*blotted, answer), False))
    )
    history = _try(conversation, before, contract)
    if not prompt[1] or not context.endswith(prompt[2]) or not context.startswith(history) or len(prompt[2]) < len(context) - len(history):
        return None  # the prompt is not all of it behind the last word
    if not turn[1] or not full.endswith(turn[2]) or not prompt[2] or not turn[2].startswith(prompt[2]):
        return None
    shown = _try(conversation, (*blotted, replace(answer, content=OWN)), contract).rpartition(MARK)[2]
    if answer.content.strip() and OWN not in shown:
        return None  # the answer stands before what it answers
    return len(full) - len(turn[2]) + len(prompt[2])


def _try(conversation: Conversation, messages: Sequence[Message], contract: Contract, generate: bool = False) -> str:
    """The text of other messages in this conversation's place, or nothing where the template refuses them."""
    try:
        return contract.render(messages, conversation.tools, generate)
    except Refused:
        return ""


def _blotted(messages: Sequence[Message], contract: Contract) -> list[Message]:
    """The messages with every visible character of every text replaced by MARK. Tags that the template itself writes stay: it looks for
    them (Qwen3 does not take a user's <tool_response> for a question)."""
    written = contract.template.literal_text()

    def blot(found: re.Match[str]) -> str:
        return found[0] if len(found[0]) > 1 and found[0] in written else MARK * len(found[0])

    return [map_text(m, lambda text: re.sub(r"</?[\w|]+>|\S", blot, text)) for m in messages]


def _is_own(conversation: Conversation, i: int, turn: str, contract: Contract) -> bool:
    """Whether `turn`, the rest of the text from where turn `i` begins, holds nothing of what was said before: it is the same to the letter
    when all earlier texts are blotted out."""
    if MARK in turn:
        return False
    before = _blotted(conversation.messages[:i], contract)
    return _try(conversation, (*before, conversation.messages[i]), contract).endswith(turn)


def _says_something(frame: str, contract: Contract) -> bool:
    """Whether there is more in it than control tokens and white space."""
    return bool(contract.forbidden("user").sub("", frame).strip())


def _reasoning_lost(answer: Message, completion: str) -> bool:
    return answer.reasoning is not None and answer.reasoning.strip() not in completion.replace(SEAM, "")


def _cut(tail: str, conversation: Conversation, i: int, contract: Contract, allow: frozenset[str]) -> tuple[str, str]:
    """`tail` up to and including the stop token's string, and what of it is not the answer's text. Raises Refused."""
    begin, after = _answer_in(tail, conversation, i, contract, allow)
    end = _end_of_stop(tail, after, contract)
    if end is None and (stop := _stop_of_next_turn(tail, conversation, i, contract)) is not None:
        tail = tail.rstrip() + stop
        end = len(tail)
    if end is None:
        if "no_stop" not in allow:
            written = short(tail[after:])
            raise Refused("no_stop", f"message {i + 1}: nothing that stops generation follows the answer; the template writes {written}")
        end = len(tail.rstrip())
    if "control_token" not in allow and (early := _end_of_stop(tail[:after], 0, contract)) is not None:
        raise Refused("no_stop", f"message {i + 1}: a stop token stands inside the answer: {short(tail[max(early - 40, 0) : early])}")
    if _says_something(tail[end:], contract):
        raise Refused("answer_missing", f"message {i + 1}: the template goes on behind the stop token: {short(tail[end:])}")
    return tail[:end], tail[:begin] + "\0" + tail[after:end]


def _answer_in(tail: str, conversation: Conversation, i: int, contract: Contract, allow: frozenset[str]) -> tuple[int, int]:
    """Where the answer's content begins and ends in `tail`. Raises Refused where the template does not write it, or not all its calls.

    The first place that reads so, which need not be the content's own ("a" in `<channel>`): what follows only rests on no more of the turn
    standing behind the stop token.
    """
    answer = conversation.messages[i]
    text = contract.written(answer.content, "assistant").strip()
    if "answer_missing" not in allow:
        _check_calls(conversation, i, contract)
    if (at := tail.find(text)) < 0:  # templates that part reasoning from a content of the form <think>...</think>answer
        closings = [c for _, c in (("", "</think>"), ("", "[/THINK]"), *REASONING) if c in text]
        text = next((text.rpartition(c)[2].strip() for c in closings), text)
        at = tail.find(text)
    if at >= 0:
        return at, at + len(text)
    if "answer_missing" in allow:
        return 0, 0
    raise Refused("answer_missing", f"message {i + 1}: the template does not write the answer as it is: it writes {short(tail)}")


def _check_calls(conversation: Conversation, i: int, contract: Contract) -> None:
    """Every call must be shown, and what is said beside them: some templates write only the first (gpt-oss)."""
    before, answer = conversation.messages[:i], conversation.messages[i]
    for k, call in enumerate(answer.tool_calls):
        calls = (*answer.tool_calls[:k], replace(call, name=MARK), *answer.tool_calls[k + 1 :])
        if MARK not in _try(conversation, (*before, replace(answer, tool_calls=calls)), contract):
            raise Refused("answer_missing", f"message {i + 1}: the template leaves out its call {k + 1} ({call.name})")
    beside = answer.tool_calls and answer.content.strip()
    if beside and MARK not in _try(conversation, (*before, replace(answer, content=MARK)), contract):
        raise Refused("answer_missing", f"message {i + 1}: the template leaves out what stands beside the calls: {short(answer.content)}")


def _end_of_stop(text: str, start: int, contract: Contract) -> int | None:
    """Where the first stop token's string at or after `start` ends."""
    found = [(at, at + len(name)) for name in contract.stops if (at := text.find(name, start)) >= 0]
    return min(found)[1] if found else None


def _stop_of_next_turn(tail: str, conversation: Conversation, i: int, contract: Contract) -> str | None:
    """GLM has no end-of-turn token: its models stop by writing the next turn's header, <|user|> or <|observation|>, a declared end.

    The stop is what the template writes between the last word of this answer and the next message, from the end of `tail` on, together
    with the white space before it.
    """
    answer = conversation.messages[i]
    if MARK in tail:
        return None
    marked = map_text(answer, lambda text: text + MARK if text.strip() else text)
    call = next(iter(answer.tool_calls), None)
    follower = Message(role="tool", content="xx", tool_call_id=call.id, name=call.name) if call else Message(role="user", content="xx")
    longer = _try(conversation, (*conversation.messages[:i], marked, follower), contract)
    between = longer.rpartition(MARK)[2]
    found = min(((at, name) for name in contract.stops if (at := between.find(name)) >= 0), default=None)
    if MARK not in longer or found is None:
        return None
    closing, stop = between[: found[0]], found[1]
    return closing[len(closing.rstrip()) :] + stop if tail.rstrip().endswith(closing.rstrip()) else None


def _difference(context: str, full: str, conversation: Conversation, i: int, contract: Contract) -> str:
    part = len(os.path.commonprefix([context, full]))
    switch = exact_switch(conversation, i, contract)
    hint = f"; `template_options: {{{switch}}}` would make it exact" if switch else ""
    return (
        f"message {i + 1}: the server's prompt has {short(context[part:])} where the template's own history has {short(full[part:])}"
        f" after ...{short(context[max(part - 20, 0) : part])}{hint}"
    )


def short(text: str, most: int = 60) -> str:
    """A quotation for a sentence."""
    text = text.replace(SEAM, "")
    return repr(text if len(text) <= most else text[:most] + "...")
