"""tree == alone: loss and gradients of a step, against one path at a time with eager attention and all logits, in float64."""

import dataclasses

import numpy as np
import pytest
import torch

from instil.batch.trie import lay_out
from instil.core.values import Path
from instil.model.attention import tree_attention
from instil.model.layout import Layout, lay_out_tree
from instil.model.step import path_log_likelihoods, row_loss
from tests.model.tiny import ARCHITECTURES, WINDOW, Float64, build, gradients, naive_loss, step


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_tree_equals_alone(kind: str) -> None:
    model, paths = build(kind), step()
    assert min(len(path.tokens) for path in paths) > WINDOW
    with Float64():
        expected = naive_loss(model, paths)
        expected_gradients = gradients(model, expected)
        (row,) = lay_out(paths, max_tokens=1000)
        with tree_attention(model):
            loss = row_loss(model, row, tree=True)
            found = gradients(model, loss.total)
    assert len(row.tokens_T) < 0.6 * sum(len(path.tokens) for path in paths)
    assert loss.weight == sum(path.weight * path.num_completion for path in paths)
    assert loss.total.item() == pytest.approx(expected.item(), rel=1e-12)
    for name, gradient in expected_gradients.items():
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}")
    # A gradient of zero would agree with anything. (Not biases: a key's changes nothing, since softmax does not see constants.)
    zero = [name for name, gradient in found.items() if "bias" not in name and not gradient.any()]
    assert not zero or (
        kind == "phimoe" and zero == ["model.layers.1.mlp.router.weight"]
    )  # its router chooses, and weighs only in training


def test_rows_do_not_matter() -> None:
    """One row, many rows, one path per row with native attention: the same loss and gradients."""
    model, paths = build("qwen3"), step()
    results = []
    for max_tokens, share in ((1000, True), (45, True), (45, False)):
        rows = lay_out(paths, max_tokens, share=share)
        with Float64():
            if share:
                with tree_attention(model):
                    losses = [row_loss(model, row, tree=True) for row in rows]
            else:
                losses = [row_loss(model, row, tree=False) for row in rows]
            metrics = [sum(loss.metrics[name] for loss in losses) for name in ("supervised", "correct")]
            total = sum((loss.total for loss in losses), torch.zeros((), dtype=torch.float64))
            results.append((len(rows), total.item(), gradients(model, total), metrics))
    assert [r[0] for r in results] == [1, 3, 8]
    for _, total, found, _ in results[1:]:
        assert total == pytest.approx(results[0][1], rel=1e-12)
        for name, gradient in results[0][2].items():
            torch.testing.assert_close(found[name], gradient, rtol=0, atol=1e-10)
    assert results[2][3][0] == sum(p.num_completion for p in paths)


def test_token_accuracy_is_the_share_of_likeliest_targets() -> None:
    model, (path, *_) = build("llama"), step()
    with torch.no_grad():
        likeliest = model(torch.from_numpy(path.tokens.astype(np.int64))[None]).logits[0].argmax(-1)
    answers = torch.from_numpy(path.tokens.astype(np.int64)).clone()
    answers[path.num_context] = likeliest[
        path.num_context - 1
    ]  # the first token is right; what follows then differs, and is predicted anew
    changed = Path(answers.numpy().astype(np.uint32), path.num_context)
    with torch.no_grad():
        again = model(answers[None]).logits[0].argmax(-1)
        metrics = row_loss(model, lay_out([changed], 100)[0], tree=False).metrics
    assert metrics["supervised"] == path.num_completion
    assert metrics["correct"] == (again[path.num_context - 1 : -1] == answers[path.num_context :]).sum() >= 1


@pytest.mark.parametrize("breakage", ["sees a sibling", "position", "window"])
def test_a_broken_tree_is_noticed(breakage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison above can fail: what must not be seen, where a token stands, and where a window ends all change the loss."""
    model, paths = build("mistral"), step()
    (row,) = lay_out(paths, max_tokens=1000)

    def broken(*arguments: object) -> Layout:
        layout = lay_out_tree(*arguments)  # type: ignore[arg-type]
        if breakage == "position":
            return dataclasses.replace(layout, positions_T=torch.arange(layout.num_tokens))
        if breakage == "window":
            monkeypatch.setattr(Layout, "mask", lambda self, node, window, mask=Layout.mask: mask(self, node, window and window + 1))
            return layout
        siblings = [node for node, chain in enumerate(layout.chains) if chain == (0,)]
        first, second = siblings[0], siblings[-1]
        chains = [(*chain, first) if node == second else chain for node, chain in enumerate(layout.chains)]
        seen = [s + layout.lengths[first] * (node == second) for node, s in enumerate(layout.seen)]
        return dataclasses.replace(layout, chains=tuple(chains), seen=tuple(seen))

    with tree_attention(model), torch.no_grad():
        right = row_loss(model, row, tree=True).total.item()
        monkeypatch.setattr("instil.model.step.lay_out_tree", broken)
        wrong = row_loss(model, row, tree=True).total.item()
    assert abs(wrong - right) > 1e-3 * right


@pytest.mark.parametrize("kind", ["qwen3", "gemma2", "gpt_oss"])
def test_bf16_autocast(kind: str) -> None:
    """Under autocast the tree's loss and gradients are those of float32 up to bf16's rounding, and no more than that away from alone."""
    model, paths = build(kind, torch.float32), step()
    expected = naive_loss(model, paths)
    expected_gradients = gradients(model, expected)
    (row,) = lay_out(paths, max_tokens=1000)
    with tree_attention(model):
        with torch.autocast("cpu", torch.bfloat16):
            total = row_loss(model, row, tree=True).total
        assert total.dtype == torch.float32
        found = gradients(model, total)
    assert total.item() == pytest.approx(expected.item(), rel=0.02)
    for name, gradient in expected_gradients.items():
        assert found[name].dtype == torch.float32
        if gradient.norm() > 1e-3:
            assert torch.cosine_similarity(found[name].flatten(), gradient.flatten(), 0) > 0.9, name


def test_gradient_checkpointing_changes_nothing() -> None:
    model, (row,) = build("mistral"), lay_out(step(), max_tokens=1000)
    with tree_attention(model):
        plain = gradients(model, row_loss(model, row, tree=True).total)
        model.train()
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        recomputed = gradients(model, row_loss(model, row, tree=True).total)
    for name, gradient in plain.items():
        torch.testing.assert_close(recomputed[name], gradient, rtol=0, atol=1e-12)


def test_path_log_likelihoods() -> None:
    model, paths = build("llama"), step()
    found = path_log_likelihoods(model, paths)
    for path, log_likelihood in zip(paths, found, strict=True):
        with torch.no_grad():
            expected = naive_loss(model, [dataclasses.replace(path, weight=1.0)]).item()
        assert log_likelihood == pytest.approx(-expected, rel=1e-5)


def test_only_a_single_path_can_do_without_a_tree() -> None:
    (row,) = lay_out(step(), max_tokens=1000)
    with pytest.raises(AssertionError, match="single path"):
        row_loss(build("llama"), row, tree=False)
