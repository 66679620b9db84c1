"""A tuned model in the forms that others load, each asked whether it still says what the trained model says."""

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from instil.core.errors import UserError, nearest
from instil.core.files import disk_errors, read_json
from instil.release.expected import Expected, expect
from instil.release.export import GGUF, TARGETS, Exported, Job, check_absent, export, gguf_modules
from instil.release.facts import gather_facts
from instil.release.go_template import make_go_template
from instil.release.hf import copy_model, merge, save_merged
from instil.release.parity import Check
from instil.stages.say import Teller
from instil.stages.talk import Assistant, load, model_folder
from instil.template.saved import read_contract


def release(
    run: str | Path,
    targets: Sequence[str],
    *,
    quantize: Sequence[str] = ("f16",),
    out: str | Path | None = None,
    replace: bool = False,
    publisher: str = "instil",
    data_licence: str | None = None,
    trust_remote_code: bool = False,
    console: Console | None = None,
) -> list[Exported]:
    """Export the model of a run (or its model folder) to every one of `targets`, under `out` (by default the run's folder `release`).

    `publisher` names a folder of LM Studio's layout; `data_licence` is that of data which declares none. An export whose checks fail lies
    in a folder that ends in `.failed`. Raises UserError for what cannot be exported as asked, most of it before anything is loaded.
    """
    tell = Teller(console or Console())
    folder = _released(run)
    method = read_json(folder / "base.json")["method"]
    _check_targets(folder, targets, method, publisher)
    place = Path(out) if out is not None else folder.parent / "release"
    if not replace:
        check_absent(targets, place)
    facts = gather_facts(folder, data_licence)
    for warning in facts.warnings():
        tell.line("licence", warning)
    assistant = load(folder, trust_remote_code=trust_remote_code)
    assert assistant.contract is not None, "a run's model folder holds its contract"
    expected = expect(assistant.model, assistant.contract, assistant.context)
    with disk_errors(place):
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place, prefix=".work-") as work:
            whole = Path(work) / "whole"
            merged = _write_whole(whole, folder, method, assistant, expected) if set(targets) - {"adapter"} else ()
            job = Job(
                facts=facts,
                contract=assistant.contract,
                expected=expected,
                model=folder,
                whole=whole,
                work=Path(work),
                merge=merged,
                quantize=tuple(dict.fromkeys(quantize)),
                publisher=publisher,
                context=assistant.context,
                trained=_trained(folder),
            )
            del assistant  # its weights are not needed any more, and the checks load others
            found = []
            for target in targets:
                found.append(export(job, target, place))
                tell_export(tell, found[-1])
    return found


def _released(run: str | Path) -> Path:
    folder = model_folder(Path(run))
    if folder is None or not (folder / "instil.json").exists() or not (folder / "base.json").exists():
        raise UserError(f"{run} is neither a run nor a run's model folder: give a folder that `instil train` made, such as runs/NAME")
    return folder


def _check_targets(folder: Path, targets: Sequence[str], method: str, publisher: str) -> None:
    for target in targets:
        if target not in TARGETS:
            raise UserError(f"--to {target} is no target; {nearest(target, TARGETS)}")
    if method != "lora" and (wrong := [target for target in targets if target in ("adapter", "merged")]):
        raise UserError(f"--to {wrong[0]}: {folder} holds whole weights and no adapter: use --to hf")
    if not re.fullmatch(r"\w[\w.-]*", publisher):
        raise UserError(f"--publisher '{publisher}' must be made of letters, digits, '_', '.' and '-', for it becomes a folder's name")
    if set(targets) & set(GGUF):
        gguf_modules()
    if "ollama" in targets:
        make_go_template(read_contract(folder))


def _write_whole(whole: Path, folder: Path, method: str, assistant: Assistant, expected: Expected) -> tuple[Check, ...]:
    """The folder that everything but an adapter is made from, and the check of the merged weights where they were merged."""
    contract = assistant.contract
    assert contract is not None
    whole.mkdir()
    if method != "lora":
        copy_model(folder, whole, contract)
        return ()
    merged, check = merge(assistant.model, expected)
    save_merged(merged, whole, contract, _trained(folder))
    return (check,)


def _trained(folder: Path) -> int | None:
    """The longest example that the model was trained on, in tokens, as the contract was saved with it."""
    found = read_json(folder / "tokenizer_config.json").get("model_max_length")
    return int(found) if found else None


def tell_export(tell: Teller, exported: Exported) -> None:
    """A small table: what was checked of the export, and where it lies."""
    parity = exported.parity
    tell.line(parity.target, f"{'passed' if parity.passed else 'FAILED'} · {exported.folder}")
    wide = max(len(check.name) for check in parity.checks)
    for check in parity.checks:
        tell.say(f"{check.name:<{wide}}  {'passed' if check.passed else 'FAILED'}  {check.detail}")
