"""The chat contract on disk, in the files that every server reads, so that what was trained is what is served.

tokenizer.json         the backend as trained, added tokens included
tokenizer_config.json  a class that loads tokenizer.json as it is, special tokens, context
chat_template.jinja    the template as trained (BOS included where the model wants one)
generation_config.json every stop token (written into an existing one)
instil.json            options, stop tokens, how text with control tokens is treated
"""

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from instil.core.errors import UserError
from instil.core.files import hash_text, read_json, write_json, write_text
from instil.template.contract import Contract
from instil.template.render import ChatTemplate
from instil.template.tokenizer import ChatTokenizer


def save_contract(contract: Contract, folder: Path, max_length: int | None = None) -> None:
    """Write the contract's files into `folder`. `max_length`: the longest input, in tokens, that the model takes."""
    tokenizer = contract.tokenizer
    write_text(folder / "tokenizer.json", tokenizer.backend.to_str(pretty=True))
    # PreTrainedTokenizerFast is the one class that leaves tokenizer.json alone; family classes rebuild it when they load.
    config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **tokenizer.special}
    if max_length:
        config["model_max_length"] = max_length
    write_json(folder / "tokenizer_config.json", config)
    write_text(folder / "chat_template.jinja", contract.template.source)
    generation = read_json(folder / "generation_config.json") if (folder / "generation_config.json").exists() else {}
    write_json(folder / "generation_config.json", generation | {"eos_token_id": list(contract.stop_ids)})
    write_json(
        folder / "instil.json",
        {
            "template": contract.name,
            "options": dict(contract.template.options),
            "parts": contract.template.parts,
            "special": tokenizer.special,
            "eos_ids": list(tokenizer.eos_ids),
            "stop_ids": list(contract.stop_ids),
            "stops": [tokenizer.decode([i]) for i in contract.stop_ids],
            "controls": list(contract.controls),
            "escape": contract.escape,
            "anchor": contract.anchor,
            "shows": sorted(contract.shows),
            "input_joint": contract.input_joint,
            "wants_bos": tokenizer.wants_bos,
            "added": list(tokenizer.added),
        },
    )


def read_contract(folder: Path) -> Contract:
    """The contract that `save_contract` wrote. Raises UserError where the folder holds none or a part is missing."""
    if not (folder / "instil.json").exists():
        raise UserError(f"{folder} holds no chat contract (instil.json): give the model folder of a run, or a run")
    record = read_json(folder / "instil.json")
    try:
        backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
        source = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    except Exception as error:  # tokenizers raises plain Exception
        raise UserError(f"{folder} is incomplete ({error}): copy the whole model folder of the run again") from None
    stop_ids, eos_ids, added = (tuple(record[key]) for key in ("stop_ids", "eos_ids", "added"))
    tokenizer = ChatTokenizer(backend, record["special"], {"default": source}, eos_ids, record["wants_bos"], added)
    template = ChatTemplate(source, record["special"], record["options"], record["parts"])
    return Contract(
        tokenizer,
        template,
        record["template"],
        stop_ids,
        tuple(record["controls"]),
        frozenset(record["shows"]),
        record["escape"],
        record["input_joint"],
        anchor=record["anchor"],
    )


def fingerprint(contract: Contract) -> str:
    """Hash of everything that decides which tokens a conversation becomes and where an answer stops."""
    template, tokenizer = contract.template, contract.tokenizer
    ways = [contract.name, sorted(template.special.items()), sorted(template.options.items()), template.parts]
    ways += [contract.stop_ids, contract.controls, sorted(contract.shows), contract.escape, contract.input_joint]
    return hash_text(template.source, tokenizer.content_hash, json.dumps(ways, default=str))
