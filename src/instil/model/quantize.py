"""QLoRA (Dettmers et al. 2023): the frozen base in four bits (NF4, its scales quantized again), adapters on it in float32.

The codes and their kernels are bitsandbytes' (extra `qlora`); it has them for CPUs, too.
"""

import torch
from torch import nn
from transformers.modeling_utils import PreTrainedModel

from instil.core.errors import UserError

BLOCK = 64
"""Weights that share a scale. Matrices whose rows are no multiple of it are left alone: on a CPU bitsandbytes 0.50 rounds them by 21 %, and
others by 9 %."""


def quantize_linear(model: PreTrainedModel, dtype: torch.dtype, device: torch.device) -> int:
    """Replace the decoder's linear layers (not the head) by ones in NF4 on `device`, one at a time. Returns how many.

    They multiply in `dtype`: each product rounds the unpacked weights to it. Biases stay as they are. Raises UserError without
    bitsandbytes, or where there is nothing to quantize.
    """
    try:
        from bitsandbytes.nn.modules import Linear4bit, Params4bit
    except ImportError:
        raise UserError("method: qlora needs bitsandbytes: pip install 'instil[qlora]', or set method: lora") from None
    decoder, head = model.get_decoder(), model.get_output_embeddings()
    found = [(name, module) for name, module in decoder.named_modules() if type(module) is nn.Linear and module is not head]
    found = [(name, module) for name, module in found if module.in_features % BLOCK == 0 and not {"gate", "router"} & set(name.split("."))]
    if not found:
        raise UserError(f"{type(model).__name__} has no linear layers that could be quantized: set method: lora")
    for name, module in found:
        new = Linear4bit(
            module.in_features,
            module.out_features,
            module.bias is not None,
            dtype,
            compress_statistics=True,
            quant_type="nf4",
            device="meta",
        )
        new.weight = Params4bit(module.weight.data.to(dtype), requires_grad=False, compress_statistics=True, quant_type="nf4", module=new)
        new.support_avx512bf16_for_cpu = False  # it would pack the weights when first evaluated, and backward passes then read them wrong
        if module.bias is not None:
            new.bias = module.bias
        parent, _, last = name.rpartition(".")
        setattr(decoder.get_submodule(parent), last, new.to(device))
    setattr(model, "is_loaded_in_4bit", True)  # noqa: B010  peft then wraps these layers, and not their bytes
    return len(found)
