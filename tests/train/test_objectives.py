"""What a step's loss is an average of, and NEFTune's noise."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from instil.batch.trie import Row, lay_out
from instil.core.recipe import Lora
from instil.core.values import Path
from instil.model.adapters import add_lora
from instil.model.attention import tree_attention
from instil.train.objectives import Loss, mean_length, supervised, with_embedding_noise
from tests.model.tiny import VOCABULARY, Float64, build
from tests.train.small import ONE_ROW, model_and_optimizer, run


def example(length: int, context: int, seed: int, weight: float = 1.0) -> Path:
    return Path(np.random.default_rng(seed).integers(3, VOCABULARY, length).astype(np.uint32), context, weight)


# Completions of 2, 9 and 5 tokens, so that the two averages differ; the last counts double.
PATHS = [example(6, 4, 0), example(15, 6, 1), example(11, 6, 2, weight=2.0)]


def losses_by_hand() -> list[list[float]]:
    """-log p of every completion token of every path, from full logits in plain forward passes."""
    model = build("llama")
    found = []
    for path in PATHS:
        tokens = path.tokens.astype(np.int64)
        with Float64(), torch.no_grad():
            logits = model(torch.from_numpy(tokens)[None]).logits[0].numpy()
        log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        found.append([-log_p[at - 1, tokens[at]] for at in range(path.num_context, len(tokens))])
    return found


@pytest.mark.parametrize("average", ["token", "example"])
def test_mean_over_tokens_or_examples(average: str) -> None:
    by_hand = losses_by_hand()
    if average == "token":
        weights = [path.weight for path, losses in zip(PATHS, by_hand, strict=True) for _ in losses]
        expected = np.average([loss for losses in by_hand for loss in losses], weights=weights)
    else:
        expected = np.average([np.mean(losses) for losses in by_hand], weights=[path.weight for path in PATHS])
    for max_tokens in (ONE_ROW, 20):
        model, optimizer = model_and_optimizer()
        with Float64():
            record = run(model, optimizer, steps=1, rows_at=lambda number, most=max_tokens: lay_out(PATHS, most, average)).steps[0]
        assert record["loss"] == pytest.approx(expected, abs=1e-12)
        assert record["supervised"] == 2 + 9 + 5


def test_the_two_averages_differ() -> None:
    by_hand = losses_by_hand()
    assert abs(np.mean(np.concatenate(by_hand)) - np.mean([np.mean(losses) for losses in by_hand])) > 0.01


def embedded(model: torch.nn.Module, call: Callable[[], object]) -> torch.Tensor:
    """What the model's layers get from its embedding during `call`, [1, T, D]."""
    seen: list[torch.Tensor] = []
    handle = model.get_decoder().layers[0].register_forward_pre_hook(lambda module, args: seen.append(args[0].detach().clone()))
    with tree_attention(model), torch.no_grad():
        call()
    handle.remove()
    return seen[-1]


ROW = lay_out(PATHS, ONE_ROW)[0]


def noise_of(alpha: float, seed: int, row: Row = ROW) -> torch.Tensor:
    model = build("llama")
    quiet, noisy = supervised(tree=True), with_embedding_noise(supervised(tree=True), alpha)
    torch.manual_seed(seed)
    return embedded(model, lambda: noisy(model, row)) - embedded(model, lambda: quiet(model, row))


def test_noise_is_uniform_of_the_published_scale() -> None:
    """Jain et al. 2023: entries of U(-1, 1), times alpha / sqrt(length x width)."""
    alpha, length, width = 5.0, (6 + 15 + 11) / 3, 32
    noise = noise_of(alpha, seed=0) / (alpha / math.sqrt(length * width))
    assert float(noise.abs().max()) <= 1 + 1e-9
    assert float(noise.abs().max()) > 0.99
    assert float(noise.std()) == pytest.approx(1 / math.sqrt(3), rel=0.05)
    assert float(noise.mean()) == pytest.approx(0, abs=0.06)


def test_noise_is_seeded() -> None:
    assert torch.equal(noise_of(5.0, seed=1), noise_of(5.0, seed=1))
    assert not torch.equal(noise_of(5.0, seed=1), noise_of(5.0, seed=2))


def test_noise_of_zero_is_off() -> None:
    assert not noise_of(0.0, seed=0).any()


def test_noise_changes_the_loss_and_ends_with_the_call() -> None:
    model = build("llama")
    quiet = supervised(tree=True)

    def fails(model: torch.nn.Module, row: Row) -> Loss:
        raise ZeroDivisionError

    with tree_attention(model):
        before = float(quiet(model, ROW).total.detach())
        assert float(with_embedding_noise(quiet, 5.0)(model, ROW).total.detach()) != before
        with pytest.raises(ZeroDivisionError):
            with_embedding_noise(fails, 5.0)(model, ROW)
        assert float(quiet(model, ROW).total.detach()) == before


@pytest.mark.parametrize("taught", [(), (5, 6)])
def test_noise_under_lora(taught: tuple[int, ...]) -> None:
    """peft wraps the model and, where rows of it are trained, the embedding: the noise is the same."""
    wrapped = add_lora(build("llama"), Lora(rank=2), taught)
    inner = wrapped.get_base_model()
    quiet, noisy = supervised(tree=True), with_embedding_noise(supervised(tree=True), 5.0)
    torch.manual_seed(0)
    noise = embedded(inner, lambda: noisy(wrapped, ROW)) - embedded(inner, lambda: quiet(wrapped, ROW))
    assert torch.allclose(noise, noise_of(5.0, seed=0), atol=1e-9)


def test_noise_reaches_the_gradient() -> None:
    """A training run with noise differs from one without, and repeats itself."""
    found = []
    for alpha in (5.0, 5.0, 0.0):
        model, optimizer = model_and_optimizer()
        found.append(run(model, optimizer, objective=with_embedding_noise(supervised(tree=True), alpha)).steps)
    assert found[0] == found[1]
    assert found[0][-1]["loss"] != found[2][-1]["loss"]


def test_mean_length() -> None:
    assert mean_length(ROW) == (6 + 15 + 11) / 3
    shared = np.arange(10, 20, dtype=np.uint32)
    branches = [Path(np.concatenate([shared, np.full(n, 3 + n, np.uint32)]), 10) for n in (2, 5, 8)]
    assert mean_length(lay_out(branches, ONE_ROW)[0]) == (12 + 15 + 18) / 3
    continued = Path(np.concatenate([branches[0].tokens, shared]), 14)
    assert mean_length(lay_out([*branches, continued], ONE_ROW)[0]) == (22 + 15 + 18) / 3, "a turn that another continues is part of it"
