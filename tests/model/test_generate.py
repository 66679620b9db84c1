from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from instil.core.errors import UserError
from instil.model.attention import tree_attention
from instil.model.generate import Completion, generate, stream
from instil.model.load import load_model
from tests.model.tiny import VOCABULARY, build

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "weights"


def prompts(lengths: tuple[int, ...] = (3, 17, 1, 9, 30, 12, 5)) -> list[list[int]]:
    random = np.random.default_rng(0)
    return [random.integers(3, VOCABULARY, length).tolist() for length in lengths]


@torch.no_grad()
def naive_greedy(model: PreTrainedModel, prompt: list[int], stop_ids: set[int], most: int) -> Completion:
    """Everything read again for every token: no cache, no padding."""
    tokens = list(prompt)
    while len(tokens) < len(prompt) + most:
        tokens.append(int(model(torch.tensor([tokens]), use_cache=False).logits[0, -1].argmax()))
        if tokens[-1] in stop_ids:
            return Completion(tokens[len(prompt) :], "stop")
    return Completion(tokens[len(prompt) :], "length")


@pytest.mark.parametrize("kind", ["llama", "mistral", "gemma2", "gpt2", "opt", "gpt_oss", "cohere2", "bloom", "mamba", "rwkv"])
def test_batch_equals_one_at_a_time(kind: str) -> None:
    """Sliding windows, learned positions, sinks, alibi, recurrent states, no cache at all: greedy answers as without cache and padding."""
    # Some in float32: masks of gemma2 and bloom overflow (float64's lowest number, cast to float32); mamba and rwkv know nothing else.
    model = build(kind, torch.float32 if kind in ("gemma2", "bloom", "mamba", "rwkv") else torch.float64)
    free = [naive_greedy(model, prompt, set(), 12) for prompt in prompts()]
    stop_ids = {free[0].tokens[3], free[3].tokens[7]}
    expected = [naive_greedy(model, prompt, stop_ids, 12) for prompt in prompts()]
    assert "stop" in {c.finish for c in expected} and (kind != "llama" or "length" in {c.finish for c in expected})
    for batch_size in (16, 3, 1):
        assert generate(model, prompts(), stop_ids=stop_ids, max_new_tokens=12, batch_size=batch_size) == expected
    assert [list(stream(model, p, stop_ids=stop_ids, max_new_tokens=12)) for p in prompts()] == [c.tokens for c in expected]


def test_samples_do_not_depend_on_the_batch() -> None:
    model = build("qwen3")
    options = {"stop_ids": {5}, "max_new_tokens": 10, "temperature": 1.3, "top_p": 0.9}
    together = generate(model, prompts(), seed=4, **options)
    assert generate(model, prompts(), seed=4, batch_size=2, **options) == together
    assert generate(model, prompts(), seed=5, **options) != together
    assert list(stream(model, prompts()[0], seed=4, **options)) == together[0].tokens


def test_samples_follow_the_distribution() -> None:
    """First tokens of many draws against the model's probabilities, with and without a nucleus; chi-square, at a seed that is fixed."""
    model, prompt = build("llama"), prompts()[0]
    with torch.no_grad():
        p = (model(torch.tensor([prompt])).logits[0, -1] / 1.5).softmax(-1)
    order = p.argsort(descending=True)
    nucleus = order[: int((p[order].cumsum(0) < 0.6).sum()) + 1]
    for top_p, kept in ((1.0, order), (0.6, nucleus)):
        drawn = [
            c.tokens[0]
            for c in generate(model, [prompt] * 4000, stop_ids=(), max_new_tokens=1, temperature=1.5, top_p=top_p, batch_size=500)
        ]
        counts = torch.bincount(torch.tensor(drawn), minlength=VOCABULARY).double()
        assert set(drawn) <= set(kept.tolist())
        expected = 4000 * p[kept] / p[kept].sum()
        common = expected > 5
        statistic = ((counts[kept] - expected)[common] ** 2 / expected[common]).sum()
        assert statistic < common.sum() + 4 * (2 * common.sum()) ** 0.5


def test_limits() -> None:
    model = build("llama", torch.float32)
    (answer,) = generate(model, [[3] * 120], stop_ids=(), max_new_tokens=50)
    assert len(answer.tokens) == 8 and answer.finish == "length"  # its context is 128
    with pytest.raises(UserError, match="128 tokens fills the model's context of 128"):
        generate(model, [[3] * 128], stop_ids=(), max_new_tokens=1)
    with pytest.raises(UserError, match="without tokens"):
        generate(model, [[]], stop_ids=(), max_new_tokens=1)
    assert generate(model, [], stop_ids=(), max_new_tokens=1) == []
    assert generate(model, [[3]], stop_ids=(), max_new_tokens=0) == [Completion([], "length")]


def test_generation_leaves_the_model_as_it_was() -> None:
    model = build("llama", torch.float32).train()
    generate(model, prompts(), stop_ids=(), max_new_tokens=2)
    answer = stream(model, [3, 4], stop_ids=(), max_new_tokens=5)
    next(answer)
    answer.close()
    assert all(module.training for module in model.modules())
    with tree_attention(model), pytest.raises(AssertionError, match="leave tree_attention"):
        generate(model, prompts(), stop_ids=(), max_new_tokens=2)


@pytest.mark.skipif(not REAL.exists(), reason="no real weights here")
def test_real_weights_tell_a_story() -> None:
    model = load_model(REAL / "stories260K")
    expected = naive_greedy(model, [1, 403], set(), 40)
    assert generate(model, [[1, 403], [1]], stop_ids=(), max_new_tokens=40)[0] == expected
    assert len(set(expected.tokens)) > 15
