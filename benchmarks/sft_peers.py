"""One contender of `sft_cpu.py` in a process of its own: `python sft_peers.py CONTENDER WORK`, figures as JSON on the last line.

WORK is a folder that `sft_cpu.py` filled: the model, and the rows of every step. Every contender takes the same steps with AdamW
(fused, no decay, constant rate 1e-4), clips at 1.0 and computes in bf16 under autocast over float32 weights, except where its name says
otherwise. The first step, in which kernels are made, is reported apart.
"""

import contextlib
import json
import os
import pickle
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path as Folder
from typing import Any

os.environ |= {"TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "critical", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}

import numpy as np  # noqa: E402
import torch  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback  # noqa: E402

RATE, PAD = 1e-4, 1

# What each peer is given: trainer, rows per micro-batch, rows of a step sorted by length, weights in bf16, its own arguments.
PEERS: dict[str, tuple[str, int, bool, bool, dict[str, Any]]] = {
    "trl": ("trl", 8, False, False, {}),
    "trl_packing": ("trl", 1, False, False, {"packing": True, "max_length": 2048, "gradient_checkpointing": False}),
    "trl_sorted_2": ("trl", 2, True, False, {"gradient_checkpointing": False}),
    "trl_sorted_4": ("trl", 4, True, False, {"gradient_checkpointing": False}),
    "trl_sorted_8": ("trl", 8, True, False, {"gradient_checkpointing": False}),
    "trl_sorted_16": ("trl", 16, True, False, {"gradient_checkpointing": False}),
    "trl_sorted_4_compiled": ("trl", 4, True, False, {"gradient_checkpointing": False, "torch_compile": True}),
    "trl_sorted_8_bf16_weights": ("trl", 8, True, True, {"gradient_checkpointing": False}),
    "trainer": ("transformers", 8, False, False, {}),
    "trainer_sorted_4": ("transformers", 4, True, False, {}),
    "trainer_sorted_8": ("transformers", 8, True, False, {}),
}


class Clock:
    """Seconds, loss and gradient norm per step."""

    def __init__(self) -> None:
        self.started = self.last = time.perf_counter()
        self.seconds, self.losses, self.norms = list[float](), list[float](), list[float]()

    def step(self) -> None:
        now = time.perf_counter()
        self.seconds.append(now - self.last)
        self.last = now


def main(contender: str, work: Folder) -> dict[str, Any]:
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    steps = pickle.loads((work / "steps.pkl").read_bytes())
    began = time.perf_counter()
    run = _instil if contender.startswith("instil") else _peer
    idle = _resident()
    found = run(contender, work, steps)
    clock = found.pop("clock")
    return {
        "first_step_s": round(clock.seconds[0], 3),
        "start_s": round(found.pop("started") - began, 3),
        "step_s": [round(s, 3) for s in clock.seconds[1:]],
        "loss": clock.losses,
        "norm": clock.norms,
        "idle_mib": round(idle),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        **found,
    }


def _resident() -> float:
    pages = int(Folder("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _instil(contender: str, work: Folder, steps: list[Any]) -> dict[str, Any]:
    """`instil_unshared`: nothing is shared but the earlier turns of a conversation. `instil_compiled`: train.compile is on."""
    from instil.batch import trie

    if contender == "instil_unshared":
        trie.MIN_SHARED = 1 << 40
    model = AutoModelForCausalLM.from_pretrained(work / "base", dtype=torch.float32)
    shares: dict[str, Any] = {}
    once_more = (lambda step: shares.update(_shares(step))) if contender == "instil" else None
    clock, computed, peak = instil_steps(model, steps, afterwards=once_more, compiled=contender == "instil_compiled")
    in_flight = max(len(row.tokens_T) for step in steps for row in rows_of(step))
    return {"clock": clock, "started": clock.started, "computed": computed, "in_flight": in_flight, **shares, "peak_mib": peak}


def rows_of(step: list[Any], max_tokens: int | None = None) -> list[Any]:
    """A step's rows as `instil train` lays them out."""
    from instil.batch.trie import lay_out
    from instil.core.recipe import ROW, Train

    return lay_out([path for row in step for path in row], max_tokens or ROW, Train().average)


def instil_steps(
    model: torch.nn.Module,
    steps: list[Any],
    max_tokens: int | None = None,
    afterwards: Callable[[Callable[[], Any]], Any] | None = None,
    compiled: bool = False,
) -> tuple[Clock, list[int], int]:
    """The loop as `instil train` runs it: clock, computed tokens per step, peak memory in MiB. `afterwards` is given one step more."""
    from instil.core.recipe import Train
    from instil.model.attention import tree_attention
    from instil.model.compiled import compile_blocks
    from instil.model.tails import without_tails
    from instil.train.checkpoint import State
    from instil.train.distributed import World
    from instil.train.heap import keep_freed_memory
    from instil.train.loop import Every, take_step, train
    from instil.train.memory import autocast_for
    from instil.train.objectives import supervised
    from instil.train.optimizer import make_optimizer

    keep_freed_memory()
    optimizer = make_optimizer(model, Train(weight_decay=0.0, beta2=0.999), RATE)
    objective, autocast = supervised(True), autocast_for(torch.bfloat16, torch.device("cpu"))
    clock = Clock()

    def report(record: dict[str, Any]) -> None:
        clock.step()
        clock.losses.append(record["loss"])
        clock.norms.append(record["gradient_norm"])

    def rows_at(step: int) -> list[Any]:
        return rows_of(steps[step], max_tokens)

    if compiled:
        compile_blocks(model)
    lean = contextlib.nullcontext() if compiled else _lean(model)
    with tree_attention(model), lean:
        train(
            model,
            state=State(),
            steps=len(steps),
            rows_at=rows_at,
            objective=objective,
            optimizer=optimizer,
            rate_at=lambda _: RATE,
            seed=0,
            every=Every(10**6, 10**6),
            evaluate=None,
            save=lambda _: None,
            report=report,
            where=str,
            autocast=autocast,
        )
        peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        if afterwards is not None:
            afterwards(lambda: take_step(model, rows_at(1), 1, objective, optimizer, 0, 1.0, autocast, World(), str))
    return clock, [sum(len(without_tails(row).tokens_T) for row in rows_at(step)) for step in range(len(steps))], peak


@contextlib.contextmanager
def _lean(model: torch.nn.Module) -> Iterator[None]:
    from instil.model.norms import lean_norms
    from instil.model.rotary import lean_rotary

    with lean_norms(model), lean_rotary(model):
        yield


def _peer(contender: str, work: Folder, steps: list[Any]) -> dict[str, Any]:
    """TRL's or transformers' trainer over the same tokens, targets and order."""
    from datasets import Dataset
    from transformers import Trainer, TrainingArguments

    kind, micro, by_length, bf16_weights, own = PEERS[contender]
    rows = [row for step in steps for row in (sorted(step, key=lambda r: -len(r[0])) if by_length else step)]
    data = Dataset.from_list([{"input_ids": t.tolist(), "labels": np.where(on, t, -100).tolist()} for t, on in rows])
    arguments = {
        "output_dir": str(work / "out"),
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": len(steps[0]) // micro if not own.get("packing") else 1,
        "max_steps": len(steps) if not own.get("packing") else -1,
        "num_train_epochs": 1,
        "learning_rate": RATE,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.0,
        "optim": "adamw_torch_fused",
        "max_grad_norm": 1.0,
        "bf16": not bf16_weights,
        "use_cpu": True,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "train_sampling_strategy": "sequential",
        "seed": 0,
    }
    clock, computed, in_flight = Clock(), list[int](), [0]
    watch = _watch(clock, computed, in_flight)
    model = AutoModelForCausalLM.from_pretrained(work / "base", dtype=torch.bfloat16 if bf16_weights else torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(work / "base")
    if kind == "trl":
        from trl import SFTConfig, SFTTrainer

        config = SFTConfig(**arguments, **{"max_length": 2048, **own})
        trainer = SFTTrainer(model, args=config, train_dataset=data, processing_class=tokenizer, callbacks=[watch])
    else:
        trainer = Trainer(model, TrainingArguments(**arguments, **own), _padded, data, callbacks=[watch])
    started = time.perf_counter()
    trainer.train()
    return {"clock": clock, "started": started, "computed": [sum(computed)], "in_flight": in_flight[0]}


def _watch(clock: Clock, computed: list[int], in_flight: list[int]) -> TrainerCallback:
    """Seconds, losses and norms into `clock`; tokens of every forward pass, padding included; the most real ones that one of them had."""

    def see(_: Any, args: Any, kwargs: dict[str, Any]) -> None:
        computed.append(kwargs["input_ids"].numel())
        if kwargs.get("attention_mask") is not None:  # packing has none
            in_flight[0] = max(in_flight[0], int(kwargs["attention_mask"].sum()))

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, model: Any, **__: Any) -> None:
            model.register_forward_pre_hook(see, with_kwargs=True)
            clock.last = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.step()

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
            if logs and "loss" in logs:
                clock.losses.append(float(logs["loss"]))
                clock.norms.append(float(logs["grad_norm"]))

    return Watch()


def _padded(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """A plain collator: padded on the right to the longest row."""
    longest = max(len(row["input_ids"]) for row in rows)

    def grid(key: str, fill: int) -> torch.Tensor:
        return torch.tensor([row[key] + [fill] * (longest - len(row[key])) for row in rows])

    mask = torch.tensor([[1] * len(row["input_ids"]) + [0] * (longest - len(row["input_ids"])) for row in rows])
    return {"input_ids": grid("input_ids", PAD), "labels": grid("labels", -100), "attention_mask": mask}


def matrix_peak() -> float:
    """The processor's bf16 matrix peak in GFLOP/s: the best of some large products, as PyTorch multiplies them."""
    best = 0.0
    for rows, inner, columns in ((4096, 4096, 4096), (2048, 2048, 2048), (4096, 512, 1344), (8192, 1024, 4096)):
        a, b = torch.randn(rows, inner).bfloat16(), torch.randn(columns, inner).bfloat16()
        for attempt in range(6):
            began = time.perf_counter()
            torch.nn.functional.linear(a, b)
            if attempt:
                best = max(best, 2e-9 * rows * inner * columns / (time.perf_counter() - began))
    return best


def _shares(step: Callable[[], Any]) -> dict[str, Any]:
    """One more step under the profiler: time and floating point operations in the products of linear layers (forward and backward)."""
    peak = matrix_peak()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], with_flops=True, record_shapes=True) as profile:
        began = time.perf_counter()
        step()
        seconds = time.perf_counter() - began
    products = [event for event in profile.key_averages() if event.key in ("aten::mm", "aten::addmm")]
    flops, spent = sum(event.flops for event in products), 1e-6 * sum(event.self_cpu_time_total for event in products)
    return {
        "bf16_peak_gflops": round(peak),
        "linear_gflop": round(flops * 1e-9),
        "linear_share_of_peak": round(flops * 1e-9 / spent / peak, 3),
        "linear_share_of_step": round(spent / seconds, 3),
        "profiled_step_s": round(seconds, 3),
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What libraries print goes to stderr."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


if __name__ == "__main__":
    with _quiet():
        figures = main(sys.argv[1], Folder(sys.argv[2]))
    print(json.dumps(figures))
