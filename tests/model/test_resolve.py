"""The process that asks transformers: cached by content, isolated, and one sentence where it fails."""

import json
from pathlib import Path

import pytest

from instil.core.errors import UserError
from instil.model.resolve import context_length_of, folder_of, resolve_tokenizer
from instil.template.tokenizer import read_resolved
from tests.template.tokenizers import TEXTS, byte_level, resolved, write_folder


def test_resolves_once_per_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_folder(tmp_path / "model", byte_level(), "Qwen2Tokenizer", chat_template="{{ messages }}")
    (tmp_path / "json.py").write_text("raise SystemExit('a module of the current folder was imported')")
    monkeypatch.chdir(tmp_path)
    path = resolve_tokenizer(str(folder), tmp_path / "cache")
    tokenizer = read_resolved(path)
    assert tokenizer.encode_batch(TEXTS) == resolved(folder).encode_batch(TEXTS)
    assert tokenizer.templates == {"default": "{{ messages }}"}
    written = path.stat().st_mtime_ns
    assert resolve_tokenizer(str(folder), tmp_path / "cache") == path and path.stat().st_mtime_ns == written
    (folder / "chat_template.jinja").write_text("other")
    monkeypatch.setattr("instil.model.resolve._ask_transformers", lambda *_: json.dumps({"asked": "again"}))
    assert resolve_tokenizer(str(folder), tmp_path / "cache") != path


def test_a_broken_tokenizer_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match=r"cannot be loaded \(.+\): is tokenizer\.json there and whole\?") as caught:
        resolve_tokenizer(str(tmp_path), tmp_path / "cache")
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)
    assert not list((tmp_path / "cache").rglob("*.json"))


def test_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a model folder"):
        folder_of(str(tmp_path))
    with pytest.raises(UserError, match="does not exist: check the path"):
        folder_of(str(tmp_path / "nowhere"))
    (tmp_path / "config.json").write_text(json.dumps({"text_config": {"max_position_embeddings": 77}}))
    assert folder_of(str(tmp_path)) == tmp_path
    assert context_length_of(tmp_path) == 77


def test_no_such_model_on_the_hub() -> None:
    with pytest.raises(UserError, match="neither a folder here nor to be had from the hub"):
        folder_of("nobody/no-such-model")
