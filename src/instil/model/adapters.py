"""LoRA through peft, in peft's own format."""

import contextlib
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers.modeling_utils import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from instil.core.errors import UserError
from instil.core.recipe import Lora
from instil.model.attention import base_model_of
from instil.model.head import splits
from instil.model.load import add_tokens, embedding_matrices


def add_lora(model: PreTrainedModel, lora: Lora, trained_token_ids: Sequence[int] = (), seed: int = 0) -> PeftModel:
    """Freeze `model` and put adapters on it, in place. Returns peft's wrapper.

    Default targets: every linear layer of the decoder, not the head. `trained_token_ids`: tokens whose embedding rows are trained as well,
    and their output rows where these are others. Raises UserError where the targets match nothing, or cannot be adapted as asked.
    """
    modules, parameters = _targets(model, lora)
    embedding, head = _name_of(model, model.get_input_embeddings()), _name_of(model, model.get_output_embeddings())
    rows = {embedding: sorted(trained_token_ids)} if trained_token_ids else {}
    whole = []
    if rows and model.get_output_embeddings().weight is not model.get_input_embeddings().weight:
        # peft's per-row training forgets a bias, so a head that has one is trained whole.
        if getattr(model.get_output_embeddings(), "bias", None) is not None:
            whole.append(head)
        else:
            rows[head] = rows[embedding]
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]
        lora_dropout=lora.dropout,
        use_rslora=lora.rslora,
        use_dora=lora.dora,
        target_modules=modules,
        target_parameters=parameters or None,
        trainable_token_indices=rows or None,
        modules_to_save=whole or None,
        fan_in_fan_out=any(isinstance(m, Conv1D) for m in model.modules()),
    )
    with torch.random.fork_rng(), without_peft_noise():
        torch.manual_seed(seed)
        wrapped = get_peft_model(model, config)
    assert isinstance(wrapped, PeftModel)
    return wrapped


def round_frozen(model: PeftModel, dtype: torch.dtype) -> int:
    """Keep the frozen linear layers of the decoder in `dtype`. Returns the bytes saved.

    Under autocast to `dtype` their weights are rounded to it before every product anyway: results are the same to the last bit, the weights
    take half the memory, and no row pays for rounding them again. Left alone: norms, embeddings and heads, routers and fused experts, which
    autocast does not round, and all layers of DoRA, which takes norms of the weights as they are.
    """
    if cast(LoraConfig, model.peft_config["default"]).use_dora:
        return 0
    inner = base_model_of(model)
    splits(model)  # asked without autocast, so as long as all weights have one precision
    kept = {id(matrix) for matrix in embedding_matrices(inner)}
    saved = 0
    for name, module in inner.get_decoder().named_modules():
        if type(module) is not nn.Linear or {"gate", "router"} & set(name.split(".")):
            continue
        own = list(module.parameters(recurse=False))
        if not any(p.requires_grad or id(p) in kept or p.dtype != torch.float32 for p in own):
            saved += sum(p.numel() for p in own) * (4 - dtype.itemsize)
            module.to(dtype)
    return saved


@torch.no_grad()
def round_weights(model: nn.Module, dtype: torch.dtype) -> None:
    """Keep every parameter in `dtype`, as `from_pretrained(dtype=...)` would. Buffers stay: rotary frequencies need float32."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)


def save_adapter(model: PeftModel, folder: Path) -> None:
    """What `PeftModel.from_pretrained` reads. Whole embedding matrices stay out: rows that were added are all trained (see `add_tokens`),
    and trained rows are in the adapter."""
    model.save_pretrained(str(folder), save_embedding_layers=False)


def load_adapter(model: PreTrainedModel, folder: Path, *, trainable: bool = False) -> PeftModel:
    """The adapter in `folder` on its base `model`, whose vocabulary grows to what the adapter was trained with."""
    if not (folder / "adapter_config.json").exists():
        raise UserError(f"{folder} holds no adapter_config.json: give the folder of an adapter")
    rows = LoraConfig.from_pretrained(str(folder)).trainable_token_indices or []
    ids = rows if isinstance(rows, list) else [i for some in rows.values() for i in some]
    add_tokens(model, 1 + max(ids, default=-1), ())
    with without_peft_noise():
        loaded = PeftModel.from_pretrained(model, str(folder), is_trainable=trainable)
    assert isinstance(loaded, PeftModel)
    return loaded


def trainable_parameters(model: nn.Module) -> tuple[int, int]:
    """Numbers: (that are trained, of all). Weights in four bits count as what they stand for."""
    parameters = list(model.parameters())
    sizes = [p.quant_state.shape.numel() if hasattr(p, "quant_state") else p.numel() for p in parameters]
    return sum(p.numel() for p in parameters if p.requires_grad), sum(sizes)


def describe_adapters(model: PeftModel) -> str:
    """What is adapted and what is not, in one sentence."""
    config = cast(LoraConfig, model.peft_config["default"])
    names = Counter(_last(name) for name, module in model.named_modules() if isinstance(module, LoraLayer))
    parts = [f"LoRA of rank {config.r} on {sum(names.values())} layers ({', '.join(sorted(names))})"]
    rows = config.trainable_token_indices
    if isinstance(rows, dict):
        parts.append(f"{len(next(iter(rows.values())))} rows of {' and '.join(_last(name) for name in rows)}")
    if config.modules_to_save:
        parts.append(f"all of {' and '.join(map(_last, config.modules_to_save))}")
    fused = _fused_experts(base_model_of(model)) if not config.target_parameters else []
    frozen = f"; {len(fused)} fused expert tensors ({', '.join(sorted({_last(n) for n in fused}))}) stay as they are" if fused else ""
    return f"{', '.join(parts)}{frozen}"


@contextlib.contextmanager
def without_peft_noise() -> Iterator[None]:
    """Without the warnings of peft that nobody can act on."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to")  # a mixture of both kinds of layer is handled layer by layer
        warnings.filterwarnings("ignore", message=r"The following \w+_pattern keys did not match")  # patterns of peft's own, for experts
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")  # peft 0.21 knows no other name yet
        yield


def _targets(model: PreTrainedModel, lora: Lora) -> tuple[list[str], list[str]]:
    """Module names and parameter names for peft, as short as they are unambiguous."""
    linear = {name for name, module in model.named_modules() if _is_linear(module)}
    head, decoder = model.get_output_embeddings(), _name_of(model, model.get_decoder(), full=True)
    wanted = {name for name in linear if name.startswith(f"{decoder}." if decoder else "") and model.get_submodule(name) is not head}
    if lora.targets == "all-linear":
        if not wanted:
            raise UserError(f"{type(model).__name__} has no linear layers to adapt: set method: full, or name modules in lora.targets")
        short, others = {_last(name) for name in wanted}, {_last(name) for name in linear - wanted}
        return sorted(short if not short & others else wanted), []
    modules, parameters = [], []
    fused = _fused_experts(model)
    for target in lora.targets:
        if any(_ends_with(name, target) for name in linear):
            modules.append(target)
        elif any(_ends_with(name, target) for name in fused):
            parameters.append(target)
        else:
            known = sorted({_last(name) for name in wanted} | {".".join(name.split(".")[-2:]) for name in fused})
            raise UserError(
                f"lora.targets: '{target}' matches no module of {type(model).__name__}: choose from {', '.join(known[:12])}, or all-linear"
            )
    if parameters and (lora.dropout or lora.dora):
        raise UserError(
            f"lora.targets: {parameters[0]} is a fused expert tensor, which peft adapts only without dropout and DoRA: turn them off"
        )
    return modules, parameters


def _is_linear(module: nn.Module) -> bool:
    """Not a router that is a linear layer by descent and returns something else (phimoe). One in four bits is."""
    if not isinstance(module, nn.Linear | Conv1D):
        return False
    return type(module).forward in (nn.Linear.forward, Conv1D.forward) or hasattr(module.weight, "quant_state")


def _fused_experts(model: nn.Module) -> list[str]:
    """Mixtures of experts hold the weights of all experts of a layer in one tensor, which is no linear layer."""
    return [name for name, parameter in model.named_parameters() if parameter.ndim == 3 and "experts" in name]


def _name_of(model: nn.Module, module: nn.Module, full: bool = False) -> str:
    """The module's name; its last part, if no other module has that."""
    names = [name for name, _ in model.named_modules()]
    name = next(name for name, found in model.named_modules() if found is module)
    return name if full or sum(_last(other) == _last(name) for other in names) > 1 else _last(name)


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _ends_with(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")
