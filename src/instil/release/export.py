"""One target after another: written, asked, and only then given its name."""

import contextlib
import importlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType

from instil.core.errors import UserError
from instil.core.files import atomic_folder, read_json, rename_folder, write_json, write_text
from instil.release.card import card, licence_text
from instil.release.expected import Expected
from instil.release.facts import Facts
from instil.release.go_template import make_go_template
from instil.release.hf import copy_model
from instil.release.hf_parity import check_hf
from instil.release.ollama import modelfile
from instil.release.parity import Check, Parity
from instil.template.contract import Contract

FAILED = ".failed"
SMALL = 1 << 20


@dataclass(frozen=True)
class Job:
    """What all targets are made from. `model`: the run's model folder. `whole`: a folder with whole weights. `work`: for files that several
    targets share. `merge`: checks of the merged weights, empty where nothing was merged. Lengths in tokens."""

    facts: Facts
    contract: Contract
    expected: Expected
    model: Path
    whole: Path
    work: Path
    merge: tuple[Check, ...]
    quantize: tuple[str, ...]
    publisher: str
    context: int | None
    trained: int | None


@dataclass(frozen=True)
class Exported:
    """Where an export lies, and what was found out about it. Its folder's name ends in `.failed` unless all checks passed."""

    folder: Path
    parity: Parity


Write = Callable[[Job, Path], tuple[Check, ...]]


def export(job: Job, target: str, out: Path) -> Exported:
    """Write one target under `out`. It is called failed until its checks have passed, and nobody takes half an export for a whole one."""
    place, apart = out / target, out / f"{target}{FAILED}"
    with atomic_folder(apart) as folder:
        parity = Parity(target, TARGETS[target](job, folder))
        record = {"target": target, "passed": parity.passed, "checks": [asdict(check) for check in parity.checks]}
        write_json(folder / "parity.json", record)
        write_text(folder / "README.md", card(job.facts, job.contract, target, parity, folder))
    if not parity.passed:
        return Exported(apart, parity)
    rename_folder(apart, place)
    shutil.rmtree(apart, ignore_errors=True)  # an older export that had the name
    return Exported(place, parity)


def check_absent(targets: Sequence[str], out: Path) -> None:
    """Raises UserError where one of the targets has a folder already."""
    for target in targets:
        if (out / target).exists():
            raise UserError(
                f"{out / target} exists already, and nothing is written over: add --replace, choose another --out, or remove it"
            )


def write_whole(job: Job, folder: Path) -> tuple[Check, ...]:
    for file in job.whole.iterdir():
        link_or_copy(file, folder / file.name)
    return (*job.merge, *check_hf("hf", folder, job.expected).checks)


def write_adapter(job: Job, folder: Path) -> tuple[Check, ...]:
    copy_model(job.model, folder, job.contract)
    return check_hf("adapter", folder, job.expected).checks


def write_gguf_files(job: Job, folder: Path) -> tuple[Check, ...]:
    checks = list(job.merge)
    for kind in job.quantize:
        file, parity = _gguf(job, kind)
        link_or_copy(file, folder / file.name)
        checks += [replace(check, name=f"{kind}: {check.name}") for check in parity.checks]
    return tuple(checks)


def write_ollama(job: Job, folder: Path) -> tuple[Check, ...]:
    """Weights of every type, and a Modelfile for each: the first one's has the name that `ollama create` looks for."""
    go = make_go_template(job.contract)
    checks = write_gguf_files(job, folder)
    for kind in job.quantize:
        text = modelfile(
            gguf_name(job, kind),
            go,
            job.contract,
            context=job.context,
            trained=job.trained,
            system=job.facts.system,
            licence=licence_text(job.facts),
        )
        write_text(folder / ("Modelfile" if kind == job.quantize[0] else f"Modelfile.{kind.upper()}"), text)
    said = f"the joints of the Go template give the Jinja's text in {go.proved} of {go.proved} dialogues"
    return (*checks, Check("Go template", True, "; ".join([said, *go.notes])))


def write_lmstudio(job: Job, folder: Path) -> tuple[Check, ...]:
    place = folder / "models" / job.publisher / job.facts.name
    place.mkdir(parents=True)
    return write_gguf_files(job, place)


TARGETS: dict[str, Write] = {
    "hf": write_whole,
    "merged": write_whole,
    "adapter": write_adapter,
    "gguf": write_gguf_files,
    "ollama": write_ollama,
    "lmstudio": write_lmstudio,
}
GGUF = ("gguf", "ollama", "lmstudio")


def gguf_name(job: Job, kind: str) -> str:
    return f"{job.facts.name}-{kind.upper()}.gguf"


def _gguf(job: Job, kind: str) -> tuple[Path, Parity]:
    """The file of one type, written and checked once for all targets that hold it."""
    writer, checker = gguf_modules()
    file = job.work / gguf_name(job, kind)
    if not file.exists():
        report = writer.write_gguf(job.whole, file, quantize=kind)
        found = checker.check_gguf(report, job.expected)
        write_json(file.with_suffix(".json"), [asdict(check) for check in found.checks])
    checks = tuple(Check(**record) for record in read_json(file.with_suffix(".json")))
    return file, Parity(file.name, checks)


def gguf_modules() -> tuple[ModuleType, ModuleType]:
    """What writes and what reads GGUF files. Raises UserError where the package that writes them is not installed."""
    try:
        writer, checker = (importlib.import_module(f"instil.release.{name}") for name in ("gguf", "gguf_parity"))
    except ModuleNotFoundError as error:
        raise UserError(f"GGUF files need the package {error.name}: pip install 'instil[gguf]'") from None
    return writer, checker


def link_or_copy(file: Path, place: Path) -> None:
    """A second name for a file of weights; a copy where the file system has none, and of small files, which people edit."""
    if file.stat().st_size >= SMALL:
        with contextlib.suppress(OSError):
            os.link(file, place)
            return
    shutil.copy2(file, place)
