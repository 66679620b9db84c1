"""One conversation -> its paths: for every trained turn the tokens that a server sends and the tokens that the model must answer with.

    context    = tokenize(the context's text), alone: that is what a server does
    completion = the full text's own tokens behind it where the boundary is clean, else tokens that spell the completion

What `turns` proves of the text is proved here of the tokens: they spell it, end in a stop token, begin with one BOS, and fit.
"""

import bisect
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from instil.core.errors import Refused
from instil.core.values import Conversation, Path
from instil.template.contract import SEAM, Contract, check_forged
from instil.template.tokenizer import ChatTokenizer
from instil.template.turns import Turn, short, turn_at, turns_of


@dataclass(frozen=True)
class Rules:
    """What to do at the edges. `max_length` in tokens; `shorten`: leave out leading turns of overlong examples instead of refusing."""

    max_length: int
    shorten: bool = True
    allow: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Templated:
    """What became of one conversation. `paths` is empty exactly where `outcome` is refused."""

    outcome: str
    reason: str | None = None
    detail: str | None = None
    paths: tuple[Path, ...] = ()
    num_bridged: int = 0
    num_unclean: int = 0
    num_reasoning_lost: int = 0


def template_rows(conversations: Sequence[Conversation], contract: Contract, rules: Rules) -> list[Templated]:
    """Paths or refusal for each conversation; one tokenizer call for all of them (the tokenizer spreads it over the cores)."""
    turns: list[list[Turn] | Refused] = [_turns_or_refusal(c, contract, rules) for c in conversations]
    flat = [t for found in turns if isinstance(found, list) for t in found]
    encoded = iter(_encode_turns(flat, contract))
    return [
        Templated("refused", found.code, found.detail)
        if isinstance(found, Refused)
        else _finish(conversation, [(t, *next(encoded)) for t in found], contract, rules)
        for conversation, found in zip(conversations, turns, strict=True)
    ]


def _turns_or_refusal(conversation: Conversation, contract: Contract, rules: Rules) -> list[Turn] | Refused:
    try:
        return turns_of(conversation, contract, rules.allow)
    except Refused as refused:
        return refused


def _encode_turns(turns: Sequence[Turn], contract: Contract) -> Iterator[tuple[list[int], list[int]]]:
    """(context alone, context and completion together) for each turn."""
    ids = contract.encode([text for t in turns for text in (t.context, t.context + t.completion)])
    return zip(ids[0::2], ids[1::2], strict=True)


def _finish(conversation: Conversation, turns: Sequence[tuple[Turn, list[int], list[int]]], contract: Contract, rules: Rules) -> Templated:
    paths, left_out, shortened, bridged, unclean, lost = [], 0, 0, 0, 0, 0
    try:
        for turn, context_ids, full_ids in turns:
            path, clean = _path(turn, context_ids, full_ids, contract, rules)
            if len(path.tokens) > rules.max_length:
                if not rules.shorten:
                    raise Refused("overlong", f"message {turn.index + 1}: {len(path.tokens)} tokens, max_length is {rules.max_length}")
                shorter = _shorten(conversation, turn.index, contract, rules)
                if shorter is None:
                    left_out += 1
                    continue
                turn, path, clean = shorter
                shortened += 1
            paths.append(path)
            bridged, unclean, lost = bridged + turn.bridged, unclean + (not clean), lost + turn.reasoning_lost
        if not paths:
            shortest = min(len(full) for _, _, full in turns)
            raise Refused("overlong", f"{shortest} tokens or more, max_length is {rules.max_length}, and no leading turn can go")
    except Refused as refused:
        return Templated("refused", refused.code, refused.detail)
    detail = f"examples longer than {rules.max_length} tokens: {shortened} lost leading turns, {left_out} left out"
    lossy = bool(shortened or left_out)
    return Templated("shortened" if lossy else "kept", None, detail if lossy else None, tuple(paths), bridged, unclean, lost)


def _path(turn: Turn, context_ids: list[int], full_ids: list[int], contract: Contract, rules: Rules) -> tuple[Path, bool]:
    """The path and whether the boundary was clean. Raises Refused where the tokens do not spell the completion or do not stop."""
    where = f"message {turn.index + 1}"
    clean = full_ids[: len(context_ids)] == context_ids
    completion = full_ids[len(context_ids) :] if clean else _encode_apart(turn, context_ids, full_ids, contract)
    if not context_ids:
        raise Refused("template_error", f"{where}: nothing stands before the answer, so its first token cannot be predicted")
    if "control_token" not in rules.allow:
        check_forged(contract, turn.context, context_ids, where)
        check_forged(contract, turn.completion, completion, where)
    bos = contract.tokenizer.id_of(contract.tokenizer.special.get("bos_token"))
    if "two_bos" not in rules.allow and bos is not None and context_ids[:2] == [bos, bos]:
        raise Refused("two_bos", f"{where}: the prompt begins with two BOS tokens")
    if "unencodable" not in rules.allow:
        _check_spelling(turn, context_ids, completion, contract)
    if "no_stop" not in rules.allow and (not completion or completion[-1] not in contract.stop_ids):
        raise Refused("no_stop", f"{where}: the answer's last token does not stop generation")
    return Path(np.array(context_ids + completion, dtype=np.uint32), len(context_ids), turn.weight), clean


def _encode_apart(turn: Turn, context_ids: list[int], full_ids: list[int], contract: Contract) -> list[int]:
    """Tokens of the completion where the full text's own tokens straddle the boundary: encoded alone, or behind a control token for
    tokenizers that begin every text with a space. The one that decodes to the text is taken."""
    tokenizer = contract.tokenizer
    wanted = tokenizer.decode(full_ids)
    for before in ("", "\n", *contract.stops[:1]):
        skip = len(tokenizer.encode(before))
        ids = contract.encode([before + turn.completion])[0][skip:]
        if tokenizer.decode(context_ids + ids) == wanted:
            return ids
    raise Refused(
        "unencodable", f"message {turn.index + 1}: prompt and answer share a token and cannot be parted: {short(turn.completion)}"
    )


def _check_spelling(turn: Turn, context_ids: list[int], completion: list[int], contract: Contract) -> None:
    tokenizer = contract.tokenizer
    text = turn.completion.replace(SEAM, "") if contract.escape else turn.completion
    unknown = tokenizer.id_of(tokenizer.special.get("unk_token"))
    spelled = tokenizer.decode(context_ids + completion)
    if spelled.endswith(text) and (unknown is None or unknown not in completion or tokenizer.special["unk_token"] in text):
        return
    forms: tuple[Literal["NFC", "NFKC"], ...] = ("NFC", "NFKC")  # tokenizers with a Unicode normaliser spell the normal form
    for form in forms:
        if unicodedata.normalize(form, spelled).endswith(unicodedata.normalize(form, text)):
            return
    raise Refused("unencodable", f"message {turn.index + 1}: {_unspelled(tokenizer, text)}")


def _unspelled(tokenizer: ChatTokenizer, text: str) -> str:
    """What of `text` gets lost in tokens, in words: the first character that does not come back alone, if it is that simple."""
    for character in dict.fromkeys(text):
        # Between letters, because many tokenizers strip or add white space at the ends of a text.
        if character not in tokenizer.decode(tokenizer.encode(f"a{character}a")):
            return f"the tokenizer cannot spell {character!r} in the answer {short(text)}"
    return f"the tokenizer does not spell the answer {short(text)}: it comes back as another text"


def _shorten(conversation: Conversation, i: int, contract: Contract, rules: Rules) -> tuple[Turn, Path, bool] | None:
    """Turn `i` with as few leading turns left out as it takes; system messages stay. None: it cannot fit.

    A turn begins with a user message, so tool calls and their answers stay together. Prompts are rendered O(log turns) times, not once for
    every turn that could go.
    """
    messages = conversation.messages[: i + 1]
    lead = next((k for k, m in enumerate(messages) if m.role != "system"), 0)
    starts = [k for k, m in enumerate(messages) if m.role == "user" and k > lead]

    def tried(start: int) -> tuple[Turn, Path, bool] | None:
        kept = replace(conversation, messages=(*messages[:lead], *messages[start:]))
        try:
            turn = replace(turn_at(kept, len(kept.messages) - 1, contract, rules.allow), index=i)
            path, clean = _path(turn, *next(_encode_turns([turn], contract)), contract, rules)
        except Refused:
            return None
        return (turn, path, clean) if len(path.tokens) <= rules.max_length else None

    first = bisect.bisect_left(starts, True, key=lambda start: tried(start) is not None)
    return tried(starts[first]) if first < len(starts) else None
