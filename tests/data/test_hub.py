import functools
from pathlib import Path

import pytest

from instil.core.errors import UserError
from instil.data.files import files_of
from instil.data.hub import HubPath, choose, fetch, hub_files, parse


def hub(files: list[str], asked: list[tuple[str, str, str | None]]):
    """A listing and a download for a dataset of these files at commit `c0ffee`."""

    def download(repo: str, file: str, revision: str | None) -> str:
        asked.append((repo, file, revision))
        return f"/cache/{file}"

    return lambda repo, revision: ("c0ffee", files), download


def test_paths():
    assert parse("hf://owner/name") == HubPath("owner/name", None, "")
    assert parse("hf://owner/name@v1/data/*.json") == HubPath("owner/name", "v1", "data/*.json")
    assert parse("hf://datasets/owner/name@refs%2Fconvert%2Fparquet/") == HubPath("owner/name", "refs/convert/parquet", "")
    with pytest.raises(UserError, match="hf://squad is not a dataset on the hub: write hf://owner/name"):
        parse("hf://squad")


def test_files_are_downloaded_at_the_commit_that_was_listed():
    asked: list[tuple[str, str, str | None]] = []
    files = ["README.md", "data/train-00001-of-00002.parquet", "data/train-00000-of-00002.parquet", "data/test-0.parquet", "train.jsonl"]
    found = hub_files("hf://o/n@main", *hub(files, asked))
    assert found == [
        (Path("/cache/data/train-00000-of-00002.parquet"), "hf://o/n@main/data/train-00000-of-00002.parquet"),
        (Path("/cache/data/train-00001-of-00002.parquet"), "hf://o/n@main/data/train-00001-of-00002.parquet"),
    ]
    assert {revision for _, _, revision in asked} == {"c0ffee"}


def test_a_file_named_in_full_needs_no_listing():
    asked: list[tuple[str, str, str | None]] = []

    def listing(repo: str, revision: str | None) -> tuple[str, list[str]]:
        raise AssertionError

    assert hub_files("hf://o/n@v2/a/test.jsonl.gz", listing, hub([], asked)[1])[0][1] == "hf://o/n@v2/a/test.jsonl.gz"
    assert asked == [("o/n", "a/test.jsonl.gz", "v2")]


@pytest.mark.parametrize(
    ("files", "inside", "chosen"),
    [
        (["a.jsonl", "b.csv", "x.md"], "", ["a.jsonl", "b.csv"]),
        (["a.jsonl", "a.parquet"], "", ["a.parquet"]),
        (["constraint.jsonl", "test.jsonl"], "", ["constraint.jsonl"]),
        (["my_train.json", "my_val.json", "other.json"], "", ["my_train.json"]),
        (["main/train-0.parquet", "socratic/train-0.parquet"], "main", ["main/train-0.parquet"]),
        (["main/train-0.parquet", "main/test-0.parquet", "a.md"], "**", ["main/train-0.parquet", "main/test-0.parquet"]),
        (["train/0.jsonl", "test/0.jsonl"], "", ["train/0.jsonl"]),
    ],
)
def test_what_is_chosen(files, inside, chosen):
    assert choose(files, inside, "hf://o/n") == chosen


@pytest.mark.parametrize(
    ("files", "inside", "sentence"),
    [
        (
            ["main/train-0.parquet", "socratic/train-0.parquet"],
            "",
            "has files in main, socratic: name one, e.g. hf://o/n/main, or all, e.g. hf://o/n/..",
        ),
        (["a_test.json", "dev.json"], "", "only files of other splits than train"),
        (["a.md"], "", "no data files .it has no data files at all.: name a file"),
        (["a.json"], "b", "no data files under b .it has a.json."),
        (["a.json"], "*.csv", "no data file matches '.\\.csv'"),
    ],
)
def test_what_cannot_be_chosen(files, inside, sentence):
    with pytest.raises(UserError, match=sentence):
        choose(files, inside, "hf://o/n")


def test_the_local_cache_serves_a_file_without_a_network(tmp_path, monkeypatch):
    cached = tmp_path / "datasets--o--n"
    for name, content in {"refs/main": "c" * 40, f"snapshots/{'c' * 40}/data/train.jsonl": '{"a": 1}'}.items():
        (cached / name).parent.mkdir(parents=True, exist_ok=True)
        (cached / name).write_text(content)
    found = hub_files("hf://o/n/data/train.jsonl", download=functools.partial(fetch, cache=tmp_path))
    assert found[0][0].read_text() == '{"a": 1}'
    with pytest.raises(
        UserError, match="hf://o/n/data/test.jsonl: the hub cannot be reached, and the local cache does not hold the answer"
    ):
        hub_files("hf://o/n/data/test.jsonl", download=functools.partial(fetch, cache=tmp_path))


def test_no_network_is_one_sentence():
    with pytest.raises(UserError, match=r"^hf://o/n: the hub cannot be reached.*: check the network, or download the files"):
        files_of("hf://o/n")


def test_a_name_that_no_dataset_can_have():
    with pytest.raises(UserError, match="the hub has no such dataset"):
        files_of("hf://o/n--..--m/x.json")
