"""Answers: batched for evaluation, token by token for chat. Only the model's own forward and cache; nothing from its generation config."""

import inspect
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from transformers.modeling_utils import PreTrainedModel

from instil.core.errors import UserError
from instil.model.attention import attends_by_tree, base_model_of
from instil.model.head import evaluating
from instil.model.load import context_length


class Completion(NamedTuple):
    """`tokens` end with the stop token if there was one. `finish`: "stop", or "length" where the limit came first."""

    tokens: list[int]
    finish: Literal["stop", "length"]


@dataclass(frozen=True)
class Sampling:
    """`temperature` 0: the likeliest token. `top_p`: draw among the likeliest tokens that together have this probability (nucleus sampling,
    Holtzman et al. 2020)."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


def generate(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    *,
    stop_ids: Collection[int],
    max_new_tokens: int,
    pad_id: int = 0,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    batch_size: int = 16,
) -> list[Completion]:
    """One completion per prompt, in the prompts' order. A prompt's answer depends neither on the others nor on the batch size: padding is
    masked, and every prompt draws from its own random numbers, (seed, index). Raises UserError for a prompt that fills the context."""
    completions: list[list[int]] = [[] for _ in prompts]
    sampling = Sampling(temperature, top_p, seed)
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))  # alike lengths together; the largest batch first
    size = 1 if getattr(base_model_of(model), "_is_stateful", False) else batch_size  # a recurrent state would read the padding
    for start in range(0, len(order), size):
        batch = {index: prompts[index] for index in order[start : start + size]}
        for tokens in _decode(model, batch, stop_ids, max_new_tokens, pad_id, sampling):
            for index, token in tokens.items():
                completions[index].append(token)
    return [Completion(tokens, "stop" if tokens and tokens[-1] in stop_ids else "length") for tokens in completions]


def stream(
    model: nn.Module,
    prompt: Sequence[int],
    *,
    stop_ids: Collection[int],
    max_new_tokens: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
) -> Iterator[int]:
    """The tokens of `generate(model, [prompt], ...)` one by one, the stop token included."""
    for tokens in _decode(model, {0: prompt}, stop_ids, max_new_tokens, 0, Sampling(temperature, top_p, seed)):
        yield tokens[0]


def _decode(
    model: nn.Module, prompts: dict[int, Sequence[int]], stop_ids: Collection[int], max_new_tokens: int, pad_id: int, sampling: Sampling
) -> Iterator[dict[int, int]]:
    """Per step: index of the prompt -> its next token, for the prompts that are not finished."""
    inner = base_model_of(model)
    assert not attends_by_tree(inner), "generation needs the model's native attention: leave tree_attention first"
    room = _room(inner, prompts, max_new_tokens)
    random = {index: np.random.default_rng((sampling.seed, index)) for index in prompts}
    rows, state = list(prompts), _State.begin(inner, list(prompts.values()), pad_id)
    done: set[int] = {index for index in prompts if room[index] <= 0}
    with evaluating(inner):
        while len(done) < len(rows):
            with torch.no_grad():
                logits_BV = state.forward(inner)
            tokens_B = _choose(logits_BV, sampling, [random[index].random() for index in rows])
            chosen = {index: token for index, token in zip(rows, tokens_B, strict=True) if index not in done}
            for index, token in chosen.items():
                room[index] -= 1
                if token in stop_ids or not room[index]:
                    done.add(index)
            yield chosen
            state.append(tokens_B)
            if 2 * len(done) >= len(rows) > 1:  # half are finished: go on with the others only
                kept = [at for at, index in enumerate(rows) if index not in done]
                if kept and state.select(kept):
                    rows = [rows[at] for at in kept]
                    done = set()


def _room(model: PreTrainedModel, prompts: dict[int, Sequence[int]], max_new_tokens: int) -> dict[int, int]:
    context = context_length(model.config)
    for prompt in prompts.values():
        if not prompt:
            raise UserError("a prompt without tokens cannot be continued: give at least the BOS token")
        if context and len(prompt) >= context:
            raise UserError(f"a prompt of {len(prompt):,} tokens fills the model's context of {context:,}: shorten it")
    return {index: min(max_new_tokens, context - len(prompt)) if context else max_new_tokens for index, prompt in prompts.items()}


class _State:
    """What one batch has seen so far: all tokens, their mask (0: padding, on the left), and the model's cache of all but the last."""

    def __init__(self, tokens_BT: Tensor, mask_BT: Tensor):
        self.tokens_BT, self.mask_BT, self.cache = tokens_BT, mask_BT, None

    @classmethod
    def begin(cls, model: PreTrainedModel, prompts: list[Sequence[int]], pad_id: int) -> "_State":
        longest = max(map(len, prompts))
        tokens = [[pad_id] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
        mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        return cls(torch.tensor(tokens, device=model.device), torch.tensor(mask, device=model.device))

    def forward(self, model: PreTrainedModel) -> Tensor:
        """Logits [B, V] of the next token. A model without a cache reads everything again."""
        parameters = inspect.signature(model.forward).parameters
        cache_name = "cache_params" if "cache_params" in parameters else "past_key_values"
        new = slice(-1, None) if self.cache is not None else slice(None)
        inputs: dict[str, Any] = {"input_ids": self.tokens_BT[:, new], "use_cache": True, cache_name: self.cache}
        if not bool(self.mask_BT.all()):
            inputs["attention_mask"] = self.mask_BT
        if "position_ids" in parameters:
            inputs["position_ids"] = (self.mask_BT.cumsum(1) - 1).clamp(min=0)[:, new]
        if "logits_to_keep" in parameters:
            inputs["logits_to_keep"] = 1
        out = model(**{name: given for name, given in inputs.items() if given is not None})
        self.cache = getattr(out, cache_name, None)
        return out.logits[:, -1]

    def append(self, tokens_B: list[int]) -> None:
        new_B1 = self.tokens_BT.new_tensor(tokens_B)[:, None]
        self.tokens_BT = torch.cat([self.tokens_BT, new_B1], 1)
        self.mask_BT = torch.cat([self.mask_BT, torch.ones_like(new_B1)], 1)

    def select(self, rows: list[int]) -> bool:
        """Keep these rows of the batch, if the cache can."""
        at = torch.tensor(rows, device=self.tokens_BT.device)
        if self.cache is not None:
            if not hasattr(self.cache, "batch_select_indices"):
                return False
            self.cache.batch_select_indices(at)
        self.tokens_BT, self.mask_BT = self.tokens_BT[at], self.mask_BT[at]
        return True


def _choose(logits_BV: Tensor, sampling: Sampling, uniform_B: list[float]) -> list[int]:
    """The next token of each row; `uniform_B` in [0, 1) are the random numbers."""
    if not sampling.temperature:
        return logits_BV.argmax(-1).tolist()
    p_BV, ids_BV = (logits_BV.double() / sampling.temperature).softmax(-1).sort(descending=True, stable=True)
    before_BV = p_BV.cumsum(-1) - p_BV
    cumulative_BV = p_BV.masked_fill(before_BV >= sampling.top_p, 0).cumsum(-1)  # the likeliest token is always kept
    aim_B1 = cumulative_BV[:, -1:] * torch.tensor(uniform_B, dtype=torch.float64, device=logits_BV.device)[:, None]
    at_B1 = torch.searchsorted(cumulative_BV, aim_B1, right=True)
    return ids_BV.gather(1, at_B1.clamp(max=ids_BV.shape[1] - 1))[:, 0].tolist()
