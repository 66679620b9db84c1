"""One GPU, everything in under ten minutes: `python benchmarks/gpu.py` (there: `pip install -e '.[qlora]' trl liger-kernel`).

Weights are random and rows made up: speed depends on neither. Each case is a process of its own with its own time limit, so that one that
fails or does not fit says so and the others go on. Cases: an 8B with LoRA of rank 16 at 4,096 tokens, a 1.5B tuned whole, a 0.6B with
LoRA, each switch alone, and TRL at its best (Liger; packing and flash attention where that is installed, else rows of examples of one
length, which need neither) on the same model and tokens.
Reported: tokens a second (real ones), TFLOP/s by the usual count (6 per weight and token for full tuning, 4 for LoRA, plus attention), the
share of this card's measured matrix peak, peak memory and what `instil plan` says of it, seconds to the first step, and how often something
was compiled again after it. Results are kept after every case; `--only` and `--seconds` leave those of other cases in the file.

`--tiny` runs the same cases at a thousandth of the size, on a CPU where there is no GPU: whether the script works, and nothing else.
"""

import argparse
import contextlib
import importlib
import json
import multiprocessing
import os
import tempfile
import time
import traceback
from dataclasses import dataclass, replace
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path as Folder
from typing import Any

import numpy as np
import torch
from plan import NAMES  # the script beside this one

os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "error"}
os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # asks for GPUs without touching them
RESULTS = Folder(__file__).parent / "results" / "gpu.json"
LIMIT = 100
"""Seconds for a case, most of which is loading libraries and compiling."""
PRICE = 2.5
"""USD an hour, for the extrapolation; say your own with --price."""
ALPACA_TOKENS = 52_000 * 3 * 110
"""Alpaca-52K for three epochs: 110 tokens a row with its template (mean of the demo file's rows with Llama's tokenizer)."""


def shape(*sizes: int) -> dict[str, int]:
    return dict(zip(NAMES, sizes, strict=True))


SHAPES = {
    "llama_8b": shape(4096, 14336, 32, 32, 8, 128, 128256),
    "llama_7b": shape(4096, 11008, 32, 32, 32, 128, 32000),
    "qwen_1.5b": shape(1536, 8960, 28, 12, 2, 128, 151936),
    "qwen_0.6b": shape(1024, 3072, 28, 16, 8, 128, 151936),
}
TINY = shape(64, 128, 2, 4, 2, 16, 512)


@dataclass(frozen=True, kw_only=True)
class Case:
    """`shared`: tokens that all examples of a step have in common (0: nothing is shared). `rows`: rows of `length` tokens a step.
    `lean`: adapters in one piece each, where blocks are not compiled. `weights`, `optimizer`, `offload`: as in a recipe."""

    shape: str
    method: str = "lora"
    compile: bool = False
    recompute: bool = False
    rounded: bool = True
    lean: bool = True
    weights: str = "fp32"
    optimizer: str = "adamw"
    offload: str = "none"
    shared: int = 0
    length: int = 4096
    example: int = 512
    rows: int = 4
    peer: str | None = None
    tiny: bool = False

    @property
    def row(self) -> int:
        """Examples in a row."""
        return self.length // self.example


BEST = Case(shape="llama_8b", compile=True)
CASES: dict[str, Case] = {
    "8B LoRA": BEST,
    "8B LoRA, TRL": replace(BEST, peer="trl"),
    "0.6B LoRA": Case(shape="qwen_0.6b", compile=True, rows=8),
    "0.6B LoRA, TRL": Case(shape="qwen_0.6b", rows=8, peer="trl"),
    "1.5B full": Case(shape="qwen_1.5b", method="full", compile=True),
    "1.5B full, TRL": Case(shape="qwen_1.5b", method="full", peer="trl"),
    "8B LoRA, half of each example shared": replace(BEST, shared=256),
    "7B LoRA, Alpaca's lengths": Case(shape="llama_7b", compile=True, example=110),
    "8B LoRA, not compiled": replace(BEST, compile=False),
    "1.5B full, weights in bf16": Case(shape="qwen_1.5b", method="full", compile=True, weights="bf16"),
    "8B LoRA, recomputed": replace(BEST, recompute=True),
    "8B QLoRA": replace(BEST, method="qlora"),
    "0.6B LoRA, rows of 16,384 tokens": Case(shape="qwen_0.6b", compile=True, length=16384, rows=2),
    "1.5B full, states in eight bits": Case(shape="qwen_1.5b", method="full", compile=True, optimizer="adamw_8bit"),
    "1.5B full, states offloaded": Case(shape="qwen_1.5b", method="full", compile=True, offload="states"),
    "0.6B LoRA, not compiled": Case(shape="qwen_0.6b", rows=8),
    "8B LoRA, not compiled, peft's layers": replace(BEST, compile=False, lean=False),
    "8B LoRA, weights in float32": replace(BEST, rounded=False),
}
"""What is wanted most comes first."""
STEPS = 6
"""The first is not in the rates, nor the second, in which what was not met in the first is compiled."""


def build(case: Case, device: torch.device) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**(TINY if case.tiny else SHAPES[case.shape]), max_position_embeddings=case.length, tie_word_embeddings=False)
    with torch.device(device):
        return LlamaForCausalLM(config)


def paths_of(case: Case, vocabulary: int, step: int) -> list[Any]:
    """A step's examples: as many as fill its rows, half of each a prompt."""
    from instil.core.values import Path

    random = np.random.default_rng(step)
    prefix = np.random.default_rng(0).integers(3, vocabulary, case.shared)
    own = case.example - case.shared
    count = case.rows * case.row
    made = (np.concatenate([prefix, random.integers(3, vocabulary, own)]).astype(np.uint32) for _ in range(count))
    return [Path(tokens, case.example // 2, 1.0) for tokens in made]


def run_instil(case: Case, device: torch.device) -> dict[str, Any]:
    from torch._dynamo.utils import counters

    from instil.batch.trie import lay_out
    from instil.core.recipe import Lora, Train
    from instil.model.adapters import add_lora, round_frozen, round_weights
    from instil.model.attention import tree_attention
    from instil.model.compiled import compile_blocks
    from instil.model.lora import lean_lora
    from instil.model.quantize import quantize_linear
    from instil.train.distributed import World
    from instil.train.loop import take_step
    from instil.train.memory import autocast_for
    from instil.train.objectives import supervised
    from instil.train.optimizer import make_optimizer

    began = time.perf_counter()
    model = base = build(case, device)
    if case.method == "qlora":
        quantize_linear(base, torch.bfloat16, device)
    if case.method != "full":
        model = add_lora(base, Lora(rank=16))
        if case.rounded:
            round_frozen(model, torch.bfloat16)
    if case.weights == "bf16":
        round_weights(base, torch.bfloat16)
    if case.recompute:
        base.gradient_checkpointing_enable({"use_reentrant": False})
    if case.compile:
        compile_blocks(base)
    knobs = Train.model_validate({name: getattr(case, name) for name in ("weights", "optimizer", "offload")})
    optimizer = make_optimizer(model, knobs, 1e-4)
    objective, autocast = supervised(True, case.length), autocast_for(torch.bfloat16, device)
    seconds, tokens, compiled = [], [], []
    reset_peak(device)
    built = round(time.perf_counter() - began, 1)
    lean = lean_lora(model) if case.lean and not case.compile and case.method != "full" else contextlib.nullcontext()
    with tree_attention(model), lean:
        for step in range(STEPS):
            paths = paths_of(case, base.config.vocab_size, step)
            tokens.append(sum(len(path.tokens) for path in paths))
            rows = lay_out(paths, case.length)
            wait(device)
            begun = time.perf_counter()
            take_step(model, rows, step, objective, optimizer, 0, 1.0, autocast, World(), str)
            wait(device)
            seconds.append(time.perf_counter() - begun)
            compiled.append(counters["stats"]["unique_graphs"])
    return {"seconds": seconds, "tokens": tokens, "compiled_again": compiled[-1] - compiled[1], "built_s": built}


def run_trl(case: Case, device: torch.device) -> dict[str, Any]:
    if device.type == "cuda" and find_spec("liger_kernel") is not None:
        try:
            return {"liger": True, **train_by_trl(case, device, True)}
        except Exception as error:  # Liger follows transformers' releases at some distance
            return {"liger": f"{type(error).__name__}: {str(error)[:200]}", **train_by_trl(case, device, False)}
    return {"liger": False, **train_by_trl(case, device, False)}


def train_by_trl(case: Case, device: torch.device, liger: bool) -> dict[str, Any]:
    """TRL's trainer as its documentation recommends it for speed: Liger, packing, flash attention. Where that is not installed, packed
    examples would see each other or need a mask that only slow kernels know: then a row is a batch of examples, all of one length, which
    wastes nothing and which PyTorch's own flash attention takes."""
    import datasets
    from transformers import PreTrainedTokenizerFast, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from instil.core.recipe import Lora  # the same adapters

    model = build(case, device).to(torch.bfloat16)
    peft = None
    if case.method != "full":
        from peft import LoraConfig

        lora = Lora(rank=16)
        peft = LoraConfig(task_type="CAUSAL_LM", r=lora.rank, lora_alpha=lora.alpha, target_modules="all-linear")  # type: ignore[arg-type]
    examples = [path for step in range(STEPS) for path in paths_of(case, model.config.vocab_size, step)]
    rows = {"input_ids": [path.tokens.tolist() for path in examples]}
    rows["completion_mask"] = [[0] * path.num_context + [1] * path.num_completion for path in examples]
    seconds: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            wait(device)
            self.began = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            wait(device)
            seconds.append(time.perf_counter() - self.began)

    on_gpu = device.type == "cuda"
    packing = on_gpu and find_spec("flash_attn") is not None
    if packing:
        model.set_attn_implementation("flash_attention_2")
    batch = 1 if packing else case.row
    arguments = SFTConfig(
        output_dir=tempfile.mkdtemp(), per_device_train_batch_size=batch, gradient_accumulation_steps=case.rows, max_length=case.length,
        packing=packing, max_steps=STEPS, bf16=on_gpu, use_cpu=not on_gpu, gradient_checkpointing=case.recompute, use_liger_kernel=liger,
        report_to=[], save_strategy="no", logging_strategy="no", learning_rate=1e-4, completion_only_loss=True,
    )  # fmt: skip
    from tokenizers import Tokenizer, models

    words = {f"w{i}": i for i in range(3)}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(words, "w0")), pad_token="w0", eos_token="w1")
    trainer = SFTTrainer(
        model,
        args=arguments,
        train_dataset=datasets.Dataset.from_dict(rows),
        processing_class=tokenizer,
        peft_config=peft,
        callbacks=[Clock()],
    )
    reset_peak(device)
    trainer.train()
    tokens = case.rows * case.row * case.example
    return {"seconds": seconds, "tokens": [tokens] * STEPS, "compiled_again": None, "packing": packing}


def reset_peak(device: torch.device) -> None:
    """What was needed to make random weights does not count."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def planned_gib(case: Case) -> float:
    """What `instil plan` says of the peak, without what libraries hold, which PyTorch's counter does not see either."""
    from instil.plan.need import Way, need
    from instil.plan.shape import read_shape

    shape = read_shape({"model_type": "llama", **(TINY if case.tiny else SHAPES[case.shape]), "tie_word_embeddings": False})
    way = Way(
        method=case.method, precision="bf16", weights=case.weights, optimizer=case.optimizer, offload=case.offload,  # type: ignore[arg-type]
        recompute=case.recompute, tokens=case.length, example=case.example, predicted=0.5, device="gpu",
    )  # fmt: skip
    found = need(shape, way)
    return (found.total - found.libraries) / 2**30


def matrix_peak(device: torch.device) -> float:
    """TFLOP/s of a large bf16 product on this device."""
    size = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    wait(device)
    began = time.perf_counter()
    for _ in range(20):
        a @ b
    wait(device)
    return 20 * 2 * size**3 / (time.perf_counter() - began) / 1e12


def flops_per_token(case: Case, parameters: int) -> float:
    """Forward and backward, of what must be computed: recomputation is not counted, neither is what sharing saves."""
    sizes = TINY if case.tiny else SHAPES[case.shape]
    weights = parameters - sizes["vocab_size"] * sizes["hidden_size"]  # the embedding is looked up
    attention = 2 * sizes["num_hidden_layers"] * sizes["num_attention_heads"] * sizes["head_dim"] * case.example  # causal, forward
    return (6 if case.method == "full" else 4) * weights + 3 * attention


def measure(case: Case) -> dict[str, Any]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    began = time.perf_counter()
    parameters = sum(p.numel() for p in build(case, torch.device("meta")).parameters())
    found = (run_trl if case.peer else run_instil)(case, device)
    seconds, tokens = found.pop("seconds"), found.pop("tokens")
    rate = sum(tokens[2:]) / sum(seconds[2:])
    held = round(torch.cuda.max_memory_allocated() / 2**30, 2) if device.type == "cuda" else None
    peak = matrix_peak(device)
    used = rate * flops_per_token(case, parameters) / 1e12
    return {
        "tokens_per_s": round(rate),
        "tflops": round(used, 2),
        "matrix_peak_tflops": round(peak, 1),
        "share_of_peak": round(used / peak, 3),
        "peak_gib": held,
        "planned_gib": None if case.peer or not case.rounded else round(planned_gib(case), 2),
        "first_step_s": round(seconds[0], 1),
        "step_s": [round(s, 3) for s in seconds],
        "whole_s": round(time.perf_counter() - began, 1),
        "card": torch.cuda.get_device_name() if device.type == "cuda" else None,
        **found,
    }


def in_a_process(case: Case) -> dict[str, Any]:
    """Forked, so that libraries are imported once; nothing here may touch the GPU before."""
    fork = multiprocessing.get_context("fork")
    receiving, sending = fork.Pipe(duplex=False)
    process = fork.Process(target=measure_and_send, args=(case, sending))
    process.start()
    sending.close()
    try:
        found = receiving.recv() if receiving.poll(LIMIT) else {"failed": f"took longer than {LIMIT} s"}
    except EOFError:
        process.join()
        found = {"failed": f"died with exit code {process.exitcode}"}
    process.kill()
    process.join()
    return found


def measure_and_send(case: Case, sending: Connection) -> None:
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # trainers print
            found = measure(case)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        found = {"failed": f"{type(error).__name__}: {str(error).strip()[:300]} ({Folder(where.filename).name}:{where.lineno})"}
    sending.send(found)


def import_libraries() -> None:
    """Not peft, whose bitsandbytes asks the GPU what it is, and not PyTorch's code generator, which starts processes."""
    for name in ("transformers.models.llama.modeling_llama", "torch._dynamo", "torch.nn.attention.flex_attention", "instil.train.loop"):
        importlib.import_module(name)
    assert not torch.cuda.is_initialized()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="a thousandth of the size, results not kept")
    parser.add_argument("--only", help="cases whose name begins so; several by |")
    parser.add_argument("--seconds", type=float, default=600, help="begin no case after so long")
    parser.add_argument("--price", type=float, default=PRICE, help="USD an hour of this card")
    knobs = parser.parse_args()
    if not knobs.tiny and not torch.cuda.is_available():
        raise SystemExit("there is no GPU here: --tiny tries the script, nothing else")
    import_libraries()
    began = time.monotonic()
    found: dict[str, Any] = {}
    for name, case in CASES.items():
        if knobs.only and not name.startswith(tuple(knobs.only.split("|"))):
            continue
        if time.monotonic() - began > knobs.seconds:
            break
        small = {"tiny": True, "length": 256, "example": 32, "shared": case.shared // 16, "rows": 2}
        found[name] = in_a_process(replace(case, **small) if knobs.tiny else case)
        print(f"{name:40s} {json.dumps(found[name])}", flush=True)
        if not knobs.tiny:
            keep(found, knobs.price)
    if (alpaca := found.get("7B LoRA, Alpaca's lengths", {})).get("tokens_per_s"):
        hours = ALPACA_TOKENS / alpaca["tokens_per_s"] / 3600
        print(f"Alpaca-52K x 3 epochs on a 7B, extrapolated: {hours:.2f} hours, {hours * knobs.price:.2f} USD at {knobs.price} USD an hour")


def keep(found: dict[str, Any], price: float) -> None:
    """Cases measured on another card, or with other versions, are not kept beside these."""
    from instil.core.run import hardware, versions

    card = next((case["card"] for case in found.values() if "card" in case), None)
    facts = {"card": card, "hardware": hardware(), "versions": versions(), "price_per_hour": price}
    before = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    same = all(before.get(key) == facts[key] for key in ("card", "versions"))
    RESULTS.write_text(json.dumps({**facts, "cases": {**(before["cases"] if same else {}), **found}}, indent=1) + "\n")


if __name__ == "__main__":
    main()
