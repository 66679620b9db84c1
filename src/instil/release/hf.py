"""Folders for plain transformers and peft: weights or adapter, and every file of the chat contract beside them."""

import json
import shutil
from pathlib import Path
from typing import Any

from peft import PeftModel
from torch import nn

from instil.core.errors import UserError
from instil.core.files import read_json, write_json, write_text
from instil.model.load import quiet
from instil.release.expected import Expected, first_logprobs
from instil.release.hf_parity import TOLERANCE, largest_difference
from instil.release.parity import Check
from instil.template.contract import Contract
from instil.template.saved import save_contract

# What a run keeps for itself: where its base model lies on the machine that trained it, and peft's empty model card.
OWN = ("base.json", "README.md")


def copy_model(source: Path, folder: Path, contract: Contract) -> None:
    """The run's model folder, as plain files."""
    for file in sorted(source.iterdir()):
        if file.is_file() and file.name not in OWN and not file.name.startswith("."):
            shutil.copy2(file, folder / file.name)
    write_ends(folder, contract)


def merge(model: nn.Module, expected: Expected) -> tuple[nn.Module, Check]:
    """The model with its adapter in its weights, and whether it still says the same. `model` is used up."""
    assert isinstance(model, PeftModel)
    merged: nn.Module = model.merge_and_unload(safe_merge=True)
    off = largest_difference(first_logprobs(merged, expected.prompts), expected.first_QV)
    return merged, Check("merge", off <= TOLERANCE, f"log-probabilities before and after differ by {off:.1e}, at most {TOLERANCE:.0e}")


def save_merged(model: nn.Module, folder: Path, contract: Contract, max_length: int | None) -> None:
    """Whole weights in the precision that they have in memory, and the contract."""
    with quiet():
        model.save_pretrained(str(folder))  # type: ignore[operator]
    save_contract(contract, folder, max_length)
    write_ends(folder, contract)


def write_ends(folder: Path, contract: Contract) -> None:
    """Stop tokens, BOS, padding and template options where servers look: generation_config.json, with weights config.json, the template.

    Whatever else a base model's generation config holds (temperature, repetition penalty, ...) is left out: nothing of it was used in
    training or evaluation, and it would change the answers.
    """
    if not contract.stop_ids:
        raise UserError(
            "this run has no stop token (allow: [no_stop]), and what never stops is not released: tune it with another template"
        )
    tokenizer = contract.tokenizer
    ids: dict[str, Any] = {f"{name}_token_id": tokenizer.id_of(tokenizer.special.get(f"{name}_token")) for name in ("bos", "pad")}
    ids |= {"eos_token_id": list(contract.stop_ids)}
    ids["pad_token_id"] = contract.stop_ids[0] if ids["pad_token_id"] is None else ids["pad_token_id"]
    known = {key: value for key, value in ids.items() if value is not None}
    write_json(folder / "generation_config.json", known)
    if (folder / "config.json").exists():
        write_json(folder / "config.json", read_json(folder / "config.json") | known)
    write_text(folder / "chat_template.jinja", template_with_options(contract))


def template_with_options(contract: Contract) -> str:
    """The template with the run's options set in front of it, unless a server gives others: it would know nothing of them."""
    options = {name: value for name, value in contract.template.options.items() if name in contract.template.variables()}
    settings = [
        f"{{% if {name} is not defined %}}{{% set {name} = {literal(value)} %}}{{% endif %}}" for name, value in sorted(options.items())
    ]
    return "".join(settings) + contract.template.source


def literal(value: object) -> str:
    """A JSON-like value as Jinja writes it; Jinja knows JSON's true and false, and has another word for null."""
    return "none" if value is None else json.dumps(value, ensure_ascii=False)
