"""Regional compilation: each decoder block by itself, so that what is fused is found once and used by every layer.

Attention stays outside: it has its own kernels, and what it looks at (a row's tree) is another one in every row. Compiled are the pieces
before and behind it, with symbolic lengths, so that no row is compiled for again.
"""

import os
import shutil
from typing import Any

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import AttentionInterface

from instil.core.errors import UserError
from instil.model.attention import NAME, base_model_of, tree_attention_forward


def check_compiler() -> None:
    """Raises UserError where there is no C++ compiler, which PyTorch's code generator calls, on GPUs as well."""
    wanted = [os.environ["CXX"]] if "CXX" in os.environ else ["g++", "clang++", "cl"]
    if not any(shutil.which(name) for name in wanted):
        raise UserError(f"train.compile: on needs a C++ compiler, and {' or '.join(wanted)} is not here: install one, or set it to off")


def compile_blocks(model: nn.Module, backend: str | Any = "inductor") -> int:
    """Compile the decoder blocks of `model` (peft-wrapped or not) in place, lazily, at their first call. Returns how many there are.

    Where activations are recomputed, the parts of a block are compiled, one by one: what PyTorch runs a second time it runs without its
    compiler, unless it meets something compiled. `backend`: as `torch.compile` takes it. Names of parameters stay as they are. Raises
    UserError for a model without such blocks.
    """
    inner = base_model_of(model)
    blocks = [module for module in inner.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not blocks:
        raise UserError(f"{type(inner).__name__} has no blocks that could be compiled: set train.compile: off")
    AttentionInterface.register(NAME, torch.compiler.disable(tree_attention_forward))
    for block in blocks:
        for part in block.children() if block.gradient_checkpointing else (block,):
            part.compile(backend=backend, dynamic=True)
    return len(blocks)
