"""Compiled blocks compute what uncompiled ones do, and one compilation serves rows of any length. The backend is dynamo's "eager": what is
traced, where it breaks and when it is traced again are the same as with a code generator, and it takes no compiler."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter
from transformers.modeling_utils import AttentionInterface

from instil.batch.trie import Row, lay_out
from instil.core.errors import UserError
from instil.core.recipe import Lora
from instil.model.adapters import add_lora
from instil.model.attention import NAME, tree_attention, tree_attention_forward
from instil.model.compiled import check_compiler, compile_blocks
from instil.model.step import row_loss
from tests.model.tiny import build, gradients, step

pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
"""Dynamo looks at it while it traces."""


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    yield
    torch._dynamo.reset()
    AttentionInterface.register(NAME, tree_attention_forward)


def rows_of(count: int) -> list[Row]:
    """Rows of other lengths and other trees."""
    return [lay_out([path for seed in range(number + 1) for path in step(seed + number)], 10_000)[0] for number in range(count)]


def losses(model: nn.Module, rows: list[Row]) -> list[tuple[float, dict[str, torch.Tensor]]]:
    model.train()
    with tree_attention(model):
        found = []
        for row in rows:
            torch.manual_seed(0)  # gpt2 has dropout
            loss = row_loss(model, row, tree=True).total
            found.append((loss.item(), gradients(model, loss)))
        return found


@pytest.mark.parametrize("kind", ["llama", "gemma2", "gpt_oss", "qwen3_moe", "gpt2"])
@pytest.mark.parametrize("recompute", [False, True])
def test_the_same_losses_and_gradients(kind: str, recompute: bool) -> None:
    model, rows = build(kind, torch.float32), rows_of(2)
    expected = losses(model, rows)
    if recompute:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    counter = CompileCounter()
    assert compile_blocks(model, counter) == 2
    found = losses(model, rows)
    assert counter.frame_count > 0
    for (loss, gradient), (other, others) in zip(expected, found, strict=True):
        assert other == pytest.approx(loss, rel=1e-6)
        for name in gradient:
            torch.testing.assert_close(others[name], gradient[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("lora", [False, True])
def test_no_row_is_compiled_for_again(lora: bool) -> None:
    base, rows = build("llama", torch.float32), rows_of(5)
    model: nn.Module = add_lora(base, Lora(rank=2)) if lora else base
    assert len({len(row.tokens_T) for row in rows}) == 5
    counter = CompileCounter()
    compile_blocks(model, counter)
    losses(model, rows[:1])
    first = counter.frame_count
    losses(model, rows[1:])
    assert counter.frame_count == first


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    check_compiler()
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match="no-such-compiler"):
        check_compiler()


def test_names_stay() -> None:
    model = build("llama", torch.float32)
    before = list(model.state_dict())
    compile_blocks(model, "eager")
    assert list(model.state_dict()) == before


def test_a_model_without_blocks() -> None:
    class Flat(type(build("llama", torch.float32))):  # type: ignore[misc]
        def modules(self, *_: object) -> Iterator[nn.Module]:
            return iter([self])

    model = build("llama", torch.float32)
    model.__class__ = Flat
    with pytest.raises(UserError, match="train.compile: off"):
        compile_blocks(model)
