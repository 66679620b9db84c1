"""Precision, and whether activations must be recomputed in the backward pass."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from instil.core.errors import UserError
from instil.plan.need import LIBRARIES, Way, kept_per_token
from instil.plan.shape import read_shape
from instil.train.limits import left_in_groups

Autocast = Callable[[], contextlib.AbstractContextManager[None]]


def device_of_run() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def choose_precision(wanted: str, device: torch.device) -> torch.dtype:
    """bf16 where the processor or GPU computes in it; float32 elsewhere, or if the recipe says so."""
    fast = torch.cuda.is_bf16_supported() if device.type == "cuda" else torch.cpu._is_avx512_bf16_supported()
    if wanted == "bf16" and device.type == "cuda" and not fast:
        raise UserError("this GPU has no bf16: set train.precision: fp32")
    return torch.bfloat16 if wanted == "bf16" or (wanted == "auto" and fast) else torch.float32


def autocast_for(precision: torch.dtype, device: torch.device) -> Autocast:
    """Context in which forward passes run: bf16 autocast over float32 weights, or nothing."""
    if precision != torch.bfloat16:
        return contextlib.nullcontext
    return lambda: torch.autocast(device.type, dtype=precision)


def free_memory(device: torch.device, root: Path = Path("/")) -> int | None:
    """Bytes that can still be taken, None where nobody says: on a CPU the machine's, or what its control groups leave this process.
    `root`: where `proc` and `sys` lie."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return min((left for left in (_left_in_machine(root), left_in_groups(root)) if left is not None), default=None)


def _left_in_machine(root: Path) -> int | None:
    try:
        with open(root / "proc/meminfo", encoding="ascii") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        with contextlib.suppress(ValueError, OSError, AttributeError):
            return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return None


def memory_of_run(device: torch.device, given: float | None, ranks: int = 1) -> float | None:
    """Bytes that one process of a run may hold, libraries included: `given` GiB, or what is free here, shared by `ranks` processes, and
    what a process holds already."""
    if given is not None:
        return given * 2**30
    free = free_memory(device)
    return None if free is None else free / ranks + LIBRARIES["gpu" if device.type == "cuda" else "cpu"]


def activation_bytes(config: Any, tokens: int, precision: torch.dtype) -> int:
    """Activations of one row kept for the backward pass: as `instil plan` counts them, and roughly for architectures that it does not know
    (per layer and token about 16 hidden and 4 MLP-wide vectors)."""
    with contextlib.suppress(UserError, KeyError, TypeError):
        shape = read_shape(config.to_dict())
        return int(tokens * shape.layers * kept_per_token(shape, Way(precision="bf16" if precision == torch.bfloat16 else "fp32")))
    config = config.get_text_config()
    hidden = getattr(config, "hidden_size", 1024)
    wide = getattr(config, "intermediate_size", None) or 4 * hidden
    layers = getattr(config, "num_hidden_layers", 24)
    return layers * tokens * (16 * hidden + 4 * wide) * (2 if precision == torch.bfloat16 else 4)


def should_checkpoint(wanted: str, config: Any, tokens: int, precision: torch.dtype, device: torch.device, trainable: int) -> bool:
    """`auto`: recompute only if activations, gradients and optimizer states (12 bytes a trainable weight) exceed 80 % of what is free."""
    if wanted != "auto":
        return wanted == "on"
    free = free_memory(device)
    return free is not None and activation_bytes(config, tokens, precision) + 12 * trainable > 0.8 * free


def may_keep_freed_memory(config: Any, tokens: int, precision: torch.dtype, device: torch.device, trainable: int) -> bool:
    """Whether there is room for `train.heap`: memory that is kept fragments, and a process then holds up to twice what it needs (measured:
    1.3 to 1.9 times, `benchmarks/LOG.md`)."""
    free = free_memory(torch.device("cpu"))
    if device.type != "cpu" or free is None:
        return True
    return 2 * (activation_bytes(config, tokens, precision) + 12 * trainable) < free
