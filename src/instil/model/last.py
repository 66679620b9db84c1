"""The last decoder layer's MLP only where something is predicted: nothing reads what it makes of the other tokens.

The module is given the rows that count, and its output stands among zeros; the model's own code runs unmodified.
"""

import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers.modeling_utils import PreTrainedModel

WORTH = 0.9
"""Largest share of a row's tokens that may be predicted from for this to pay."""
_NARROWS: weakref.WeakKeyDictionary[PreTrainedModel, bool] = weakref.WeakKeyDictionary()


def decoder_output(model: PreTrainedModel, inputs: dict[str, Any], rows_U: Tensor) -> Tensor:
    """The decoder's output [U, D] at the indices `rows_U`, each once, of the one row that `inputs` hold; where that pays, and changes
    nothing, the last layer's MLP runs at these only.

    A last layer that is recomputed in the backward pass would be recomputed whole, so it then runs whole (see `keep_last_layers`); so do
    compiled models, whose last layer would be compiled for every row.
    """
    pays = len(rows_U) <= WORTH * inputs["input_ids"].shape[-1] and not _recomputes(model) and not _is_compiled(model)
    narrow = pays and narrows(model)
    with _narrowed(model, rows_U) if narrow else contextlib.nullcontext():
        out_1TD: Tensor = model.get_decoder()(**inputs)[0]
    return out_1TD.squeeze(0).index_select(0, rows_U)


def narrows(model: PreTrainedModel) -> bool:
    """Whether the last layer is known to give the same at some rows when only these go through its MLP."""
    return _NARROWS.get(model, False)


@torch.no_grad()
def try_narrowing(model: PreTrainedModel, inputs: dict[str, Any], output_1TD: Tensor) -> None:
    """Find that out for `narrows`: `output_1TD` is what the decoder made of `inputs`, the model being in evaluation mode."""
    rows_U = torch.arange(0, output_1TD.shape[1], 3, device=output_1TD.device)
    _NARROWS[model] = False
    if _last_mlp(model) is None:
        return
    with contextlib.suppress(AttributeError, TypeError, RuntimeError, ValueError, IndexError), _narrowed(model, rows_U):
        apart = (model.get_decoder()(**inputs)[0] - output_1TD).index_select(1, rows_U)
        _NARROWS[model] = bool(apart.norm() <= 1e-3 * output_1TD.index_select(1, rows_U).norm())


def _is_compiled(model: PreTrainedModel) -> bool:
    return any(module._compiled_call_impl is not None for module in model.modules())


def _recomputes(model: PreTrainedModel) -> bool:
    return any(getattr(layer, "gradient_checkpointing", False) for layer in _layers(model)[-1:])


def keep_last_layers(model: PreTrainedModel, count: int = 1) -> None:
    """Where activations are recomputed, keep those of the last `count` layers all the same: their turn in the backward pass comes first,
    and they are gone when the first other layer is computed again. So one layer costs nothing: its activations are needed beside all
    that is kept in any case. And a run that recomputes is then the same to the last bit as one that does not."""
    for layer in _layers(model)[-count:]:
        layer.gradient_checkpointing = False


def _layers(model: PreTrainedModel) -> list[Any]:
    layers = getattr(model.get_decoder(), "layers", None)
    return list(layers) if isinstance(layers, nn.ModuleList) else []


def _last_mlp(model: PreTrainedModel) -> nn.Module | None:
    layers = _layers(model)
    mlp = getattr(layers[-1], "mlp", None) if layers else None
    linear = {"gate_proj", "up_proj", "down_proj"}  # no experts: which one a token goes to is decided in other precisions
    return mlp if isinstance(mlp, nn.Module) and linear <= dict(mlp.named_children()).keys() else None


@contextlib.contextmanager
def _narrowed(model: PreTrainedModel, rows_U: Tensor) -> Iterator[None]:
    mlp = _last_mlp(model)
    assert mlp is not None and "forward" not in vars(mlp)
    own: Callable[[Tensor], Tensor] = mlp.forward

    def forward(hidden_1TD: Tensor) -> Tensor:
        return _Spread.apply(own(hidden_1TD.index_select(1, rows_U)), rows_U, hidden_1TD.shape[1])

    mlp.forward = forward
    try:
        yield
    finally:
        del mlp.forward


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, narrow_1UD: Tensor, rows_U: Tensor, length: int) -> Tensor:
        """[1, U, D] -> [1, T, D], zero elsewhere."""
        ctx.save_for_backward(rows_U)
        return narrow_1UD.new_zeros(1, length, narrow_1UD.shape[2]).index_copy_(1, rows_U, narrow_1UD)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_1TD: Tensor) -> tuple[Tensor, None, None]:
        return grad_1TD.index_select(1, ctx.saved_tensors[0]), None, None
