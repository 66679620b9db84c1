"""RMSNorm on a CPU in one piece, where a mixed-precision model spends a tenth of a step on a dozen passes over memory.

What transformers writes as ten operations on whole tensors, with a cast to bf16 before every linear layer behind it and back, is one
node of the graph here: block by block within the processor's cache, float32 inside. Where the output meets nothing but linear layers, it is
bf16, since autocast would have rounded it there anyway: the layers compute with the very same numbers. The norm behind the last layer gives
float32, as models may do something to its output before the head.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from instil.model.attention import base_model_of

BLOCK = 2**18
"""Elements worked on at once: 1 MiB of float32."""


@contextlib.contextmanager
def lean_norms(model: nn.Module) -> Iterator[int]:
    """Inside the block, norms in front of linear layers and behind the last layer run as `_Norm` where autocast to bf16 is on and the input
    is float32 on a CPU; in every other case, and afterwards, as before. Yields how many."""
    last = getattr(base_model_of(model).get_decoder(), "norm", None)
    wanted = {norm: torch.bfloat16 for norm in _in_front_of_linear_layers(model)}
    wanted |= {last: torch.float32} if isinstance(last, nn.Module) and last not in wanted else {}
    dtypes = {norm: dtype for norm, dtype in wanted.items() if _is_plain(norm)}
    with replaced_forwards(list(dtypes), lambda norm: _lean(norm, dtypes[norm])):
        yield len(dtypes)


@contextlib.contextmanager
def replaced_forwards(modules: Sequence[Any], make: Callable[[Any], Callable[..., Tensor]]) -> Iterator[None]:
    """Inside the block every module's `forward` is `make(module)`; afterwards its own again."""
    for module in modules:
        module.forward = make(module)
    try:
        yield
    finally:
        for module in modules:
            del module.forward


def _lean(norm: nn.Module, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    own: Callable[[Tensor], Tensor] = norm.forward

    def forward(hidden: Tensor) -> Tensor:
        lean = hidden.device.type == "cpu" and hidden.dtype == torch.float32 and torch.is_autocast_enabled("cpu")
        if not lean or torch.get_autocast_dtype("cpu") != torch.bfloat16:
            return own(hidden)
        return _Norm.apply(hidden, norm.weight, _epsilon(norm), dtype)

    return forward


def _in_front_of_linear_layers(model: nn.Module) -> list[nn.Module]:
    """The norms of decoder layers built as Llama's: one before the attention's projections, one before an MLP of linear layers."""
    norms = []
    for layer in base_model_of(model).modules():
        parts = dict(layer.named_children())
        if not {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"} <= parts.keys():
            continue
        if {"q_proj", "k_proj", "v_proj"} <= dict(parts["self_attn"].named_children()).keys():
            norms.append(parts["input_layernorm"])
        if {"gate_proj", "up_proj", "down_proj"} <= dict(parts["mlp"].named_children()).keys():
            norms.append(parts["post_attention_layernorm"])
    return norms


def _epsilon(norm: nn.Module) -> float | None:
    found = getattr(norm, "variance_epsilon", getattr(norm, "eps", None))
    return found if isinstance(found, float) else None


@torch.no_grad()
def _is_plain(norm: nn.Module) -> bool:
    """Whether it is `weight * x / sqrt(mean(x^2) + epsilon)` and nothing else: asked of the module itself."""
    weight, epsilon = getattr(norm, "weight", None), _epsilon(norm)
    if not isinstance(weight, Tensor) or epsilon is None or weight.dtype != torch.float32 or weight.device.type != "cpu":
        return False
    with torch.random.fork_rng():
        torch.manual_seed(0)
        some = torch.randn(3, len(weight)) * torch.tensor([[1e-3], [1.0], [30.0]])
    with torch.autocast("cpu", enabled=False):
        return torch.allclose(norm(some), weight * some * (some.square().mean(-1, keepdim=True) + epsilon).rsqrt(), rtol=1e-5, atol=1e-6)


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight_D: Tensor, epsilon: float, dtype: torch.dtype) -> Tensor:
        """float32 [..., D] -> [..., D] of that type"""
        hidden_TD = hidden.reshape(-1, hidden.shape[-1])
        out_TD = torch.empty_like(hidden_TD, dtype=dtype)
        scale_T = torch.empty_like(hidden_TD[:, 0])
        for x, out, scale in _blocks(hidden_TD, out_TD, scale_T):
            torch.rsqrt(torch.linalg.vector_norm(x, dim=-1).square_().div_(x.shape[-1]).add_(epsilon), out=scale)
            out.copy_((x * scale[:, None]).mul_(weight_D))
        ctx.save_for_backward(hidden_TD, weight_D, scale_T)
        return out_TD.view(hidden.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        hidden_TD, weight_D, scale_T = ctx.saved_tensors
        grad_TD = grad.reshape(hidden_TD.shape)
        of_hidden_TD, of_weight_D = torch.empty_like(hidden_TD), torch.zeros_like(weight_D)
        with torch.autocast("cpu", enabled=False):
            for x, g, out, scale in _blocks(hidden_TD, grad_TD, of_hidden_TD, scale_T):
                out.copy_(g)
                product = out * x
                of_weight_D.addmv_(product.t(), scale)
                along = (product @ weight_D).mul_(scale).mul_(scale).mul_(scale).div_(-x.shape[-1])
                out.mul_(weight_D).mul_(scale[:, None]).addcmul_(x, along[:, None])
        return of_hidden_TD.view(grad.shape), of_weight_D, None, None


def _blocks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Rows in blocks that fit the cache."""
    size = max(1, BLOCK // tensors[0].shape[1])
    return zip(*(tensor.split(size) for tensor in tensors), strict=True)
