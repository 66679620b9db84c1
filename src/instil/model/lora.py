"""LoRA's linear layers in one piece: what peft writes as two casts, four products, a scaling and a sum is one node of the graph.

Under autocast peft takes a layer's input to the adapter's float32, and autocast takes it back to bf16 for the product: two passes over
memory per layer, and a copy of the input kept for the backward pass. Here the input is kept once, rounded, as the base layer multiplies it,
and the low-rank part is added where the base layer's product already lies.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.lora.layer import Linear
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from instil.model.norms import replaced_forwards


@contextlib.contextmanager
def lean_lora(model: nn.Module) -> Iterator[int]:
    """Inside the block, plain LoRA layers (one adapter, no dropout, no DoRA) run as `_Lora` under autocast to bf16; in every other case,
    and afterwards, as peft writes them. Yields how many."""
    found = [module for module in model.modules() if type(module) is Linear and _is_plain(module)]
    with replaced_forwards(found, _lean):
        yield len(found)


def _is_plain(layer: Any) -> bool:
    base, (adapter, *others) = layer.base_layer, layer.active_adapters or [None]
    if adapter is None or others or type(base) is not nn.Linear or layer.fan_in_fan_out or layer.merged or adapter in layer.lora_variant:
        return False
    dropout = layer.lora_dropout[adapter]
    frozen = not base.weight.requires_grad and (base.bias is None or not base.bias.requires_grad)
    return frozen and layer.lora_B[adapter].bias is None and (isinstance(dropout, nn.Identity) or dropout.p == 0)


def _lean(layer: Any) -> Callable[..., Tensor]:
    own: Callable[..., Tensor] = layer.forward
    (adapter,) = layer.active_adapters
    base, down, up, scaling = layer.base_layer, layer.lora_A[adapter], layer.lora_B[adapter], float(layer.scaling[adapter])

    def forward(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        device = x.device.type
        rounds = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.bfloat16
        if not rounds or x.dtype == torch.float64 or args or kwargs or layer.disable_adapters or layer.merged:
            return own(x, *args, **kwargs)
        out: Tensor = _Lora.apply(x, base.weight, base.bias, down.weight, up.weight, scaling)
        return out

    return forward


class _Lora(torch.autograd.Function):
    """Letters: T tokens, I input width, O output width, R rank."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_OI: Tensor, bias_O: Tensor | None, down_RI: Tensor, up_OR: Tensor, scaling: float) -> Tensor:
        x_TI = x.reshape(-1, x.shape[-1]).bfloat16()
        low_TR = x_TI @ down_RI.bfloat16().t()
        out_TO = F.linear(x_TI, weight_OI.bfloat16(), None if bias_O is None else bias_O.bfloat16())
        out_TO.addmm_(low_TR, up_OR.bfloat16().t(), alpha=scaling)
        ctx.save_for_backward(x_TI, low_TR, weight_OI, down_RI, up_OR)
        ctx.scaling, ctx.dtype = scaling, x.dtype
        return out_TO.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x_TI, low_TR, weight_OI, down_RI, up_OR = ctx.saved_tensors
        grad_TO = grad.reshape(-1, grad.shape[-1]).bfloat16()
        low_grad_TR = (grad_TO @ up_OR.bfloat16()).mul_(ctx.scaling)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = grad_TO @ weight_OI.bfloat16()
            of_x = of_x.addmm_(low_grad_TR, down_RI.bfloat16()).view(*grad.shape[:-1], -1).to(ctx.dtype)
        of_down_RI = (low_grad_TR.t() @ x_TI).to(down_RI.dtype)
        of_up_OR = (grad_TO.t() @ low_TR).mul_(ctx.scaling).to(up_OR.dtype)
        return of_x, None, None, of_down_RI, of_up_OR, None
