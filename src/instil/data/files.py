"""`Source.path` -> files."""

import glob
from pathlib import Path

from instil.core.errors import UserError

DATA_SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
PACKED_SUFFIXES = (".gz", ".zst", ".bz2")
HUB = "hf://"


def data_suffix(name: str) -> str:
    """`.jsonl` of `rows.jsonl.gz`; what is left of the name's suffix where it is not one of data."""
    path = Path(name.lower())
    return Path(path.stem).suffix if path.suffix in PACKED_SUFFIXES else path.suffix


def is_data(name: str) -> bool:
    return data_suffix(name) in DATA_SUFFIXES


def is_pattern(path: str) -> bool:
    return any(char in path for char in "*?[")


def files_of(path: str) -> list[tuple[Path, str]]:
    """Files that `path` (a file, a folder, a glob, or `hf://...`) means, sorted, each with its name for the ledger.

    Of a folder: all data files in it and beneath it, hidden ones left out. Of a glob: every file that matches. Raises UserError where
    there is none.
    """
    if path.startswith(HUB):
        # Only here: importing huggingface_hub takes longer than reading most local files.
        from instil.data.hub import hub_files

        return hub_files(path)
    place = Path(path).expanduser()
    if place.is_dir():
        return _in_folder(place, path)
    if is_pattern(path) and not place.exists():
        found = sorted(Path(f) for f in glob.glob(str(place), recursive=True) if not Path(f).is_dir())
        if not found:
            raise UserError(f"no file matches {path}: check the pattern (** matches folders at any depth)")
        return [(file, str(file)) for file in found]
    if not place.exists():
        raise UserError(f"{path} does not exist: check the path (it is taken from the folder that instil is started in)")
    return [(place, path)]


def _in_folder(folder: Path, path: str) -> list[tuple[Path, str]]:
    parts = ((file, file.relative_to(folder).parts) for file in folder.rglob("*") if is_data(file.name))
    found = sorted(file for file, inside in parts if not any(part.startswith(".") for part in inside) and file.is_file())
    if not found:
        known = f"{', '.join(DATA_SUFFIXES)}, also with {', '.join(PACKED_SUFFIXES)}"
        raise UserError(f"folder {path} holds no data files ({known}): check the path")
    return [(file, str(file)) for file in found]
