"""The last decoder layer's MLP, and the norm behind it, only where something is predicted: nothing reads what they make of other tokens.

The MLP is given the rows that count, and its output stands among zeros; the norm is given these rows, too, and the decoder's output are
they. The model's own code runs unmodified.
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
    nothing, the last layer's MLP and the norm behind it run at these only.

    A last layer that is recomputed in the backward pass would be recomputed whole, so it then runs whole (see `keep_last_layers`); so do
    compiled models, whose last layer would be compiled for every row.
    """
    pays = len(rows_U) <= WORTH * inputs["input_ids"].shape[-1] and not _recomputes(model) and not _is_compiled(model)
    if not pays or not narrows(model):
        out_1TD: Tensor = model.get_decoder()(**inputs)[0]
        return out_1TD.squeeze(0).index_select(0, rows_U)
    with _narrowed(model, rows_U):
        out_1UD: Tensor = model.get_decoder()(**inputs)[0]
    return out_1UD.squeeze(0)


def narrows(model: PreTrainedModel) -> bool:
    """Whether the decoder is known to give the same at some rows when only these go through the last MLP and norm."""
    return _NARROWS.get(model, False)


@torch.no_grad()
def try_narrowing(model: PreTrainedModel, inputs: dict[str, Any], output_1TD: Tensor) -> None:
    """Find that out for `narrows`: `output_1TD` is what the decoder made of `inputs`, the model being in evaluation mode."""
    rows_U = torch.arange(0, output_1TD.shape[1], 3, device=output_1TD.device)
    expected_1UD = output_1TD.index_select(1, rows_U)
    _NARROWS[model] = False
    if _last_mlp(model) is None or _last_norm(model) is None:
        return
    with contextlib.suppress(AttributeError, TypeError, RuntimeError, ValueError, IndexError), _narrowed(model, rows_U):
        found = model.get_decoder()(**inputs)[0]
        _NARROWS[model] = found.shape == expected_1UD.shape and bool((found - expected_1UD).norm() <= 1e-3 * expected_1UD.norm())


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


def _last_norm(model: PreTrainedModel) -> nn.Module | None:
    norm = getattr(model.get_decoder(), "norm", None)
    return norm if isinstance(norm, nn.Module) else None


@contextlib.contextmanager
def _narrowed(model: PreTrainedModel, rows_U: Tensor) -> Iterator[None]:
    mlp, norm = _last_mlp(model), _last_norm(model)
    assert mlp is not None and norm is not None
    of_mlp: Callable[[Tensor], Tensor] = mlp.forward
    of_norm: Callable[[Tensor], Tensor] = norm.forward

    def spread(hidden_1TD: Tensor) -> Tensor:
        return _Spread.apply(of_mlp(hidden_1TD.index_select(1, rows_U)), rows_U, hidden_1TD.shape[1])

    def narrow(hidden_1TD: Tensor) -> Tensor:
        return of_norm(hidden_1TD.index_select(1, rows_U))

    with _forward(mlp, spread), _forward(norm, narrow):
        yield


@contextlib.contextmanager
def _forward(module: nn.Module, forward: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Inside the block, the module's; afterwards what it was, be that its class's or its own (see `norms.lean_norms`)."""
    before = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if before is not None:
            module.forward = before


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
