"""What the trained model says to the materials, measured before anything is exported: every export is held against it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from instil.core.values import Conversation
from instil.model.generate import generate
from instil.model.head import evaluating
from instil.release.materials import chats_for, texts_for
from instil.template.contract import Contract

ANSWER = 16
"""Tokens of an answer that are compared."""


@dataclass(frozen=True)
class Expected:
    """`texts`, `chats` and their token ids. `asked`: the chats that leave room for an answer. Of these `first_QV`: log-probabilities of the
    first answer token; `answers`: greedy answers of at most ANSWER tokens, a stop token included. `parts`: the template
    reads typed parts, see `template.render`."""

    texts: tuple[str, ...]
    text_ids: tuple[list[int], ...]
    chats: tuple[Conversation, ...]
    chat_ids: tuple[list[int], ...]
    asked: tuple[int, ...]
    first_QV: Tensor
    answers: tuple[list[int], ...]
    stop_ids: tuple[int, ...]
    parts: bool = False

    @property
    def prompts(self) -> list[list[int]]:
        return [self.chat_ids[k] for k in self.asked]


def expect(model: nn.Module, contract: Contract, context: int | None) -> Expected:
    """Ask the trained model, as it is in memory."""
    texts, chats = tuple(texts_for(contract)), chats_for(contract)
    chat_ids = tuple(contract.prompt(chat.messages, chat.tools) for chat in chats)
    asked = tuple(k for k, ids in enumerate(chat_ids) if context is None or len(ids) + ANSWER < context)
    prompts = [chat_ids[k] for k in asked]
    drawn = generate(model, prompts, stop_ids=contract.stop_ids, max_new_tokens=ANSWER, batch_size=1)
    answers = tuple(answer.tokens for answer in drawn)
    text_ids = tuple(contract.tokenizer.encode_batch(texts))
    return Expected(
        texts, text_ids, chats, chat_ids, asked, first_logprobs(model, prompts), answers, contract.stop_ids, contract.template.parts
    )


@torch.no_grad()
def first_logprobs(model: nn.Module, prompts: Sequence[Sequence[int]]) -> Tensor:
    """Log-probabilities [Q, V] of the token behind each prompt."""
    with evaluating(model):
        rows = [last_logprobs(model, prompt) for prompt in prompts]
    return torch.stack(rows) if rows else torch.zeros(0, 0)


@torch.no_grad()
def last_logprobs(model: nn.Module, ids: Sequence[int]) -> Tensor:
    """Log-probabilities [V] of the token behind `ids`."""
    device = next(model.parameters()).device
    logits_V = model(input_ids=torch.tensor([list(ids)], device=device)).logits[0, -1]
    return logits_V.float().log_softmax(-1).cpu()
