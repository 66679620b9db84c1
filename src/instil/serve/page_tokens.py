"""The tokens behind a conversation, as the chat page shows them: what is sent, what came back, and how likely the model found it."""

import contextlib
import math
from collections.abc import Sequence
from typing import Any

from instil.core.errors import Refused
from instil.core.values import Message
from instil.serve.values import Served, TokenInfo, Wanted
from instil.serve.wishes import chat_prompt, text_prompt
from instil.template.contract import Contract, check_controls, check_forged

TokenShown = dict[str, Any]


def prompt_of(served: Served, turns: list[dict[str, Any]]) -> list[int]:
    """What is sent: the contract's prompt; for a base model without one the texts, to be continued. Raises Problem where the conversation
    cannot be sent, Refused where it leaves no room for an answer."""
    chats = served.contract is not None
    ids = chat_prompt(served, turns, []) if chats else text_prompt(served, "\n".join(turn["content"] for turn in turns))
    if len(ids) >= served.context:
        raise Refused("too_long", f"the conversation has {len(ids):,} tokens, {served.id} takes {served.context:,}: begin a new one")
    return ids


def answer_of(served: Served, conversation: Sequence[Message], text: str, ended: bool) -> list[int]:
    """The tokens of an answer to a conversation, and the one that ends it where it `ended`. Raises Refused where its text would become a
    control token."""
    contract = served.contract
    if contract is None:
        return served.tokenizer.encode(text)
    answer = Message(role="assistant", content=text)
    check_controls(contract, [answer])
    written = contract.written(text, "assistant")
    ids = contract.encode([written])[0]
    check_forged(contract, written, ids, "the answer")
    return [*ids, *_ending(contract, [*conversation, answer])] if ended else ids


def _ending(contract: Contract, conversation: Sequence[Message]) -> list[int]:
    """The stop token that the template writes behind a conversation: of several that a model knows, the one that it was taught."""
    whole = contract.encode([contract.render(conversation)])[0]
    return next(([token] for token in reversed(whole) if token in contract.stop_ids), [])


def shown_tokens(served: Served, ids: Sequence[int]) -> list[TokenShown]:
    """{id, text, special} of every token. The texts of all tokens together are the whole text, wherever tokens are whole characters."""
    before: int | None = None
    shown = []
    for token in ids:
        shown.append(_shown(served, token, before))
        before = token
    return shown


def _shown(served: Served, token: int, before: int | None) -> TokenShown:
    """Decoded behind its neighbour: many tokenizers drop the space in front of what stands alone."""
    tokenizer = served.tokenizer
    special = bool(tokenizer.added_tokens.get(tokenizer.backend.id_to_token(token) or "", False))
    control = served.contract is not None and token in served.contract.control_ids
    lead = tokenizer.decode([before]) if before is not None else ""
    text = tokenizer.decode([token] if before is None else [before, token])
    text = text.removeprefix(lead) if text.startswith(lead) else tokenizer.decode([token])
    if "\ufffd" in text or not text:  # a part of a character: the vocabulary's own spelling says more
        text = tokenizer.backend.id_to_token(token) or f"[{token}]"
    return {"id": token, "text": text, "special": special or control}


async def scored(served: Served, prompt: Sequence[int], answer: Sequence[int], alternatives: int) -> list[TokenShown]:
    """{id, text, special, probability, alternatives} of every token of `answer` behind `prompt`, under the model's own distribution
    (temperature 1). Raises Refused where both do not fit the context, Busy where the engine's queue is full."""
    if served.context is not None and len(prompt) + len(answer) >= served.context:
        raise Refused(
            "too_long", f"conversation and answer fill the {served.context:,} tokens of {served.id}: nothing is left to measure with"
        )
    request = Wanted((*prompt, *answer), max_tokens=1, logprobs=alternatives, echo=True)
    echoed: list[TokenInfo] = []
    async with contextlib.aclosing(served.engine.submit(request)) as pieces:  # type: ignore[type-var]  # a generator, in every engine
        async for piece in pieces:
            echoed += [info for info in piece.tokens if info.in_prompt]
    found = []
    for place, info in enumerate(echoed[len(prompt) :], len(prompt)):
        before = request.prompt[place - 1] if place else None
        others = [{**_shown(served, token, before), "probability": math.exp(logprob)} for token, logprob in info.top]
        own = None if info.logprob is None else math.exp(info.logprob)
        found.append({**_shown(served, info.id, before), "probability": own, "alternatives": others})
    return found
