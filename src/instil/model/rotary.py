"""Rotary positions (Su et al. 2021) on a CPU in one piece: what model files write as five operations on mixed precisions, rounded to bf16
only at the end, as attention would round it anyway.

Model files call a function of their own module by its name. Inside the block that name stands for a function which does the same in one
node of the graph where autocast to bf16 is on, and calls the module's own everywhere else.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from instil.model.attention import base_model_of

NAME = "apply_rotary_pos_emb"
BLOCK = 2**17
"""Elements worked on at once: half a MiB of float32, three of them at a time."""


@contextlib.contextmanager
def lean_rotary(model: nn.Module) -> Iterator[int]:
    """Inside the block, the model's attention layers turn queries and keys by `_Turn`, where they turn halves as Llama's do. Yields in how
    many model files."""
    files = {type(module).__module__: sys.modules[type(module).__module__] for module in base_model_of(model).modules()}
    found = [file for name, file in files.items() if name.startswith("transformers.") and _turns_halves(getattr(file, NAME, None))]
    own = [getattr(file, NAME) for file in found]
    for file, function in zip(found, own, strict=True):
        setattr(file, NAME, _lean(function))
    try:
        yield len(found)
    finally:
        for file, function in zip(found, own, strict=True):
            setattr(file, NAME, function)


def _lean(own: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., tuple[Tensor, Tensor]]:
    def turn(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, *rest: Any, **more: Any) -> tuple[Tensor, Tensor]:
        lean = q.device.type == "cpu" and q.dtype == k.dtype == torch.bfloat16 and cos.dtype == sin.dtype == torch.float32
        plain = not rest and not more and q.ndim == 4 and cos.shape == (1, q.shape[2], q.shape[3]) and len(q) == 1
        if not lean or not plain or not torch.is_autocast_enabled("cpu"):
            return own(q, k, cos, sin, *rest, **more)
        return _Turn.apply(q, cos[0], sin[0]), _Turn.apply(k, cos[0], sin[0])

    return turn


@torch.no_grad()
def _turns_halves(function: Any) -> bool:
    """Whether the function computes `x * cos + (-second half, first half) * sin`: asked of the function itself."""
    if not callable(function):
        return False
    with torch.random.fork_rng():
        torch.manual_seed(0)
        q, k, cos, sin = torch.randn(1, 3, 5, 8), torch.randn(1, 2, 5, 8), torch.randn(1, 5, 8), torch.randn(1, 5, 8)
    with torch.autocast("cpu", enabled=False):
        try:
            found = function(q, k, cos, sin)
        except (TypeError, RuntimeError, ValueError, IndexError):
            return False
    expected = [x * cos[:, None] + torch.cat([-x[..., 4:], x[..., :4]], -1) * sin[:, None] for x in (q, k)]
    return len(found) == 2 and all(a.shape == b.shape and torch.allclose(a, b, atol=1e-6) for a, b in zip(found, expected, strict=True))


class _Turn(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_1HTD: Tensor, cos_TD: Tensor, sin_TD: Tensor) -> Tensor:
        """bf16 [1, H, T, D], float32 [T, D] -> bf16 [1, H, T, D], a token's heads side by side in memory."""
        ctx.save_for_backward(cos_TD, sin_TD)
        half = sin_TD.shape[1] // 2
        return _turned(x_1HTD, cos_TD, -sin_TD[:, :half], sin_TD[:, half:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_1HTD: Tensor) -> tuple[Tensor, None, None]:
        cos_TD, sin_TD = ctx.saved_tensors
        half = sin_TD.shape[1] // 2
        return _turned(grad_1HTD, cos_TD, sin_TD[:, half:], -sin_TD[:, :half]), None, None


def _turned(x_1HTD: Tensor, cos_TD: Tensor, to_first: Tensor, to_second: Tensor) -> Tensor:
    """`x * cos`, and each half times a factor [T, D / 2] added to the other: of the second to the first, of the first to the second."""
    x_THD = x_1HTD[0].transpose(0, 1)
    length, heads, width = x_THD.shape
    out_THD = torch.empty(length, heads, width, dtype=x_THD.dtype)
    size, half = max(1, BLOCK // (heads * width)), width // 2
    pieces = (tensor.split(size) for tensor in (x_THD, out_THD, cos_TD[:, None], to_first[:, None], to_second[:, None]))
    for x, out, cos, first, second in zip(*pieces, strict=True):
        wide = x.float()
        turned = wide * cos
        turned[..., :half].addcmul_(wide[..., half:], first)
        turned[..., half:].addcmul_(wide[..., :half], second)
        out.copy_(turned)
    return out_THD.transpose(0, 1)[None]
