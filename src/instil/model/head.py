"""From tokens to a loss without ever holding all logits: the decoder runs alone, the head in chunks, only where something is predicted.

What a model does after its decoder (the head, its bias, soft-capping, logit scaling, adapters on it) is not looked up in a table: the
model's own `forward` runs with its decoder *bypassed*, that is, replaced for the moment by a function that returns given hidden states.
"""

import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers.modeling_utils import PreTrainedModel

from instil.model.attention import attends_by_tree, base_model_of
from instil.model.last import decoder_output, try_narrowing
from instil.model.layout import Layout, lay_out_path

Head = Callable[[Tensor], Tensor]

LOGITS_PER_CHUNK = {"cpu": 2**24, "cuda": 2**27}
"""Elements of one chunk's logits; up to three copies in float32 live at a time. CPU: the fastest of 2**19 to 2**27 with 16,000 tokens
(1.2 s for 3,000 positions of width 384, one thread; all logits at once: 1.5 s). Each chunk adds one pass over the head's gradient."""
LEAST_CHUNK = 256
"""Positions per chunk at least: with a large vocabulary those passes would cost more than the logits."""


SCORED_AT_ONCE = 64
"""Positions whose probabilities a CPU works out together: 4 MiB with a vocabulary of 16,000. 16 and 32 are as fast, 1,024 six times
slower."""


def hidden_states(model: nn.Module, tokens_T: Tensor, tree: Layout | None, rows_U: Tensor) -> Tensor:
    """The decoder's output [U, D] at the row's indices `rows_U`, each once, for the head that `head_of` returns.

    `tree`: the row's layout, inside `tree_attention(model)`; None: the tokens are one sequence for the model's native attention.
    Where the model cannot be split into decoder and head, these are its logits [U, V] already.
    """
    inner = base_model_of(model)
    inputs = _inputs(tokens_T, tree)
    if splits(model):
        return decoder_output(inner, inputs, rows_U)
    return inner(**inputs, logits_to_keep=rows_U).logits[0]


def _inputs(tokens_T: Tensor, tree: Layout | None) -> dict[str, Any]:
    inputs: dict[str, Any] = {"input_ids": tokens_T[None], "use_cache": False}
    if tree is not None:
        # The mask of ones says that this is no batch of packed sequences, which transformers would read off the positions.
        inputs |= {"position_ids": tree.positions_T[None], "attention_mask": torch.ones_like(tokens_T)[None], "tree": tree}
    return inputs


def head_of(model: nn.Module) -> Head:
    """[U, D] -> [U, V]: everything the model does with its decoder's output. Gradients reach its parameters as well."""
    if not splits(model):
        return lambda logits_UV: logits_UV
    inner = base_model_of(model)

    def head(hidden_UD: Tensor) -> Tensor:
        placeholder_1U = torch.zeros(1, len(hidden_UD), dtype=torch.long, device=hidden_UD.device)
        with _bypassed(inner, hidden_UD[None]):
            return inner(input_ids=placeholder_1U, use_cache=False).logits.squeeze(0)  # an index would fill a gradient of its own

    return head


_SPLITS: weakref.WeakKeyDictionary[PreTrainedModel, bool] = weakref.WeakKeyDictionary()


def splits(model: nn.Module) -> bool:
    """`check_head`, asked once per model."""
    inner = base_model_of(model)
    if inner not in _SPLITS:
        _SPLITS[inner] = check_head(inner)
    return _SPLITS[inner]


@torch.no_grad()
def check_head(model: nn.Module) -> bool:
    """Whether decoder, then head, give the model's own logits, on a few tokens. If not, `hidden_states` returns its logits."""
    inner = base_model_of(model)
    if inner.get_decoder() is inner:
        return False
    tokens_T = torch.arange(1, 9, device=inner.device) % inner.config.get_text_config().vocab_size
    inputs = _inputs(tokens_T, lay_out_path(len(tokens_T), inner.device) if attends_by_tree(inner) else None)
    devices = [] if inner.device.type == "cpu" else [inner.device]
    with evaluating(inner), torch.autocast(inner.device.type, enabled=False), torch.random.fork_rng(devices):
        torch.manual_seed(0)  # a hook may add noise to the embeddings: the same noise, both times
        own_TV = inner(**inputs).logits[0]
        torch.manual_seed(0)
        try:
            hidden_1TD = inner.get_decoder()(**inputs)[0]
            try_narrowing(inner, inputs, hidden_1TD)
            with _bypassed(inner, hidden_1TD):
                ours_TV = inner(input_ids=tokens_T[None], use_cache=False).logits[0]
        except (AttributeError, TypeError, RuntimeError, ValueError):
            return False
    return ours_TV.shape == own_TV.shape and bool((ours_TV - own_TV).norm() <= 1e-3 * own_TV.norm())


class _Output(tuple[Tensor, ...]):
    """What a bypassed decoder returns: the hidden states, first, and nothing else."""

    @property
    def last_hidden_state(self) -> Tensor:
        return self[0]

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)
        return None


@contextlib.contextmanager
def _bypassed(model: PreTrainedModel, hidden_1UD: Tensor) -> Iterator[None]:
    """Both the base model and, inside it, the decoder: whichever `forward` calls (OPT calls the inner one)."""
    modules = {id(module): module for module in (model.base_model, model.get_decoder())}.values()
    for module in modules:
        module.forward = lambda *_, **__: _Output((hidden_1UD,))
    try:
        yield
    finally:
        for module in modules:
            del module.forward


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Every module in evaluation mode, and afterwards as it was: some may be frozen in that mode while others train."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def chunked_cross_entropy(
    hidden_UD: Tensor, head: Head, rows_S: np.ndarray, targets_S: np.ndarray, weights_S: np.ndarray, chunk: int
) -> tuple[Tensor, Tensor]:
    """Sum over pairs of `weight * -log p(target | hidden[row])`, and how many targets are the likeliest token, both 0-d.

    hidden_UD: one vector per predicting position. rows_S: which of them predicts, ascending; a position may have several targets.
    `head`: [u, D] -> [u, V], called once per `chunk` positions. The gradient is computed along the way, chunk by chunk in closed form
    (softmax minus target, as in Wijmans et al. 2024, "Cut Your Losses", without their custom kernels), for the hidden states and for
    every parameter that the head turns out to use; `backward` only scales it, so it can be called once. Log-softmax and sums are in
    float32 at least, gradients of parameters are accumulated in float32 at least.
    """
    assert len(rows_S) == len(targets_S) == len(weights_S) and bool(np.all(np.diff(rows_S) >= 0))
    totals = hidden_UD.new_zeros(2, dtype=torch.promote_types(hidden_UD.dtype, torch.float32))
    wants_gradient = torch.is_grad_enabled()
    hidden_grad_UD = torch.zeros_like(hidden_UD) if wants_gradient and hidden_UD.requires_grad else None
    parameter_grads: dict[Tensor, Tensor] = {}
    for start in range(0, len(hidden_UD), chunk):
        stop = min(start + chunk, len(hidden_UD))
        pairs = slice(*np.searchsorted(rows_S, [start, stop]))
        rows, targets, weights = (torch.from_numpy(x[pairs]).to(hidden_UD.device) for x in (rows_S - start, targets_S, weights_S))
        piece = hidden_UD[start:stop].detach().requires_grad_(hidden_grad_UD is not None)
        with torch.set_grad_enabled(wants_gradient):
            found = _chunk_gradients(piece, head, rows, targets, weights.to(totals.dtype), totals)
        for tensor, grad in found.items():
            if tensor is piece:
                assert hidden_grad_UD is not None
                hidden_grad_UD[start:stop] = grad
            elif tensor in parameter_grads:
                parameter_grads[tensor] += grad
            else:
                parameter_grads[tensor] = grad.to(torch.promote_types(grad.dtype, totals.dtype), copy=True)
    graded = ([(hidden_UD, hidden_grad_UD)] if hidden_grad_UD is not None else []) + list(parameter_grads.items())
    total, correct = totals.unbind()
    if graded:
        total = _Graded.apply(total, [grad for _, grad in graded], *(tensor for tensor, _ in graded))
    return total, correct


def _chunk_gradients(
    piece_UD: Tensor, head: Head, rows_S: Tensor, targets_S: Tensor, weights_S: Tensor, totals: Tensor
) -> dict[Tensor, Tensor]:
    """Add one chunk's loss and correct targets to `totals`; its gradient for everything that its logits depend on.

    A function of its own so that nothing of the size of the logits outlives it.
    """
    logits_UV = head(piece_UD)
    logits_grad_UV = _score(logits_UV.detach(), rows_S, targets_S, weights_S, totals)
    if not logits_UV.requires_grad:
        return {}
    tensors = _leaves(logits_UV)
    return dict(zip(tensors, torch.autograd.grad(logits_UV, tensors, logits_grad_UV.to(logits_UV.dtype)), strict=True))


def _score(logits_UV: Tensor, rows_S: Tensor, targets_S: Tensor, weights_S: Tensor, totals: Tensor) -> Tensor:
    """Add loss and number of correct targets to `totals` [2]; return the loss's gradient with respect to the logits.

    On a CPU a few positions at a time, so that what is computed in float32 stays in the processor's cache: a sixth of the time.
    """
    if logits_UV.device.type != "cpu":
        return _score_block(logits_UV, rows_S, targets_S, weights_S, totals)
    size, grad_UV = SCORED_AT_ONCE, torch.empty_like(logits_UV)
    starts = range(0, len(logits_UV), size)
    bounds = torch.searchsorted(rows_S, torch.tensor([*starts, len(logits_UV)])).tolist()
    for start, first, last in zip(starts, bounds[:-1], bounds[1:], strict=True):
        block = slice(start, start + size)
        grad_UV[block] = _score_block(logits_UV[block], rows_S[first:last] - start, targets_S[first:last], weights_S[first:last], totals)
    return grad_UV


def _score_block(logits_UV: Tensor, rows_S: Tensor, targets_S: Tensor, weights_S: Tensor, totals: Tensor) -> Tensor:
    logits_UV = logits_UV.to(weights_S.dtype)
    most_U, p_UV = logits_UV.amax(-1), logits_UV.softmax(-1)
    log_sum_U = most_U - p_UV.amax(-1).log()  # the likeliest is never too small for a logarithm
    target_S = logits_UV[rows_S, targets_S]
    totals[0] -= (weights_S * (target_S - log_sum_U[rows_S])).sum()  # not `@`, which autocast would round to bf16
    totals[1] += (target_S >= most_U[rows_S]).sum()
    weights_U = weights_S.new_zeros(len(logits_UV)).index_add_(0, rows_S, weights_S)
    return p_UV.mul_(weights_U[:, None]).index_put_((rows_S, targets_S), -weights_S, accumulate=True)


def _leaves(output: Tensor) -> list[Tensor]:
    """Every tensor that requires a gradient and that `output` was computed from; itself, if it was not computed."""
    if output.grad_fn is None:
        return [output]
    found: list[Tensor] = []
    seen: set[object] = {None}
    nodes: list[Any] = [output.grad_fn]
    while nodes:
        node = nodes.pop()
        if node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.append(node.variable)
        nodes += [above for above, _ in node.next_functions]
    return found


class _Graded(torch.autograd.Function):
    """The identity on a loss whose gradients with respect to `tensors` are known already."""

    @staticmethod
    def forward(ctx: Any, total: Tensor, grads: list[Tensor], *tensors: Tensor) -> Tensor:
        ctx.grads = grads
        return total.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        assert ctx.grads is not None, "the loss of a row can be differentiated once"
        grads, ctx.grads = ctx.grads, None
        return None, None, *(grad.mul_(upstream) for grad in grads)
