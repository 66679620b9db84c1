"""Who is held out and who is a duplicate, decided by content, so that the answer survives reordering, renaming and added rows."""

import json
from typing import Any

import numpy as np

from instil.core.amounts import amount_of, parse_part
from instil.core.errors import UserError
from instil.core.files import hash_text
from instil.core.values import Conversation, Message


def content_id(conversation: Conversation) -> int:
    """uint64 of roles, texts, reasoning, tool calls and tools, to the letter. Weights do not count."""
    return _number(_json(conversation.tools, sort=False), *(part for message in conversation.messages for part in _parts(message)))


def prompt_id(conversation: Conversation) -> int:
    """uint64 of what is asked: all turns before the first answer, letter case and white space folded, and the tools.

    The first answer is the first assistant turn after a user turn; a greeting in front belongs to the prompt, or else all dialogues that
    begin with one would count as the same prompt.
    """
    parts: list[str] = []
    asked = False
    for message in conversation.messages:
        if asked and message.role == "assistant":
            break
        asked = asked or message.role == "user"
        parts += [message.role, *(_folded(part) for part in _parts(message)[1:])]
    return _number(_json(conversation.tools, sort=True), *parts)


def mark_duplicates(content_ids: np.ndarray, eligible: np.ndarray) -> np.ndarray:
    """bool [N]: eligible rows that are equal to an earlier eligible row. `content_ids` uint64 [N], `eligible` bool [N]."""
    rows = np.flatnonzero(eligible)
    _, first = np.unique(content_ids[rows], return_index=True)
    duplicate = eligible.copy()
    duplicate[rows[first]] = False
    return duplicate


def hold_out(
    prompt_ids: np.ndarray,
    tasks: np.ndarray,
    eligible: np.ndarray,
    held_tasks: set[int],
    examples: str,
    most: int,
    seed: int,
    shown: np.ndarray | None = None,
) -> np.ndarray:
    """bool [N]: rows that are never trained.

    `prompt_ids` uint64 [N], `tasks` int codes [N], `eligible` bool [N] (rows that could be trained; no other row is ever held out).
    Whole tasks first; then `examples` further rows ('5%' of all eligible rows, at most `most`, or '200 rows'): prompts in the order of
    a hash salted with `seed`, each with all its rows, skipping those that no longer fit. So rows with equal prompts always stand on one
    side, added rows change the choice little, and at most `examples` rows are drawn. `shown` bool [N]: rows that others hold as worked
    examples; prompts of theirs are not drawn.

    Raises UserError where nothing would be left to train.
    """
    held = eligible & np.isin(tasks, list(held_tasks))
    held = eligible & np.isin(prompt_ids, prompt_ids[held])
    total = int(eligible.sum())
    if total and held.sum() == total:
        raise UserError(
            f"holdout.tasks holds out all {total:,} rows and leaves none to train: name fewer tasks, or add data of other tasks"
        )
    wanted = amount_of(examples, total)
    if parse_part(examples)[1] == "%":
        wanted = min(wanted, most)
    left = eligible & ~held
    rest = left if shown is None else left & ~np.isin(prompt_ids, prompt_ids[left & shown])
    drawn = _draw_prompts(prompt_ids[rest], wanted, seed)
    if total and drawn.all() and rest.sum() == left.sum():
        raise UserError(
            f"holdout.examples ({examples}) would hold out all of the {len(drawn):,} rows that can be trained: ask for fewer, or add data"
        )
    held[rest] = drawn
    return held


def _draw_prompts(prompt_ids: np.ndarray, wanted: int, seed: int) -> np.ndarray:
    """bool [N]: rows of the prompts that are drawn, at most `wanted` rows."""
    prompts, prompt_of, sizes = np.unique(prompt_ids, return_inverse=True, return_counts=True)
    order = np.argsort(_salted(prompts, seed), kind="stable")
    chosen = np.zeros(len(prompts), bool)
    while wanted and len(order):
        # Each round takes prompts up to the first that does not fit, then forgets all that no longer can: as many rounds as distinct sizes.
        order = order[sizes[order] <= wanted]
        upto = np.cumsum(sizes[order])
        fits = int(np.searchsorted(upto, wanted, side="right"))
        chosen[order[:fits]] = True
        wanted -= int(upto[fits - 1]) if fits else 0
        order = order[fits:]
    return chosen[prompt_of]


def _salted(ids: np.ndarray, seed: int) -> np.ndarray:
    """splitmix64's finalizer (Steele, Lea, Flood 2014) over ids xor a salt: a bijection, so distinct ids stay distinct."""
    mixed = ids.astype(np.uint64) ^ np.uint64(_number("hold out", str(seed)))
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def _parts(message: Message) -> tuple[str, str, str, str]:
    return (
        message.role,
        message.content,
        message.reasoning or "",
        _json([(c.name, c.arguments, c.id) for c in message.tool_calls], sort=False),
    )


def _json(value: Any, sort: bool) -> str:
    # default: Parquet may hold dates and bytes inside tool arguments.
    return json.dumps(value, sort_keys=sort, ensure_ascii=False, default=str) if value else ""


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _number(*parts: str) -> int:
    return int(hash_text(*parts)[:16], 16)
