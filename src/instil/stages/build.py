"""The model of a run: loaded, grown by new tokens, adapted, probed; and saved as what will be served."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from peft import PeftModel
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import logging as transformers_logging

from instil.core.files import atomic_folder, hash_text, write_json
from instil.core.recipe import Recipe
from instil.model.adapters import add_lora, describe_adapters, round_frozen, round_weights, save_adapter, trainable_parameters
from instil.model.compiled import check_compiler, compile_blocks
from instil.model.last import keep_last_layers
from instil.model.load import add_tokens, load_model, untrained_tokens
from instil.model.lora import lean_lora
from instil.model.norms import lean_norms
from instil.model.probe import Probe, probe
from instil.model.quantize import quantize_linear
from instil.model.resolve import located
from instil.model.rotary import lean_rotary
from instil.model.shard import Root, release, shard_model
from instil.plan.need import recomputed_layers
from instil.stages.fit import Fit
from instil.stages.prepare import Data
from instil.stages.say import Teller
from instil.template.saved import save_contract
from instil.train.checkpoint import plain_disk_errors
from instil.train.display import short
from instil.train.distributed import World, in_turn, mesh_of
from instil.train.memory import Autocast, autocast_for, choose_precision, device_of_run, may_keep_freed_memory, should_checkpoint
from instil.train.rounding import dither


@dataclass(frozen=True)
class Built:
    """A model ready for the loop, and what was found out about it. `base`: `fingerprint_weights` of the base model. `roomy`: memory that is
    freed may stay with the process. `root`: what computes with weights that are divided among ranks. `recompute`: activations are
    computed again. `fit`: what the plan says, if it knows the model."""

    model: torch.nn.Module
    base: str
    probe: Probe
    precision: torch.dtype
    autocast: Autocast
    trainable: int
    parameters: int
    roomy: bool
    sentence: str
    root: Root | None = None
    recompute: bool = False
    fit: Fit | None = None


def build_model(recipe: Recipe, data: Data, tell: Teller, world: World = World(), fit: Fit | None = None) -> Built:  # noqa: B008  frozen
    """Load the base model and make of it what the recipe's method trains. Every rank builds the same one, and keeps its share of it where
    weights are divided."""
    device = device_of_run()
    precision = choose_precision(recipe.train.computed_in, device)
    autocast = autocast_for(precision, device)
    torch.manual_seed(recipe.seed)
    mesh = mesh_of(world, device) if world.shards else None
    # Ranks that keep a share only load one after another: a machine has seldom room for as many whole models as it has GPUs.
    with in_turn(world) if world.shards else contextlib.nullcontext():
        base = load_model(recipe.model, trust_remote_code=recipe.trust_remote_code)
        weights = fingerprint_weights(base)
        taught = prepare_tokens(base, data, recipe.seed, tell)
        found = _probe(recipe, base, data)
        model, method = adapt(base, recipe, taught, precision, device)
        trainable, parameters = trainable_parameters(model)
        share = trainable // (world.shards or 1)
        recompute = _recomputes(recipe, data, base, precision, device, share, fit)
        ready_blocks(base, recompute, recipe, tell, fit.way.kept_layers if fit else 1)
        root = shard_model(model, mesh, precision if precision == torch.bfloat16 else None) if mesh is not None else None
    if root is None:
        model.to(device)
    if found.mode == "tree":
        found = _probe_as_trained(recipe, model, data, root, autocast)
    trained = f", {short(trainable)} trained" if trainable < parameters else ""
    modes = f"{method}, {str(precision).removeprefix('torch.')} on {device.type}{_again(recompute, fit)}"
    sentence = f"{recipe.model} · {short(parameters)} parameters{trained} · {modes}{_ranks(world)}"
    roomy = fit.roomy if fit else may_keep_freed_memory(base.config, data.max_tokens, precision, device, share)
    return Built(model, weights, found, precision, autocast, trainable, parameters, roomy, sentence, root, recompute, fit)


def _recomputes(
    recipe: Recipe, data: Data, base: PreTrainedModel, precision: torch.dtype, device: torch.device, trainable: int, fit: Fit | None
) -> bool:
    """As planned; by a rough estimate for architectures that the plan does not know."""
    if fit is not None:
        return fit.way.recompute
    return should_checkpoint(recipe.train.checkpointing, base.config, data.max_tokens, precision, device, trainable)


def ready_blocks(base: PreTrainedModel, recompute: bool, recipe: Recipe, tell: Teller, kept_layers: int = 1) -> None:
    """Have the decoder blocks recomputed, but for the last `kept_layers`, and compiled, where that is wanted."""
    if recompute:
        # transformers has renamed it: the first name is the new one, the second goes with version 6
        enable = getattr(base, "activation_checkpointing_enable", None) or base.gradient_checkpointing_enable
        enable({"use_reentrant": False})
        keep_last_layers(base, kept_layers)
    if recipe.train.compile == "on":
        check_compiler()
        compile_blocks(base)
        tell.say("the decoder blocks are compiled, which takes about half a minute")


def _probe_as_trained(recipe: Recipe, model: torch.nn.Module, data: Data, root: Root | None, autocast: Autocast) -> Probe:
    """The second comparison: of the adapted model, in the run's precision, on its device."""
    with autocast():
        if root is None:
            return _probe(recipe, model, data, own_precision=False)
        found = root(lambda model: _probe(recipe, model, data, own_precision=False))
    release(root)
    return cast(Probe, found)


def _again(recompute: bool, fit: Fit | None) -> str:
    if not recompute:
        return ""
    return (
        f", activations recomputed in {recomputed_layers(fit.shape, fit.way)} of {fit.shape.layers} layers"
        if fit
        else ", activations recomputed"
    )


def _ranks(world: World) -> str:
    if world.size == 1:
        return ""
    return f" · {world.size} ranks" + (f", weights divided over {world.shards} (FSDP2)" if world.shards else "")


@contextlib.contextmanager
def lean(model: torch.nn.Module, left_alone: bool) -> Iterator[None]:
    """Norms, rotary positions and adapters in one piece each, unless `left_alone`: a compiled model is given its own by the compiler, and
    divided weights are not there to look at."""
    if left_alone:
        yield
        return
    with lean_norms(model), lean_rotary(model), lean_lora(model):
        yield


def adapt(
    base: PreTrainedModel, recipe: Recipe, taught: list[int], precision: torch.dtype, device: torch.device
) -> tuple[torch.nn.Module, str]:
    """What the method trains of `base`, and how to call it."""
    if recipe.train.weights == "bf16":
        round_weights(base, torch.bfloat16)
        return base, "full, weights in bf16"
    if recipe.method == "full":
        if precision == torch.bfloat16:
            dither(base, recipe.seed)
        return base, "full"
    if recipe.method == "qlora":
        quantize_linear(base, precision, device)
    adapted = add_lora(base, recipe.lora, taught, recipe.seed)
    if precision == torch.bfloat16:
        round_frozen(adapted, precision)
    return adapted, describe_adapters(adapted) + (", on a base in four bits" if recipe.method == "qlora" else "")


@torch.no_grad()
def fingerprint_weights(model: torch.nn.Module, most: int = 64) -> str:
    """Hash of names, shapes and `most` evenly spread values of every parameter: other weights are noticed, without reading them all."""
    parts = []
    for name, parameter in model.named_parameters():
        flat = parameter.flatten()
        parts.append(f"{name} {tuple(parameter.shape)} {flat[:: max(1, len(flat) // most)].tolist()}")
    return hash_text(*parts)


def prepare_tokens(model: torch.nn.Module, data: Data, seed: int, tell: Teller) -> list[int]:
    """Make room for tokens that the template added, find control tokens that the base never trained, and say so. Returns their ids."""
    tokenizer = data.contract.tokenizer
    new = [i for token in tokenizer.added if (i := tokenizer.id_of(token)) is not None]
    new = add_tokens(model, tokenizer.vocab_size, new, seed)
    used = {int(i) for path in data.paths_at(0) for i in path.tokens} & data.contract.control_ids.union(data.contract.stop_ids)
    stale = untrained_tokens(model, sorted(used - set(new)))
    if stale:
        names = " ".join(tokenizer.decode([i]) for i in stale)
        tell.say(
            f"the base model was never trained on {names}: {'its embedding is' if len(stale) == 1 else 'their embeddings are'} trained now"
        )
    return sorted({*new, *stale})


def _probe(recipe: Recipe, model: torch.nn.Module, data: Data, own_precision: bool = True) -> Probe:
    """Of the base as it was loaded, then of what is trained, where and in what precision it is trained."""
    if recipe.train.packing == "alone":
        return Probe("alone", "not run: the recipe asks for one example per pass (train.packing: alone)")
    paths = data.paths_at(0)
    paths = paths if len(paths) > 1 else paths * 2
    require = recipe.train.packing == "tree"
    return probe(model, paths, longest=data.rules.max_length, require_tree=require, own_precision=own_precision)


def save_model(folder: Path, recipe: Recipe, data: Data, built: Built) -> None:
    """The run's model folder: weights or adapter, tokenizer, template, generation config, chat contract."""
    with atomic_folder(folder) as temporary, plain_disk_errors():
        if isinstance(built.model, PeftModel):
            built.model.peft_config["default"].base_model_name_or_path = base_name(located(recipe.model))
            save_adapter(built.model, temporary)
        else:
            transformers_logging.disable_progress_bar()
            built.model.save_pretrained(str(temporary))  # type: ignore[operator]
        save_contract(data.contract, temporary, data.rules.max_length)
        write_json(temporary / "base.json", {"model": base_name(recipe.model), "method": "full" if recipe.method == "full" else "lora"})


def base_name(model: str) -> str:
    """The base model so that it is found from any folder."""
    return str(Path(model).resolve()) if Path(model).is_dir() else model
