"""Precision and recomputation."""

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig

from instil.core.errors import UserError
from instil.model.head import hidden_states
from instil.plan.need import LIBRARIES
from instil.train import memory
from instil.train.memory import (
    activation_bytes,
    autocast_for,
    choose_precision,
    device_of_run,
    free_memory,
    may_keep_freed_memory,
    memory_of_run,
    should_checkpoint,
)
from tests.model.tiny import build

CPU = torch.device("cpu")
CONFIG = LlamaConfig(hidden_size=512, intermediate_size=1024, num_hidden_layers=8)


def test_free_memory_here() -> None:
    found = free_memory(CPU)
    assert found is not None
    if Path("/proc/meminfo").exists():
        total = next(int(line.split()[1]) * 1024 for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
        assert 0 < found <= total


def test_free_memory_is_the_least_of_all_limits(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9 kB\nMemAvailable:       8 kB\n", encoding="ascii")
    assert free_memory(CPU, tmp_path) == 8192
    (tmp_path / "proc/self/cgroup").write_text("0::/\n", encoding="ascii")
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    for limit, left in ((5000, 4000), (20_000, 8192)):
        for name, size in (("max", limit), ("current", 1000)):
            (tmp_path / f"sys/fs/cgroup/memory.{name}").write_text(f"{size}\n", encoding="ascii")
        assert free_memory(CPU, tmp_path) == left


def test_memory_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is free does not hold the libraries, which every process has by then."""
    monkeypatch.setattr(memory, "free_memory", lambda device: 2**30)
    assert memory_of_run(CPU, None) == 2**30 + LIBRARIES["cpu"]
    assert memory_of_run(CPU, None, ranks=4) == 2**28 + LIBRARIES["cpu"]
    assert memory_of_run(torch.device("cuda", 0), None) == 2**30 + LIBRARIES["gpu"]
    assert memory_of_run(CPU, 1.5, ranks=4) == 1.5 * 2**30
    monkeypatch.setattr(memory, "free_memory", lambda device: None)
    assert memory_of_run(CPU, None) is None


@pytest.mark.parametrize("fast", [True, False])
def test_precision_on_a_processor(monkeypatch: pytest.MonkeyPatch, fast: bool) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: fast)
    assert choose_precision("auto", CPU) == (torch.bfloat16 if fast else torch.float32)
    assert choose_precision("fp32", CPU) == torch.float32
    assert choose_precision("bf16", CPU) == torch.bfloat16, "slow, but what was asked for"


def test_precision_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert choose_precision("auto", gpu) == torch.float32
    with pytest.raises(UserError, match="^this GPU has no bf16: set train.precision: fp32$"):
        choose_precision("bf16", gpu)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float32])
def test_autocast(precision: torch.dtype) -> None:
    layer = torch.nn.Linear(4, 4)
    with autocast_for(precision, CPU)():
        assert layer(torch.zeros(2, 4)).dtype == precision
    assert layer(torch.zeros(2, 4)).dtype == torch.float32


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gpt2", "gpt_neox"])
def test_estimate_is_of_the_size_of_what_is_kept(architecture: str) -> None:
    """Against the bytes that autograd really saves: neither less than a third nor more than three times."""
    model = build(architecture, torch.float32, hidden_size=64, n_embd=64, intermediate_size=128, num_hidden_layers=4, n_layer=4)
    tokens = torch.arange(100) % 90
    saved: dict[int, int] = {}
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        hidden = hidden_states(model.train(), tokens, None, torch.arange(100))
    assert hidden.requires_grad
    assert 1 / 3 < activation_bytes(model.config, 100, torch.float32) / sum(saved.values()) < 3


def test_estimate_grows_with_tokens_and_precision() -> None:
    small = activation_bytes(CONFIG, 100, torch.bfloat16)
    assert activation_bytes(CONFIG, 200, torch.bfloat16) == activation_bytes(CONFIG, 100, torch.float32) == 2 * small


def test_recomputation_only_where_memory_demands_it(monkeypatch: pytest.MonkeyPatch) -> None:
    need = activation_bytes(CONFIG, 1000, torch.bfloat16) + 12 * 10_000
    for free, expected in ((need / 0.79, False), (need / 0.81, True), (None, False)):
        monkeypatch.setattr(memory, "free_memory", lambda device, free=free: free)
        assert should_checkpoint("auto", CONFIG, 1000, torch.bfloat16, CPU, 10_000) is expected
        assert should_checkpoint("on", CONFIG, 1000, torch.bfloat16, CPU, 10_000) is True
        assert should_checkpoint("off", CONFIG, 1000, torch.bfloat16, CPU, 10_000) is False


def test_no_recomputation_for_tiny_models() -> None:
    assert not should_checkpoint("auto", build("llama").config, 8192, torch.float32, CPU, 40_000)


def test_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of_run() == CPU


def test_memory_is_kept_only_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    need = activation_bytes(CONFIG, 1000, torch.bfloat16) + 12 * 5000
    for free, keeps in ((2 * need + 1, True), (2 * need, False), (None, True)):
        monkeypatch.setattr(memory, "free_memory", lambda _, free=free: free)
        assert may_keep_freed_memory(CONFIG, 1000, torch.bfloat16, CPU, 5000) == keeps
