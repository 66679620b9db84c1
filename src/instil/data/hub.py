"""`hf://owner/name[@revision][/file, folder or glob]` -> downloaded files of a dataset on the Hugging Face hub."""

import contextlib
import fnmatch
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from huggingface_hub import HfApi, errors, hf_hub_download

from instil.core.errors import UserError
from instil.data.files import HUB, data_suffix, is_data, is_pattern

Listing = Callable[[str, str | None], tuple[str, list[str]]]
"""(repository, revision) -> (commit, paths of all its files)."""
Download = Callable[[str, str, str | None], str]
"""(repository, file, revision or commit) -> local path."""

_SPLITS = re.compile(r"(?:^|[/_.-])(train(?:ing)?|test(?:ing)?|validation|valid|val|dev|eval(?:uation)?)(?=[/_.-]|$)")


@dataclass(frozen=True)
class HubPath:
    """A dataset repository, a revision (None: its main branch), and what is wanted of it (empty: chosen by `choose`)."""

    repo: str
    revision: str | None
    inside: str


def hub_files(path: str, listing: Listing | None = None, download: Download | None = None) -> list[tuple[Path, str]]:
    """Download what `path` means and return (local file, its name for the ledger), sorted by name.

    A file named in full comes straight from the local cache where it is there. Everything else asks the hub which files exist, even if
    some are cached: a cache may hold a part of a dataset, and rows must not go missing because of it. Raises UserError.
    """
    listing, download = listing or list_dataset, download or fetch
    wanted = parse(path)
    with _hub_errors(path):
        if is_data(wanted.inside) and not is_pattern(wanted.inside):
            revision, names = wanted.revision, [wanted.inside]
        else:
            revision, found = listing(wanted.repo, wanted.revision)
            names = choose(found, wanted.inside, path)
        return [(Path(download(wanted.repo, name, revision)), f"{_stem(path)}/{name}") for name in sorted(names)]


def parse(path: str) -> HubPath:
    parts = path.removeprefix(HUB).removeprefix("datasets/").split("/", 2)
    if len(parts) < 2 or not all(parts[:2]):
        raise UserError(f"{path} is not a dataset on the hub: write hf://owner/name, hf://owner/name@revision or hf://owner/name/file")
    name, _, revision = parts[1].partition("@")
    return HubPath(f"{parts[0]}/{name}", unquote(revision) or None, parts[2].strip("/") if len(parts) > 2 else "")


def choose(found: list[str], inside: str, path: str) -> list[str]:
    """Of a repository's files: those a glob matches, or in a folder (empty: the whole repository) the train split's, Parquet preferred."""
    data = [name for name in found if is_data(name)]
    if is_pattern(inside):
        names = [name for name in data if fnmatch.fnmatchcase(name, inside)]
        return names or _none(path, f"no data file matches '{inside}'", data)
    names = [name for name in data if not inside or name.startswith(inside + "/")]
    if not names:
        _none(path, f"no data files{' under ' + inside if inside else ''}", data)
    parquet = [name for name in names if data_suffix(name) == ".parquet"]
    names = _train_split(parquet or names, path)
    folders = sorted({str(PurePosixPath(name).parent) for name in names})
    if len(folders) > 1:
        # Folders are configurations more often than shards: reading them all would mix what the owner keeps apart.
        raise UserError(
            f"{path} has files in {', '.join(folders[:8])}: name one, e.g. {_stem(path)}/{folders[0]}, or all, e.g. {_stem(path)}/**"
        )
    return names


def _train_split(names: list[str], path: str) -> list[str]:
    splits = {name: {m[1] for m in _SPLITS.finditer(name.lower())} for name in names}
    train = [name for name in names if splits[name] & {"train", "training"}]
    names = train or [name for name in names if not splits[name]]
    return names or _none(path, "only files of other splits than train", sorted(splits))


def _none(path: str, what: str, data: list[str]) -> list[str]:
    has = f"it has {', '.join(data[:8])}{', ...' if len(data) > 8 else ''}" if data else "it has no data files at all"
    raise UserError(f"{path}: {what} ({has}): name a file or a glob, e.g. {_stem(path)}/data/*.parquet")


def _stem(path: str) -> str:
    wanted = parse(path)
    return f"{HUB}{wanted.repo}{'@' + wanted.revision if wanted.revision else ''}"


def list_dataset(repo: str, revision: str | None) -> tuple[str, list[str]]:
    info = HfApi().dataset_info(repo, revision=revision)
    return info.sha or revision or "main", [file.rfilename for file in info.siblings or []]


def fetch(repo: str, file: str, revision: str | None, cache: Path | None = None) -> str:
    return str(hf_hub_download(repo, file, repo_type="dataset", revision=revision, cache_dir=cache))


@contextlib.contextmanager
def _hub_errors(path: str) -> Iterator[None]:
    try:
        yield
    except (errors.RepositoryNotFoundError, errors.HFValidationError):
        raise UserError(f"{path}: the hub has no such dataset, or you may not see it: check the name, or run `hf auth login`") from None
    except errors.RevisionNotFoundError:
        raise UserError(f"{path}: the dataset has no such revision: check what follows '@'") from None
    except errors.RemoteEntryNotFoundError:
        raise UserError(f"{path}: the dataset has no such file: check the name, or name only the dataset") from None
    except (OSError, errors.HTTPError) as error:  # type: ignore[attr-defined]  # the HTTP library's own base class, whichever it is
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise UserError(
            f"{path}: the hub cannot be reached, and the local cache does not hold the answer ({reason}): "
            "check the network, or download the files and give their folder"
        ) from error
