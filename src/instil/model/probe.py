"""Before a run: does the real model compute packed examples as it computes them alone? If not, train one example per pass, and say why."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from transformers.modeling_utils import PreTrainedModel

from instil.core.errors import UserError
from instil.core.values import Path
from instil.model.attention import base_model_of, tree_attention
from instil.model.head import evaluating, hidden_states
from instil.model.layout import Backend, Layout, lay_out_tree

LENGTH = 64
"""Tokens of a probe path, if no sliding window asks for more."""
LONGEST = 1536
"""Tokens up to which a probe path is stretched to be longer than a sliding window: a forward pass of three thousand tokens, at most."""

# Largest difference between packed and alone, relative to the size of the hidden states. What rounding alone gives is a tenth of this or
# less; a token that sees a neighbour it should not see changes its hidden state by 0.1 and more.
TOLERANCES = {torch.float64: 1e-7, torch.float32: 1e-3, torch.float16: 1e-2, torch.bfloat16: 5e-2}

# Rotary frequencies that depend on the longest position in the row, so that one example's length would change another's angles.
LENGTH_DEPENDENT_ROPE = ("longrope", "dynamic")


@dataclass(frozen=True)
class Probe:
    """`mode`: "tree" (pack), or "alone" (one example per pass). `sentence` is for the person at the terminal. `difference` and `tolerance`
    are relative to the size of the hidden states, in the last precision compared; None where nothing was computed."""

    mode: Literal["tree", "alone"]
    sentence: str
    difference: float | None = None
    tolerance: float | None = None


@dataclass(frozen=True)
class _Fork:
    """One tree of two paths: node 0 is what they share, nodes 1 and 2 their ends."""

    tokens_T: np.ndarray
    positions_T: np.ndarray
    ends_T: np.ndarray
    nodes_N3: np.ndarray

    def indices(self, branch: int) -> np.ndarray:
        """Where the tokens of the path that ends in node `branch` lie in the row."""
        return np.concatenate([np.arange(*self.nodes_N3[node, :2]) for node in (0, branch)])


def probe(
    model: nn.Module, paths: Sequence[Path], *, longest: int | None = None, require_tree: bool = False, own_precision: bool = True
) -> Probe:
    """Compare two real examples, made to share a prefix, packed into one tree and alone: in the weights' own precision, then, if the caller
    is inside `torch.autocast`, in that of the run.

    paths: real examples, two or more. longest: tokens of the longest example of the run (default: of `paths`). `own_precision`: False where
    the first comparison has been made, before weights were rounded or moved. Raises UserError where `require_tree` (recipe:
    `train.packing: tree`) and the model cannot be packed.
    """
    longest = longest or max(len(path.tokens) for path in paths)
    inner = base_model_of(model)
    reason = _known_reason(inner, longest)
    result = Probe("alone", f"one example per pass: {reason}") if reason else _compare(model, inner, paths, own_precision)
    if require_tree and result.mode == "alone":
        raise UserError(f"train.packing is tree, but {result.sentence.removeprefix('one example per pass: ')}: set train.packing: auto")
    return result


def _known_reason(model: PreTrainedModel, longest: int) -> str | None:
    """Why this architecture cannot be packed, as far as it says so itself."""
    name, config = type(model).__name__, model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if getattr(model, "_is_stateful", False) or kinds & {"linear_attention", "conv", "mamba", "recurrent"}:
        return f"{name} carries a state from token to token, so packed examples would read each other"
    if kinds:
        return f"{name} has layers of a kind that tree attention does not know ({', '.join(sorted(kinds))})"
    if not model._can_set_attn_implementation():
        return f"{name} does not use transformers' attention interface"
    for rope in _ropes(config):
        original = rope.get("original_max_position_embeddings") or config.max_position_embeddings
        if (kind := rope.get("rope_type")) in LENGTH_DEPENDENT_ROPE and longest > original:
            return f"{name} turns positions by the longest example of a row ({kind}), and some are longer than {original:,} tokens"
    return None


def _ropes(config: Any) -> list[dict[str, Any]]:
    """Rotary parameters, of all layers or per kind of layer."""
    ropes = getattr(config, "rope_parameters", None) or {}
    return [ropes] if "rope_type" in ropes else [rope for rope in ropes.values() if isinstance(rope, dict)]


@torch.no_grad()
def _compare(model: nn.Module, inner: PreTrainedModel, paths: Sequence[Path], own_precision: bool) -> Probe:
    name, window = type(inner).__name__, getattr(inner.config.get_text_config(), "sliding_window", None)
    fork = _fork(paths, _length(inner, window))
    run = torch.get_autocast_dtype(inner.device.type) if torch.is_autocast_enabled(inner.device.type) else inner.dtype
    for precision in dict.fromkeys([inner.dtype, run] if own_precision else [run]):
        tolerance = TOLERANCES[precision]
        # The first comparison is of the rule, not of CUDA's kernels, which may not exist for the weights' precision.
        backend: Backend | None = "nodes" if precision != run else None
        with evaluating(inner), torch.autocast(inner.device.type, precision, enabled=precision != inner.dtype):
            found = _difference(model, inner.device, fork, backend)
        if isinstance(found, str):
            return Probe("alone", f"one example per pass: {found}")
        difference = found
        rounding = f"{difference:.1e}, rounding explains {tolerance:.0e}"
        if not difference <= tolerance:  # NaN as well
            return Probe("alone", f"one example per pass: {name} computes packed examples differently ({rounding})", difference, tolerance)
    unseen = window and window >= len(fork.indices(1))
    note = f"; its sliding window of {window:,} tokens is longer than what was compared" if unseen else ""
    return Probe("tree", f"packed examples are computed as alone (difference {rounding}){note}", difference, tolerance)


def _difference(model: nn.Module, device: torch.device, fork: _Fork, backend: Backend | None) -> float | str:
    """Of hidden states packed and alone, relative to their size, of the worse path; or why the packed ones cannot be computed."""
    alone = [_hidden(model, fork.tokens_T[fork.indices(branch)], None, device) for branch in (1, 2)]
    try:
        layout = lay_out_tree(fork, device, backend)
        with tree_attention(model):
            packed = _hidden(model, fork.tokens_T, layout, device)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever third-party model code makes of a row that it was not written for
        return _first_line(error)
    distances = [(packed[fork.indices(branch)] - hidden).norm() / hidden.norm() for branch, hidden in zip((1, 2), alone, strict=True)]
    return float(torch.stack(distances).max())


def _hidden(model: nn.Module, tokens_T: np.ndarray, layout: Layout | None, device: torch.device) -> Tensor:
    return hidden_states(model, torch.from_numpy(tokens_T).to(device), layout, torch.arange(len(tokens_T), device=device)).double()


def _length(model: PreTrainedModel, window: int | None) -> int:
    """Tokens of a probe path: longer than the window where that is affordable, and within the model's positions."""
    wanted = window + LENGTH if window and window + LENGTH <= LONGEST else LENGTH
    return min(wanted, getattr(model.config.get_text_config(), "max_position_embeddings", None) or wanted)


def _fork(paths: Sequence[Path], length: int) -> _Fork:
    """Two paths of `length` real tokens that share their first third: the first example's, and its beginning with the second one's end."""
    first, second = (np.resize(path.tokens[::direction], length).astype(np.int64) for path, direction in ((paths[0], 1), (paths[-1], -1)))
    shared, rest = length // 3, length - length // 3
    bounds = [0, shared, length, length + rest]
    nodes = np.array([[0, shared, -1], [shared, length, 0], [length, length + rest, 0]])
    return _Fork(
        tokens_T=np.concatenate([first, second[shared:]]),
        positions_T=np.concatenate([np.arange(length), np.arange(shared, length)]),
        ends_T=np.repeat([bounds[3], bounds[2], bounds[3]], [shared, rest, rest]),
        nodes_N3=nodes,
    )


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines() or [""]
    return (
        text[0].removesuffix(": set train.packing: alone") if isinstance(error, UserError) else f"{type(error).__name__}: {text[0][:200]}"
    )
