"""What a model card says, gathered from a run folder: base, data, licences, recipe, evaluation."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from instil.core.dataset import is_dataset, open_dataset
from instil.core.files import read_json
from instil.core.licences import NONE_DECLARED, obligations_of, unite
from instil.core.run import RunFolder
from instil.model.resolve import located

FORBIDDING = {
    "nc": "forbids commercial use",
    "nd": "allows nothing to be made of the work, which a tuned model is",
    "terms": "comes with further terms of use, which go with the model",
    "sa": "asks that what is made of it carries the same licence",
    "copyleft": "asks that software which contains it is published under the same licence",
    "unknown": "is not declared, or not known here: nothing may be assumed to be allowed",
}


@dataclass(frozen=True)
class DataFacts:
    """One source of the recipe. `licence`: SPDX expression, NOASSERTION where nobody declared one. `attribution`: text to be kept."""

    path: str
    licence: str
    attribution: str | None = None


@dataclass(frozen=True)
class Facts:
    """`run`: None for a model folder that has left its run. Mappings are the files of the run as they are."""

    name: str
    base: str
    base_licence: str
    method: str
    data: tuple[DataFacts, ...]
    recipe: str
    system: str | None
    manifest: Mapping[str, Any]
    evaluation: Mapping[str, Any] | None

    @property
    def licence(self) -> str:
        """Of base and data together."""
        return unite([self.base_licence, *(one.licence for one in self.data)]) or NONE_DECLARED

    def warnings(self) -> list[str]:
        parts = [("base model", self.base, self.base_licence), *(("data", one.path, one.licence) for one in self.data)]
        return [
            f"The licence of the {kind} {name} ({licence}) {FORBIDDING[duty]}."
            for kind, name, licence in parts
            for duty in sorted(obligations_of(None if licence == NONE_DECLARED else licence) & set(FORBIDDING))
        ]


def gather_facts(model_folder: Path, data_licence: str | None = None) -> Facts:
    """From the run that `model_folder` lies in; what is not there is not said. `data_licence`: of sources that declare none."""
    run = RunFolder(model_folder.parent)
    base = read_json(model_folder / "base.json")
    known = run.recipe.exists()
    recipe = run.read_recipe() if known else None
    summary = run.path / "evaluation" / "summary.json"
    return Facts(
        name=(run.path if known else model_folder).resolve().name,
        base=base["model"],
        base_licence=licence_of_card(Path(located(base["model"]))),
        method=base["method"],
        data=tuple(_data_facts(source.path, unite([data_licence]) or NONE_DECLARED) for source in recipe.data) if recipe else (),
        recipe=run.recipe.read_text(encoding="utf-8") if known else "",
        system=recipe.system if recipe else None,
        manifest=read_json(run.manifest) if run.manifest.exists() else {},
        evaluation=read_json(summary) if known and summary.exists() else None,
    )


def licence_of_card(folder: Path) -> str:
    """The licence that a model's README declares, in its front matter or in the table that the built-in model has; else NOASSERTION."""
    card = folder / "README.md"
    if not card.is_file():
        return NONE_DECLARED
    text = card.read_text(encoding="utf-8", errors="replace")
    if text.startswith("---"):
        try:
            front = yaml.safe_load(text.split("---", 2)[1])
        except yaml.YAMLError:
            front = None
        if isinstance(front, dict) and isinstance(front.get("license"), str):
            return unite([front["license"]]) or NONE_DECLARED
    row = next((line for line in text.splitlines() if line.startswith("| licence |")), "")
    return unite([row.split("|")[2].split(";")[0].strip()]) or NONE_DECLARED if row else NONE_DECLARED


def _data_facts(path: str, otherwise: str) -> DataFacts:
    """A dataset folder, or a file in one, knows its licences; any other file does not."""
    place = Path(path)
    folder = next((one for one in (place, place.parent) if is_dataset(one)), None)
    if folder is None:
        return DataFacts(path, otherwise)
    sources = open_dataset(folder).sources().values()
    attribution = folder / "ATTRIBUTION.md"
    words = attribution.read_text(encoding="utf-8") if attribution.is_file() else None
    return DataFacts(path, unite([source.licence for source in sources]) or otherwise, words)
