"""A causal language model from a folder or the hub, or one sentence that says why not and what to do; and the rows of its vocabulary: new
ones for new tokens, and ones that the base model never trained."""

import contextlib
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers.configuration_utils import PreTrainedConfig
from transformers.modeling_utils import PreTrainedModel
from transformers.models.auto.configuration_auto import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, AutoModel, AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from instil.core.errors import UserError
from instil.model.attention import base_model_of
from instil.model.resolve import first_context, first_line, located

log = logging.getLogger(__name__)

SMALL_NORM = 0.2
"""A row below this share of the median norm was never trained. The rows of stories260K and babyllama lie above 0.5."""
ALIKE = 0.99
"""Cosine from which two rows count as alike. stories260K has 256 byte tokens, of which 249 hardly ever occur in its training text: each has
a cosine of 0.994 or more to five other rows. Rows of tokens in use stay below 0.93; symbols and digits, rare in stories, lie between,
and some are found as well, here and in babyllama: training such a row again does no harm."""
MANY = 5
"""Rows that a row must be alike to."""


def load_model(
    name: str | Path, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu", trust_remote_code: bool = False
) -> PreTrainedModel:
    """The model `name` (a folder in Hugging Face's layout, or a hub id), every weight in `dtype`, in evaluation mode, on `device`.

    Safetensors only: other weight files can run code when they are opened. Raises UserError for whatever is not there, not known, not
    whole, not a causal language model, quantized, or in need of code of its own that the recipe does not trust.
    """
    name = located(name)
    config = load_config(name, trust_remote_code=trust_remote_code)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING and "AutoModelForCausalLM" not in (getattr(config, "auto_map", None) or {}):
        raise UserError(f"{name} is a {config.model_type} model, which does not continue text: give a causal language model")
    if quantized := getattr(config, "quantization_config", None):
        method = quantized.get("quant_method", "quantized") if isinstance(quantized, dict) else type(quantized).__name__
        raise UserError(f"the weights of {name} are quantized ({method}) and cannot be trained: give the same model in bf16 or fp32")
    if Path(name).is_dir():
        _check_weight_files(Path(name))
    options = {"dtype": dtype, "use_safetensors": True, "trust_remote_code": trust_remote_code, "output_loading_info": True}
    with _sentences(name, "weights"), quiet():
        model, report = cast(Any, AutoModelForCausalLM).from_pretrained(str(name), config=config, **options)
    if missing := sorted(report["missing_keys"]):
        raise UserError(f"the weights of {name} lack {len(missing)} tensors of its architecture, such as {missing[0]}: download them again")
    if unexpected := sorted(report["unexpected_keys"]):
        log.warning("%s holds %d tensors that %s does not use, such as %s", name, len(unexpected), type(model).__name__, unexpected[0])
    return with_exact_attention(cast(PreTrainedModel, model.to(device).eval()))


def with_exact_attention(model: PreTrainedModel) -> PreTrainedModel:
    """transformers 5.17 gives Gemma 2 an attention function that leaves soft-capping out, without a word; 5.23 refuses to. Eager honours
    it."""
    if model.config._attn_implementation == "sdpa" and getattr(model.config.get_text_config(), "attn_logit_softcapping", None):
        model.set_attn_implementation("eager")
    return model


def load_encoder(
    name: str | Path, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu", trust_remote_code: bool = False
) -> PreTrainedModel:
    """The part of any model that gives hidden states, without a head: a decoder, an encoder, or the encoder of a pair of both.

    Otherwise as `load_model`. What a checkpoint lacks of a pooler is not missed: hidden states do not pass through it.
    """
    name = located(name)
    config = load_config(name, trust_remote_code=trust_remote_code)
    if Path(name).is_dir():
        _check_weight_files(Path(name))
    options = {"dtype": dtype, "use_safetensors": True, "trust_remote_code": trust_remote_code, "output_loading_info": True}
    with _sentences(name, "weights"), quiet():
        model, report = cast(Any, AutoModel).from_pretrained(str(name), config=config, **options)
    if missing := sorted(key for key in report["missing_keys"] if "pooler" not in key):
        raise UserError(f"the weights of {name} lack {len(missing)} tensors of its architecture, such as {missing[0]}: download them again")
    found = model.get_encoder() if config.is_encoder_decoder else model
    return with_exact_attention(cast(PreTrainedModel, found.to(device).eval()))


def load_config(name: str | Path, *, trust_remote_code: bool = False) -> PreTrainedConfig:
    """The configuration alone. Raises UserError as `load_model` does."""
    name = located(name)
    folder = Path(name)
    if folder.is_dir() and not (folder / "config.json").exists():
        raise UserError(f"{folder} holds no config.json: give a model folder in Hugging Face's layout, or a hub id")
    if not folder.is_dir() and (str(name).startswith((".", "/", "~")) or str(name).count("/") > 1):
        raise UserError(f"model folder {name} does not exist: check the path, or give a hub id such as Qwen/Qwen3-0.6B-Base")
    with _sentences(name, "config.json"):
        return AutoConfig.from_pretrained(str(name), trust_remote_code=trust_remote_code)


def context_length(config: PreTrainedConfig) -> int | None:
    """Tokens that the model was built for; None where the architecture sets no limit (recurrent models)."""
    text = config.get_text_config()
    return first_context(lambda name: getattr(text, name, None))


def add_tokens(model: nn.Module, num_tokens: int, new_ids: Iterable[int], seed: int = 0) -> list[int]:
    """Make room for `num_tokens` token ids; initialise the rows of `new_ids` and all rows that were added. Returns those ids: train them.

    Grows the matrices only where they are too small (many models have spare rows), and then to exactly `num_tokens`, so that plain peft
    can do the same when it loads the adapter. A new row is the mean of the others: with any other start a new token's logit may exceed all
    others and upset every prediction (Hewitt 2021, "Initializing New Word Embeddings for Pretrained Language Models"). Noise of a
    hundredth of the rows' spread lets two new tokens part.
    """
    inner = base_model_of(model)
    before = len(embedding_matrices(inner)[0])
    if num_tokens > before:
        _refuse_other_embeddings(inner, before)
        inner.resize_token_embeddings(num_tokens, mean_resizing=False)
    ids = sorted({*new_ids, *range(before, num_tokens)})
    if ids:
        for matrix in embedding_matrices(inner):
            _initialise(matrix, ids, seed)
        bias = getattr(inner.get_output_embeddings(), "bias", None)
        if bias is not None:
            _initialise(bias, ids, seed)
    return ids


def untrained_tokens(model: nn.Module, ids: Sequence[int]) -> list[int]:
    """Those of `ids` whose embedding (or, where untied, output) row the base model never trained.

    Such rows give themselves away in three ways: zero or decayed to nearly nothing; all alike, because a row that is never a target is
    pushed in the same direction at every step; equal to another row or to the mean of all, as `resize_token_embeddings` leaves them.
    What cannot be seen: rows drawn at random, added late and left alone, in an untied model.
    """
    inner, ids = base_model_of(model), list(ids)
    rows = len(embedding_matrices(inner)[0])
    assert all(0 <= i < rows for i in ids), f"ids beyond the {rows} rows: call add_tokens first"
    found = torch.zeros(len(ids), dtype=torch.bool)
    for matrix in embedding_matrices(inner) if ids else []:
        found |= _never_trained(matrix.detach().float(), torch.tensor(ids, device=matrix.device)).cpu()
    return [i for i, untrained in zip(ids, found.tolist(), strict=True) if untrained]


def embedding_matrices(model: nn.Module) -> list[Tensor]:
    """The input embedding [V, D] and, where it is another one, the head's."""
    inner: Any = base_model_of(model)
    head = inner.get_output_embeddings()
    matrices: list[Tensor] = [inner.get_input_embeddings().weight] + ([head.weight] if head is not None else [])
    return list({id(m): m for m in matrices}.values())


def _check_weight_files(folder: Path) -> None:
    if any(folder.glob("*.safetensors")):
        return
    if any(folder.glob("*.bin")) or any(folder.glob("*.pt*")):
        raise UserError(
            f"{folder} holds weights only as .bin files, which can run code when opened: if you trust them, convert them once with "
            f'`python -c "from transformers import AutoModelForCausalLM as M; M.from_pretrained({str(folder)!r}, use_safetensors=False)'
            f'.save_pretrained({str(folder)!r})"`'
        )
    raise UserError(f"{folder} holds no weights (*.safetensors): download the model whole")


@contextlib.contextmanager
def _sentences(name: str | Path, part: str) -> Iterator[None]:
    """transformers' and safetensors' ways to fail, each as one sentence."""
    try:
        yield
    except SafetensorError as error:
        raise UserError(f"the weights of {name} are damaged ({error}): download them again") from error
    except json.JSONDecodeError as error:
        raise UserError(f"a JSON file of {name} is damaged (line {error.lineno}: {error.msg}): download it again") from error
    except OSError as error:
        if Path(name).is_dir():
            raise UserError(f"{part} of {name} cannot be read ({first_line(error)}): download the model again") from error
        raise UserError(
            f"{name} is neither a folder here nor to be had from the hub ({first_line(error)}): check the id, `hf auth login` if access "
            f"must be granted, or, without a network here, run `hf download {name} --local-dir FOLDER` where there is one and give FOLDER"
        ) from error
    except (ValueError, RuntimeError) as error:
        raise UserError(_explain(name, str(error))) from error


def _explain(name: str | Path, text: str) -> str:
    if "trust_remote_code" in text:
        return f"{name} brings Python code of its own, which would run on this machine: read it, then set trust_remote_code: true"
    if "does not recognize this architecture" in text or "Unrecognized model" in text:
        known = f"transformers {transformers.__version__}"
        return f"{name} is of a model_type that {known} does not know: check its config.json, or `pip install --upgrade transformers`"
    if "ignore_mismatched_sizes" in text:
        return f"some weights of {name} have other shapes than its config.json says: download the model again"
    return f"{name} cannot be loaded ({first_line(text)}): check its config.json"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bar and no load report: what they would say is an error or a log line here."""
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


def _never_trained(rows_VD: Tensor, ids_K: Tensor) -> Tensor:
    norms_V = rows_VD.norm(dim=1)
    median = norms_V.median()
    picked_KD = rows_VD[ids_K]
    others_VD = torch.cat([rows_VD, rows_VD.mean(0, keepdim=True)])
    cosines_KV = nn.functional.normalize(picked_KD, dim=1) @ nn.functional.normalize(others_VD, dim=1).T
    cosines_KV[torch.arange(len(ids_K), device=ids_K.device), ids_K] = -1
    nearest_K = others_VD[cosines_KV.argmax(1)]
    small = norms_V[ids_K] < SMALL_NORM * median
    alike = (cosines_KV > ALIKE).sum(1) >= MANY
    equal = (picked_KD - nearest_K).norm(dim=1) < 0.01 * median
    return small | alike | equal


@torch.no_grad()
def _initialise(matrix: Tensor, ids: list[int], seed: int) -> None:
    """Rows `ids` of [V, D] or [V]: mean of the others, and noise."""
    others = torch.ones(len(matrix), dtype=torch.bool, device=matrix.device)
    others[ids] = False
    kept = matrix[others].double()
    noise = torch.randn(len(ids), *matrix.shape[1:], generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(matrix.device)
    matrix[ids] = (kept.mean(0) + 0.01 * kept.std(0) * noise).to(matrix.dtype)


def _refuse_other_embeddings(model: nn.Module, rows: int) -> None:
    """Per-layer embeddings (Gemma 3n, Gemma 4) are indexed by token as well, and `resize_token_embeddings` leaves them as they are."""
    known = {id(m) for m in embedding_matrices(model)}
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and len(module.weight) == rows and id(module.weight) not in known:
            raise UserError(
                f"the vocabulary cannot grow, because {name} also has a row per token: choose a template whose control tokens the model has"
            )
