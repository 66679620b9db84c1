"""The model card: README.md as the hub shows it, made from the run's own files. What the run does not know, the card says so."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from instil.core.files import hash_file
from instil.core.licences import NONE_DECLARED, TABLE
from instil.core.values import Message
from instil.model.resolve import located
from instil.release.facts import Facts
from instil.release.parity import Parity
from instil.template.contract import Contract

LIBRARIES = {"hf": "transformers", "merged": "transformers", "adapter": "peft", "gguf": "gguf", "ollama": "gguf", "lmstudio": "gguf"}
QUESTION = "What is 2+2?"
RELATIONS = {"transformers": "finetune", "peft": "adapter", "gguf": "quantized"}


def card(facts: Facts, contract: Contract, target: str, parity: Parity, folder: Path) -> str:
    """The text of README.md for the export in `folder`, whose other files are complete."""
    sections = [_front(facts, target), f"# {facts.name}", _what(facts, target), _warnings(facts), _prompting(facts, contract, target)]
    sections += [
        _data(facts),
        _recipe(facts),
        _evaluation(facts),
        _limits(facts, contract),
        _checked(parity),
        _files(folder),
        _attributions(facts),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _front(facts: Facts, target: str) -> str:
    library = LIBRARIES[target]
    licence = facts.licence
    front: dict[str, Any] = {"base_model": _base(facts), "base_model_relation": RELATIONS[library], "library_name": library}
    front |= (
        {"license": licence.lower()}
        if licence in TABLE and not licence.startswith("LicenseRef")
        else {"license": "other", "license_name": licence}
    )
    front |= {"pipeline_tag": "text-generation", "tags": ["instil", "instruction-tuned", *(["lora"] if facts.method == "lora" else [])]}
    if hub := [one.path.removeprefix("hf://").split("@")[0] for one in facts.data if one.path.startswith("hf://")]:
        front["datasets"] = ["/".join(name.split("/")[:2]) for name in hub]
    return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---"


def _base(facts: Facts) -> str:
    """A folder of somebody's machine is named by its last part."""
    return Path(facts.base).name if Path(facts.base).is_absolute() else facts.base


def _what(facts: Facts, target: str) -> str:
    kinds = {"adapter": "a LoRA adapter for peft", "gguf": "GGUF files for llama.cpp", "ollama": "a Modelfile and weights for Ollama"}
    kinds |= {"lmstudio": "GGUF files laid out for LM Studio"}
    kind = kinds.get(target, "whole weights for transformers")
    how = "LoRA" if facts.method == "lora" else "full tuning"
    versions = facts.manifest.get("versions", {})
    made = f" with instil {versions['instil']}" if "instil" in versions else ""
    return f"{_base(facts)}, tuned to follow instructions by {how}{made}; {kind}. Base model's licence: {facts.base_licence}."


def _warnings(facts: Facts) -> str:
    lines = facts.warnings()
    return "\n".join(["> [!WARNING]", *(f"> {line}" for line in lines)]) if lines else ""


def _prompting(facts: Facts, contract: Contract, target: str) -> str:
    asked = [Message(role="user", content=QUESTION)]
    if facts.system:
        asked.insert(0, Message(role="system", content=facts.system))
    shown = contract.render(asked, generate=True)
    place = "which the files carry" if LIBRARIES[target] == "gguf" else "which lies beside this file"
    lines = ["## How to prompt it", f"Through its chat template ({contract.name}), {place}. One question is sent as"]
    lines += [f"```text\n{shown}\n```", f"and the answer ends with {' or '.join(f'`{stop}`' for stop in contract.stops)}."]
    if facts.system:
        lines.append("It was trained with this system message wherever a conversation had none; send it, too.")
    lines.append(_usage(facts, target))
    return "\n\n".join(lines)


def _usage(facts: Facts, target: str) -> str:
    if target == "ollama":
        return f"```sh\nollama create {facts.name} -f Modelfile\nollama run {facts.name}\n```"
    if target == "lmstudio":
        return "Copy the folder `models` into LM Studio's own (`~/.lmstudio`), or call `lms import` on the file."
    if target == "gguf":
        return f"```sh\nllama-server -m {facts.name}-F16.gguf --jinja\n```"
    if target == "adapter":
        load, given = "AutoPeftModelForCausalLM", ", generation_config=GenerationConfig.from_pretrained(folder)"
        lines = ["from peft import AutoPeftModelForCausalLM", "from transformers import AutoTokenizer, GenerationConfig"]
    else:
        load, given = "AutoModelForCausalLM", ""
        lines = ["from transformers import AutoModelForCausalLM, AutoTokenizer"]
    lines += ["", 'folder = "path/to/this/folder"', "tokenizer = AutoTokenizer.from_pretrained(folder)"]
    lines += [f"model = {load}.from_pretrained(folder{given})"]
    said = [("system", facts.system)] if facts.system else []
    chat = [{"role": role, "content": content} for role, content in [*said, ("user", QUESTION)]]
    lines += [f"messages = {json.dumps(chat, ensure_ascii=False)}"]
    lines += ['asked = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, return_tensors="pt")']
    lines += ["answer = model.generate(**asked, max_new_tokens=200)", 'print(tokenizer.decode(answer[0, asked["input_ids"].shape[1] :]))']
    code = "```python\n" + "\n".join(lines) + "\n```"
    if target == "adapter":
        code += "\n\nThe generation config must be given as above: peft keeps the base model's, which may not know these stop tokens."
    return code


def _data(facts: Facts) -> str:
    if not facts.data:
        return "## Data\n\nNot known: the model folder was released apart from its run."
    lines = ["## Data", "| source | licence |\n| --- | --- |"]
    lines[1] += "".join(f"\n| {_cell(_source(one.path))} | {one.licence} |" for one in facts.data)
    outcomes = facts.manifest.get("outcomes")
    if outcomes:
        counts = ", ".join(f"{count:,} {outcome}" for outcome, count in outcomes.items())
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in facts.manifest.get("reasons", {}).items())
        lines.append(f"{facts.manifest['rows']:,} rows: {counts}." + (f" Refused or left out for: {reasons}." if reasons else ""))
    return "\n\n".join(lines)


def _source(path: str) -> str:
    return Path(path).name if Path(path).is_absolute() else path


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _recipe(facts: Facts) -> str:
    if not facts.recipe:
        return ""
    public = facts.recipe.replace(facts.base, _base(facts))
    for one in facts.data:
        public = public.replace(one.path, _source(one.path))
    return f"## Recipe\n\n```yaml\n{public.strip()}\n```"


def _evaluation(facts: Facts) -> str:
    summary = facts.evaluation
    if not summary:
        return "## Evaluation\n\nNot evaluated: nothing is claimed about its answers."
    rows = [row for suite in summary["suites"].values() if "arms" in suite for row in _suite_rows(suite)]
    table = "| suite | model | score | 95 % interval | prompts |\n| --- | --- | --- | --- | --- |" + "".join(rows)
    lines = ["## Evaluation", f"Verdict: **{summary['verdict']}**. {summary['sentence']}", table]
    if summary.get("regressions"):
        lines.append("What was lost, or not shown to be kept:\n\n" + "\n".join(f"- {sentence}" for sentence in summary["regressions"]))
    return "\n\n".join(lines)


def _suite_rows(suite: Mapping[str, Any]) -> list[str]:
    rows = []
    for arm, figures in suite["arms"].items():
        low, high = figures["interval"]
        rows.append(f"\n| {_cell(suite['title'])} | {arm} | {figures['score']:.3f} | {low:.3f} to {high:.3f} | {figures['n']} |")
    if suite.get("interval") and suite.get("difference") is not None:
        low, high = suite["interval"]
        rows.append(
            f"\n| | tuned − {suite['base_best_arm']}: {suite.get('word', '')} | {suite['difference']:+.3f} | {low:+.3f} to {high:+.3f} | |"
        )
    return rows


def _limits(facts: Facts, contract: Contract) -> str:
    lines = ["It may state falsehoods with confidence; what its base model did not know, tuning has not taught it."]
    lines.append(
        "The evaluation speaks of prompts like those above and of no others." if facts.evaluation else "How good it is was not measured."
    )
    missing = [word for word, shown in (("system messages", "system"), ("tools", "tools")) if shown not in contract.shows]
    if missing:
        lines.append(f"Its template has no {' and no '.join(missing)}.")
    how = "spelled as plain text in training" if contract.escape else "refused in training"
    lines.append(
        f"Text that contains a control token's string was {how}; plain transformers makes the control token of it: filter what users send."
    )
    if added := contract.tokenizer.added:
        lines.append(f"Tuning added {', '.join(f'`{token}`' for token in added)} to the tokenizer.")
    return "\n".join(["## Limits", "", *(f"- {line}" for line in lines)])


def _checked(parity: Parity) -> str:
    rows = "".join(f"\n| {check.name} | {'passed' if check.passed else '**failed**'} | {_cell(check.detail)} |" for check in parity.checks)
    return f"## Checked against the trained model\n\n| check | | |\n| --- | --- | --- |{rows}"


def _files(folder: Path) -> str:
    files: Sequence[Path] = sorted(f for f in folder.rglob("*") if f.is_file() and f.name not in ("README.md", "parity.json"))
    rows = "".join(f"\n| {f.relative_to(folder).as_posix()} | {f.stat().st_size:,} | `{hash_file(f)}` |" for f in files)
    return f"## Files\n\n| file | bytes | BLAKE2b, 128 bits |\n| --- | --- | --- |{rows}"


def _attributions(facts: Facts) -> str:
    texts = [one.attribution for one in facts.data if one.attribution]
    return (
        "## Attribution\n\n" + "\n\n".join("\n".join(f"> {line}" for line in text.strip().splitlines()) for text in texts) if texts else ""
    )


def licence_text(facts: Facts) -> str | None:
    """What a Modelfile's LICENSE says: the base model's own licence file, or the licences' names; None where none is known."""
    for name in ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE"):
        file = Path(located(facts.base)) / name
        if file.is_file():
            return file.read_text(encoding="utf-8", errors="replace").replace('"""', "'''").strip().rstrip('"')
    return None if facts.licence == NONE_DECLARED else facts.licence
