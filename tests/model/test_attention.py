import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.masking_utils import causal_mask_function, chunked_causal_mask_function, sliding_window_causal_mask_function

from instil.batch.trie import lay_out
from instil.core.errors import UserError
from instil.model.attention import NAME, Sight, attend_nodes, attends_by_tree, read_sight, tree_attention, tree_attention_forward
from instil.model.layout import Layout, Scores, lay_out_path, lay_out_tree
from instil.model.step import row_loss
from tests.model.tiny import ALTERNATING, SMALL, build, step


def naive_mask(layout: Layout, window: int | None) -> Tensor:
    """The rule, token by token."""
    ends, positions = layout.ends_T.tolist(), layout.positions_T.tolist()
    return torch.tensor(
        [
            [k <= q < ends[k] and (window is None or positions[q] - positions[k] < window) for k in range(len(ends))]
            for q in range(len(ends))
        ]
    )


def naive_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scores: Scores) -> Tensor:
    """All scores at once, heads repeated, nothing clever."""
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    logits = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scores.scale is None else scores.scale)
    if scores.softcap is not None:
        logits = scores.softcap * torch.tanh(logits / scores.softcap)
    weights = logits.exp() * mask
    denominator = weights.sum(-1, keepdim=True)
    if scores.sinks is not None:
        denominator = denominator + scores.sinks.exp()[:, None, None]
    return weights / denominator @ value


def draw(length: int, dtype: torch.dtype = torch.float64, value_width: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)

    def normal(heads: int, width: int) -> Tensor:
        return torch.randn(1, heads, length, width, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()

    return normal(4, 8), normal(2, 8), normal(2, value_width)


def layout(seed: int = 0) -> Layout:
    (row,) = lay_out(step(seed), max_tokens=1000)
    return lay_out_tree(row)


SCORES = {
    "plain": Scores(None),
    "scaled": Scores(0.7),
    "softcap": Scores(0.7, softcap=0.5),
    "sinks": Scores(None, sinks=torch.tensor([0.3, -1.0, 2.0, 0.0], dtype=torch.float64)),
}


@pytest.mark.parametrize("window", [None, 1, 2, 7, 20, 1000])
@pytest.mark.parametrize("kind", SCORES)
def test_nodes_against_the_rule(kind: str, window: int | None) -> None:
    tree = layout()
    inputs = draw(tree.num_tokens)
    found = attend_nodes(*inputs, tree, window, SCORES[kind])
    expected = naive_attention(*inputs, naive_mask(tree, window), SCORES[kind])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    upstream = torch.randn_like(found)
    for a, b in zip(torch.autograd.grad(found, inputs, upstream), torch.autograd.grad(expected, inputs, upstream), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("seed", range(20))
def test_random_trees(seed: int) -> None:
    """Deep and bushy trees, drawn at random, against the rule."""
    random = np.random.default_rng(seed)
    paths = step(seed)
    for _ in range(12):  # continue a beginning of a path that is there with something new
        old = paths[random.integers(len(paths))].tokens
        cut = int(random.integers(1, len(old) + 1))
        tokens = np.concatenate([old[:cut], random.integers(3, 9, random.integers(1, 6)).astype(np.uint32)])
        paths.append(dataclasses.replace(paths[0], tokens=tokens, num_context=1))
    (row,) = lay_out(paths, max_tokens=10_000)
    tree, window = lay_out_tree(row), [None, 3, 9][seed % 3]
    inputs = draw(tree.num_tokens)
    expected = naive_attention(*inputs, naive_mask(tree, window), Scores(None))
    torch.testing.assert_close(attend_nodes(*inputs, tree, window, Scores(None)), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("kind", SCORES)
def test_lower_precisions(kind: str, dtype: torch.dtype, tolerance: float) -> None:
    tree = layout()
    inputs = draw(tree.num_tokens, dtype)
    found = attend_nodes(*inputs, tree, 7, SCORES[kind])
    expected = naive_attention(*(x.double() for x in inputs), naive_mask(tree, 7), SCORES[kind])
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), expected, rtol=tolerance, atol=tolerance)


def test_masks_are_made_once_per_shape() -> None:
    tree = layout()
    assert tree.mask(0, None) == (0, None) and tree.mask(0, 1000) == (0, None)
    node = next(n for n, chain in enumerate(tree.chains) if chain)
    assert tree.mask(node, 3)[1] is tree.mask(node, 3)[1]
    assert tree.mask(node, 3)[0] == tree.seen[node] - 2  # of its ancestors, a window of 3 reaches two


@pytest.mark.parametrize("window", [1, 2, 5, 11, 12, 13])
def test_sight_of_sliding_windows(window: int) -> None:
    assert read_sight(12, sliding_window_causal_mask_function(window), torch.device("cpu")) == Sight(window if window < 12 else None)


def test_sight_of_other_masks() -> None:
    def chunked(size: int) -> Callable[..., Any]:
        return chunked_causal_mask_function(size, torch.zeros(1, dtype=torch.long))

    cpu = torch.device("cpu")
    assert read_sight(12, causal_mask_function, cpu) == read_sight(12, chunked(12), cpu) == Sight(None)
    for size in (1, 5, 6, 11):
        if size > 1:
            with pytest.raises(UserError, match="neither causal"):
                read_sight(12, chunked(size), cpu)
    with pytest.raises(UserError, match="neither causal"):
        read_sight(12, lambda batch, head, q, k: q >= 0, cpu)


def test_what_cannot_be_honoured_is_refused() -> None:
    tree = lay_out_path(5)
    inputs, module = draw(5), torch.nn.Linear(1, 1)
    tree_attention_forward(module, *inputs, None, tree=tree, use_cache=False, position_ids=torch.zeros(1, 5), position_bias=None)
    for given in ({"position_bias": torch.zeros(1)}, {"is_causal": False}, {"indices": torch.zeros(1)}):
        with pytest.raises(UserError, match=f"Linear passes {next(iter(given))}"):
            tree_attention_forward(module, *inputs, None, tree=tree, **given)
    with pytest.raises(UserError, match="attention_mask"):
        tree_attention_forward(module, *inputs, torch.zeros(1, 1, 5, 5), tree=tree)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="is not handed the keyword arguments"):
        tree_attention_forward(module, *inputs, None)


def test_dropout_is_honoured() -> None:
    """In training mode weights are dropped, also on the explicit path; in evaluation the same model drops nothing."""
    (row,) = lay_out(step(), max_tokens=1000)
    for kind in ("llama", "gpt_oss"):
        model = build(kind, attention_dropout=0.5)
        with tree_attention(model), torch.no_grad():
            fixed = {row_loss(model, row, tree=True).total.item() for _ in range(2)}
            model.train()
            drawn = {row_loss(model, row, tree=True).total.item() for _ in range(3)}
        assert len(fixed) == 1 and len(drawn) == 3


def test_context_restores_what_was_there() -> None:
    for implementation in ("eager", "sdpa"):
        model = build("llama")
        model.set_attn_implementation(implementation)
        with pytest.raises(RuntimeError, match="inside"), tree_attention(model):
            assert attends_by_tree(model) and model.config._attn_implementation == NAME
            raise RuntimeError("inside")
        assert not attends_by_tree(model) and model.config._attn_implementation == implementation
        model(torch.ones(1, 3, dtype=torch.long))


def test_architecture_without_the_interface() -> None:
    with pytest.raises(UserError, match="BloomForCausalLM does not use"), tree_attention(build("bloom")):
        pass


def test_composite_model() -> None:
    """A text decoder inside a multimodal model: every config switches, and back; loss as one path at a time."""
    vision = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    text = {**SMALL, **ALTERNATING, "model_type": "gemma3_text", "query_pre_attn_scalar": 8}
    config = AutoConfig.for_model("gemma3", text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_index=96)
    model = AutoModelForCausalLM.from_config(config).double().eval()
    paths = step()
    before = {name: m.config._attn_implementation for name, m in model.named_modules() if hasattr(m, "config")}
    with torch.no_grad():
        alone = sum(row_loss(model, row, tree=False).total.item() for row in lay_out(paths, 1000, share=False))
        with tree_attention(model):
            (row,) = lay_out(paths, max_tokens=1000)
            assert row_loss(model, row, tree=True).total.item() == pytest.approx(alone, rel=1e-6)
    assert before == {name: m.config._attn_implementation for name, m in model.named_modules() if hasattr(m, "config")}
