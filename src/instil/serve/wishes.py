"""From a body to what the engine is asked for. Prompts are made by the chat contract alone: they are the tokens that were trained."""

import secrets
from collections.abc import Mapping
from typing import Any

from instil.core.errors import Refused
from instil.core.values import Conversation
from instil.data.tools import read_tools
from instil.data.turns import read_turns
from instil.serve.grammar import constraint_of
from instil.serve.problems import Problem
from instil.serve.schema import Asked, ChatBody, CompletionBody
from instil.serve.values import Served, Wanted
from instil.template.turns import check_shown

COMPLETION_TOKENS = 16
"""`max_tokens` of /v1/completions where it is not given, as OpenAI has it."""
TEMPERATURE = 1.0
"""Where none is given, as OpenAI has it: the model's own distribution."""


def chat_prompt(served: Served, messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> list[int]:
    """The tokens that a conversation is sent as. Raises Problem (400): not a conversation, or none that this template can show."""
    if served.contract is None:
        raise Problem(400, f"{served.id} is a base model without a chat template: use /v1/completions", "model", "no_chat_template")
    try:
        talk = _read(messages, tools)
        check_shown(talk, served.contract)
        return served.contract.prompt(talk.messages, talk.tools)
    except Refused as refused:
        raise Problem(400, f"messages: {refused.detail}", "messages", refused.code) from None
    except RecursionError:
        raise Problem(400, "messages or tools are nested too deeply", "messages", "invalid_value") from None


def _read(messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> Conversation:
    turns = read_turns([_without_nothing(message) for message in messages], ("role",), ("content",))
    if turns[-1].role == "assistant":
        raise Refused("bad_row", "the last one is the assistant's, so nothing is asked; end with a user's or a tool's")
    return Conversation(messages=turns, tools=read_tools({"tools": tools}) if tools else ())


def _without_nothing(message: Mapping[str, Any]) -> dict[str, Any]:
    """OpenAI's clients send what an answer held back as it came, fields without a value included."""
    return {key: value for key, value in message.items() if value is not None and key not in ("refusal", "annotations", "audio")}


def text_prompt(served: Served, prompt: str | list[int]) -> list[int]:
    """The tokens of a text to be continued, a BOS in front where the model wants one; token ids are taken as they are. Raises Problem."""
    if isinstance(prompt, list):
        if wrong := next((token for token in prompt if token >= served.tokenizer.vocab_size), None):
            raise Problem(400, f"prompt: there is no token {wrong}, the vocabulary has {served.tokenizer.vocab_size:,}", "prompt")
        tokens = prompt
    else:
        if any("\ud800" <= character <= "\udfff" for character in prompt):
            raise Problem(400, "prompt: it holds half a character (a lone surrogate), which no tokenizer can spell", "prompt")
        bos = served.tokenizer.id_of(served.tokenizer.special.get("bos_token")) if served.tokenizer.wants_bos else None
        tokens = [*([bos] if bos is not None else []), *served.tokenizer.encode(prompt)]
    if not tokens:
        raise Problem(400, "prompt: an empty text cannot be continued by this model: give at least one token", "prompt")
    return tokens


def chat_wanted(body: ChatBody, served: Served) -> list[Wanted]:
    """One per choice."""
    tools = body.tools if body.tools and body.tool_choice != "none" else []
    prompt = chat_prompt(served, body.messages, tools)
    _check_room(len(prompt), served, 1, "messages")
    form = body.response_format
    constraint = constraint_of(form, served) if form and form.type != "text" else None
    return [
        Wanted(
            tuple(prompt),
            body.limit,
            stop=body.stops,
            logprobs=(body.top_logprobs or 0) if body.logprobs else None,
            constraint=constraint,
            **_drawn(body, seed),
        )
        for seed in _seeds(body, 1)
    ]


def completions_wanted(body: CompletionBody, served: Served) -> list[Wanted]:
    """`n` per prompt, prompt by prompt, as OpenAI orders choices."""
    limit = COMPLETION_TOKENS if body.max_tokens is None else body.max_tokens
    if not limit and not body.echo:
        raise Problem(400, "max_tokens: 0 is for echo: true alone", "max_tokens")
    prompts = [text_prompt(served, prompt) for prompt in body.prompts]
    for prompt in prompts:
        _check_room(len(prompt), served, 0 if body.echo else 1, "prompt")
    seeds = _seeds(body, len(prompts))
    owners = [prompt for prompt in prompts for _ in range(body.n or 1)]
    return [
        Wanted(tuple(prompt), limit, stop=body.stops, logprobs=body.logprobs, echo=bool(body.echo), **_drawn(body, seed))
        for prompt, seed in zip(owners, seeds, strict=True)
    ]


def _seeds(body: Asked, prompts: int) -> list[int]:
    """A seed for every choice: choices differ, and a request with a seed is the same each time."""
    first = secrets.randbits(48) if body.seed is None else body.seed
    return [(first + choice) % 2**64 for choice in range((body.n or 1) * prompts)]


def _drawn(body: Asked, seed: int) -> dict[str, Any]:
    temperature = TEMPERATURE if body.temperature is None else body.temperature
    return {"temperature": temperature, "top_p": 1.0 if body.top_p is None else body.top_p, "seed": seed}


def _check_room(tokens: int, served: Served, least: int, param: str) -> None:
    if tokens + least > served.context:
        message = f"{param}: {tokens:,} tokens leave no room for an answer; this model takes {served.context:,} in all"
        raise Problem(400, message, param, "context_length_exceeded")
