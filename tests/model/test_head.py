import weakref

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from instil.batch.trie import lay_out
from instil.model.attention import tree_attention
from instil.model.head import check_head, chunked_cross_entropy, evaluating, head_of, hidden_states
from instil.model.step import row_loss
from tests.model.tiny import ARCHITECTURES, VOCABULARY, build, step

PAIRS = (np.array([0, 0, 1, 2, 2, 2, 5, 6]), np.array([3, 4, 3, 0, 1, 2, 90, 7]), np.array([1.0, 0.5, 2.0, 1.0, 1.0, 0.25, 1.0, 3.0]))


def naive_cross_entropy(logits_UV: Tensor) -> Tensor:
    rows, targets, weights = (torch.from_numpy(x) for x in PAIRS)
    return (weights.to(logits_UV) * F.cross_entropy(logits_UV[rows], targets, reduction="none")).sum()


def problem(dtype: torch.dtype = torch.float64, bias: bool = True) -> tuple[Tensor, nn.Linear]:
    torch.manual_seed(3)
    return torch.randn(8, 16, dtype=torch.float64).to(dtype).requires_grad_(), nn.Linear(16, VOCABULARY, bias).to(dtype)


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 8, 1000])
def test_chunks_do_not_matter(chunk: int) -> None:
    """Several targets per position, a position without any, a soft cap: loss and all gradients as of full logits."""
    hidden, linear = problem()

    def head(h: Tensor) -> Tensor:
        return 3 * torch.tanh(linear(h) / 3)

    total, correct = chunked_cross_entropy(hidden, head, *PAIRS, chunk)
    expected = naive_cross_entropy(head(hidden))
    assert total.item() == pytest.approx(expected.item(), rel=1e-13)
    assert correct.item() == (head(hidden).argmax(-1)[PAIRS[0]] == torch.from_numpy(PAIRS[1])).sum()
    inputs = [hidden, linear.weight, linear.bias]
    for a, b in zip(torch.autograd.grad(total / 7, inputs), torch.autograd.grad(expected / 7, inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_correct_counts_likeliest_targets() -> None:
    hidden = torch.eye(3)
    head = nn.Linear(3, 3, bias=False)
    head.weight.data = torch.eye(3)
    pairs = np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]), np.ones(4)
    assert chunked_cross_entropy(hidden, head, *pairs, 2)[1].item() == 2


def test_precisions() -> None:
    """bf16 weights and hidden states: the loss in float32, the gradient of the weights accumulated in float32 over many small chunks."""
    hidden, linear = problem(torch.bfloat16, bias=False)
    total, _ = chunked_cross_entropy(hidden, linear, *PAIRS, 1)
    assert total.dtype == torch.float32
    found = torch.autograd.grad(total, [hidden, linear.weight])
    assert [g.dtype for g in found] == [torch.bfloat16] * 2
    exact_hidden, exact_weight = hidden.detach().double().requires_grad_(), linear.weight.detach().double().requires_grad_()
    expected = torch.autograd.grad(naive_cross_entropy(exact_hidden @ exact_weight.T), [exact_hidden, exact_weight])
    for a, b in zip(found, expected, strict=True):
        assert (a.double() - b).norm() < 0.01 * b.norm()


def test_autocast_does_not_reach_the_loss() -> None:
    """The head runs in bf16, log-probabilities and their sum in float32 all the same."""
    hidden, linear = problem(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        total, _ = chunked_cross_entropy(hidden, linear, *PAIRS, 3)
        logits = linear(hidden)
    assert logits.dtype == torch.bfloat16
    assert total.item() == pytest.approx(naive_cross_entropy(logits.double()).item(), rel=1e-6)
    assert torch.autograd.grad(total, linear.weight)[0].dtype == torch.float32


def test_only_what_is_trained_gets_a_gradient() -> None:
    hidden, linear = problem()
    linear.requires_grad_(False)
    total, _ = chunked_cross_entropy(hidden, linear, *PAIRS, 3)
    total.backward()
    assert hidden.grad is not None and linear.weight.grad is None
    linear.weight.requires_grad_(True)
    total, _ = chunked_cross_entropy(hidden.detach(), linear, *PAIRS, 3)
    total.backward()
    assert linear.weight.grad is not None and linear.bias.grad is None


def test_evaluation_computes_no_gradient() -> None:
    hidden, linear = problem()
    with torch.no_grad():
        total, _ = chunked_cross_entropy(hidden, linear, *PAIRS, 3)
    assert not total.requires_grad
    assert total.item() == pytest.approx(naive_cross_entropy(linear(hidden)).item(), rel=1e-13)


def test_backward_runs_once() -> None:
    hidden, linear = problem()
    total, _ = chunked_cross_entropy(hidden, linear, *PAIRS, 3)
    total.backward(retain_graph=True)
    with pytest.raises(AssertionError, match="differentiated once"):
        total.backward()


def test_no_logits_outlive_their_chunk() -> None:
    hidden, linear = problem()
    alive: list[weakref.ref[Tensor]] = []

    def head(h: Tensor) -> Tensor:
        assert len(h) == 1 and not any(logits() is not None for logits in alive)
        logits = linear(h)
        alive.append(weakref.ref(logits))
        return logits

    total, _ = chunked_cross_entropy(hidden, head, *PAIRS, 1)
    assert len(alive) == 8 and not any(logits() is not None for logits in alive)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_decoder_and_head_are_the_model(kind: str) -> None:
    """Whatever a model does after its decoder, without a table of models: `minicpm3` divides before the head, `granite` after it, ..."""
    model = build(kind)
    tokens = torch.arange(3, 20)
    with torch.no_grad():
        expected = model(tokens[None]).logits[0]
        hidden = hidden_states(model, tokens, None, torch.tensor([2, 9, 10, 16]))
        torch.testing.assert_close(head_of(model)(hidden), expected[[2, 9, 10, 16]], rtol=1e-9, atol=1e-9)
    assert check_head(model) == (kind != "modernbert-decoder")
    assert "forward" not in vars(model.base_model) and not model.training


def test_noise_on_the_embeddings_does_not_upset_the_check() -> None:
    model = build("llama")
    model.get_input_embeddings().register_forward_hook(lambda module, inputs, output: output + torch.randn_like(output))
    before = torch.random.get_rng_state()
    assert check_head(model)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_head_without_a_way_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that cannot be split: the same loss and gradients, through its own logits."""
    model, (row,) = build("granite"), lay_out(step(), max_tokens=1000)
    with tree_attention(model):
        expected = row_loss(model, row, tree=True).total
        gradient = torch.autograd.grad(expected, model.get_input_embeddings().weight)[0]
        monkeypatch.setattr("instil.model.head.splits", lambda model: False)
        found = row_loss(model, row, tree=True).total
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
        torch.testing.assert_close(torch.autograd.grad(found, model.get_input_embeddings().weight)[0], gradient, rtol=1e-9, atol=1e-12)


def test_evaluating_restores_every_module() -> None:
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout(), nn.Dropout()))
    model[1][0].eval()
    with evaluating(model):
        assert not any(m.training for m in model.modules())
    assert [m.training for m in model.modules()] == [True, True, True, False, True]
