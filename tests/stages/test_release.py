"""`instil release`, whole: what lies there afterwards, what is said, what is kept apart."""

import json
import sys

import pytest
import yaml
from click.testing import CliRunner

from instil.cli.release import command
from instil.core.errors import UserError
from instil.release import hf
from instil.stages.release import release
from tests.release.conftest import bases, full, lora  # noqa: F401  (the same runs)


def run_cli(*args):
    return CliRunner().invoke(command, [str(a) for a in args])


def test_a_run_is_released(lora, tmp_path):  # noqa: F811
    out = tmp_path / "exports"
    done = run_cli(lora, "--to", "merged,adapter", "--to", "hf", "--out", out, "--data-licence", "cc-by-nc-4.0")
    assert done.exit_code == 0, (done.output, done.exception)
    assert sorted(p.name for p in out.iterdir()) == ["adapter", "hf", "merged"], "nothing else is left"
    for name in ("merged", "adapter", "hf"):
        record = json.loads((out / name / "parity.json").read_text())
        assert record["passed"] and record["target"] == name
        assert json.loads((out / name / "generation_config.json").read_text())["eos_token_id"] == [266, 268]
    assert {c["name"] for c in json.loads((out / "merged" / "parity.json").read_text())["checks"]} >= {"merge", "greedy answers"}
    assert not (out / "adapter" / "base.json").exists() and (out / "adapter" / "adapter_config.json").exists()
    card = (out / "adapter" / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["library_name"] == "peft" and front["base_model"] == "bare" and front["base_model_relation"] == "adapter"
    assert "CC-BY-NC-4.0) forbids commercial use" in card and "Be brief." in card and "50 kept, 6 held out" in card
    assert "<|im_start|>user\nWhat is 2+2?<|im_end|>" in card and "| forced end of turn | passed |" in card
    assert str(lora.parent) not in card and str(tmp_path) not in card, "no path of the machine"
    again = run_cli(lora, "--to", "hf", "--out", out)
    assert isinstance(again.exception, UserError) and "add --replace" in str(again.exception)
    assert run_cli(lora, "--to", "hf", "--out", out, "--replace").exit_code == 0
    assert sorted(p.name for p in out.iterdir()) == ["adapter", "hf", "merged"]


def test_a_failed_export_is_kept_apart(full, tmp_path, monkeypatch):  # noqa: F811
    """An export that loses its end of turn, as exports do."""
    honest = hf.write_ends

    def deaf(folder, contract):
        honest(folder, contract)
        for name in ("generation_config.json", "config.json"):
            record = json.loads((folder / name).read_text())
            (folder / name).write_text(json.dumps({**record, "eos_token_id": 3}))

    monkeypatch.setattr(hf, "write_ends", deaf)
    done = run_cli(full, "--to", "hf", "--out", tmp_path)
    assert done.exit_code == 1
    assert "failed: hf does not say what the trained model says" in done.output
    assert [p.name for p in tmp_path.iterdir()] == ["hf.failed"]
    assert not json.loads((tmp_path / "hf.failed" / "parity.json").read_text())["passed"]


@pytest.mark.parametrize(
    ("targets", "said"),
    [(["merged"], "no adapter: use --to hf"), (["hub"], "is no target"), (["adapter"], "no adapter: use --to hf")],
)
def test_what_cannot_be_exported(full, tmp_path, targets, said):  # noqa: F811
    with pytest.raises(UserError, match=said):
        release(full, targets, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_run(tmp_path):
    with pytest.raises(UserError, match="neither a run nor"):
        release(tmp_path, ["hf"])


def test_a_publisher_is_a_folder(full, tmp_path):  # noqa: F811
    with pytest.raises(UserError, match="--publisher"):
        release(full, ["hf"], out=tmp_path, publisher="../up")


def test_ollama_and_lmstudio(lora, tmp_path):  # noqa: F811
    pytest.importorskip("xllamacpp")
    pytest.importorskip("gguf")
    done = run_cli(lora, "--to", "gguf,ollama,lmstudio", "--quantize", "f32,q8_0", "--out", tmp_path, "--publisher", "me")
    assert done.exit_code == 0, (done.output, done.exception)
    name = lora.name
    assert {file.name for file in (tmp_path / "gguf").glob("*.gguf")} == {f"{name}-F32.gguf", f"{name}-Q8_0.gguf"}
    assert (tmp_path / "lmstudio" / "models" / "me" / name / f"{name}-F32.gguf").exists()
    assert (tmp_path / "ollama" / "Modelfile").read_text().startswith(f"FROM ./{name}-F32.gguf\nTEMPLATE")
    checks = {c["name"] for c in json.loads((tmp_path / "ollama" / "parity.json").read_text())["checks"]}
    assert {"merge", "Go template"} < checks and {"f32: greedy answers", "q8_0: chat tokens"} < checks


def test_without_the_packages_for_gguf(full, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setitem(sys.modules, "gguf", None)
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    for module in ("instil.release.gguf", "instil.release.gguf_parity"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(UserError, match=r"pip install 'instil\[gguf\]'"):
        release(full, ["gguf"], out=tmp_path)
