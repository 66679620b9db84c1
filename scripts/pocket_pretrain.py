"""Make the built-in base model: `python scripts/pocket_pretrain.py --work FOLDER`; copy FOLDER/model to src/instil/pocket/model.

The story of the run: a byte-level BPE tokenizer is trained on a sample of the pocket world's prose, a small Llama reads that prose for
so many steps, and what it knows is asked as it goes. An interrupted run continues from its last checkpoint when started again. The
learning rate is constant after its warm-up and falls over the last `--decay` of the steps, so steps can be added before the fall begins.
Long windows are mixed in while it falls: a last phase of long windows alone took back a third of what the model could (after 6,000 short
steps, 200 long ones at a twentieth of the rate: held-out loss 0.98 -> 1.11, held-out prompts answered 72 -> 56 %).

The shipped model was made in several runs, each reading on after the one before; its card has their flags.
"""

import argparse
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AttentionInterface, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from instil.batch.trie import Row
from instil.pocket.prose import document
from instil.train.checkpoint import State
from instil.train.loop import Every, train
from instil.train.objectives import Loss

SEED = 20260
HELD_OUT_SEED = 7
VOCABULARY = 3072
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
SPLIT = r" ?\p{Lu}?[\p{Ll}\p{M}]+| ?\p{Lu}|\p{N}| ?[^\s\p{L}\p{N}]+|\s*[\r\n]+|\s+(?!\S)|\s+"
"""Digits stand alone, and so does every letter of a word in capitals: to write in capitals is then to spell, not a second vocabulary.

The last three parts cut white space as llama.cpp can. Until step 15,700 they were `\\s+`, so the shipped model has read two blanks before a
word as one token."""
WINDOW, WINDOWS, ROWS = 256, 16, 2
"""A step reads ROWS x WINDOWS windows of WINDOW tokens (8,192). On two cores 16 windows a pass were fastest (8: -9 %, 32: -3 %)."""
DOCUMENTS_PER_STEP = 1000
WARMUP = 60
PART_FROM = (0, 1156, 4000, 4823, 6089, 8000, 9471, 15700, 18700, 23200)
"""Step from which each part of the corpus is read; see `prose.PARTS`."""


def make_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Byte-level BPE of 3,072 entries, trained on 60,000 pages."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(SPLIT), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=list(SPECIAL), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator((document(SEED + 1, i, part=0) for i in range(60_000)), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=SPECIAL[0], pad_token=SPECIAL[0], clean_up_tokenization_spaces=False
    )
    fast.add_special_tokens({"additional_special_tokens": list(SPECIAL[1:])})
    fast.model_max_length = 512
    fast.save_pretrained(folder)
    return fast


def make_model() -> LlamaForCausalLM:
    """3.2 million parameters. Three heads of 64: attention costs a CPU half of what six heads of 32 cost, and lost nothing."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=3,
        num_key_value_heads=3,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
        initializer_range=0.05,
    )
    torch.manual_seed(SEED)
    return LlamaForCausalLM(config)


@torch.no_grad()
def reserve(model: Any, line_break: int) -> None:
    """Tokens that were never read begin between <|endoftext|> and the line break, which both end something: as noise they upset what
    follows, as copies of the first they hide it, and as copies of the second they would be written in its place."""
    embeddings = model.get_input_embeddings().weight
    embeddings[1 : len(SPECIAL)] = (embeddings[0] + embeddings[line_break]) / 2


class Both(torch.optim.Optimizer):
    """Muon (Jordan 2024) for the matrices inside the blocks, AdamW for embeddings and norms, stepped as one."""

    def __init__(self, model: torch.nn.Module, rate: float) -> None:
        matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name and "lm_head" not in name]
        inside = {id(p) for p in matrices}
        others = [p for p in model.parameters() if id(p) not in inside]
        self.parts = (
            torch.optim.Muon(matrices, lr=rate, weight_decay=0.01, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.97), weight_decay=0.0, fused=True),
        )

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        return [group for part in self.parts for group in part.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none)

    def step(self) -> None:  # type: ignore[override]
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        return {str(i): part.state_dict() for i, part in enumerate(self.parts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for i, part in enumerate(self.parts):
            part.load_state_dict(state[str(i)])


def pages(seed: int, step: int) -> Iterator[str]:
    index, part = step * DOCUMENTS_PER_STEP, sum(step >= first for first in PART_FROM) - 1
    while True:
        yield document(seed, index, part)
        index += 1


def rows_of(tokenizer: Tokenizer, seed: int, step: int, windows: Sequence[int] = (WINDOW,) * ROWS) -> list[Row]:
    """One row of a step per entry of `windows`: pages one after another, each ended by <|endoftext|>. A pure function of (seed, step)."""
    size = WINDOW * WINDOWS
    stream: list[int] = [0]
    source = pages(seed, step)
    while len(stream) < len(windows) * size:
        for encoding in tokenizer.encode_batch([next(source) for _ in range(32)]):
            stream += [*encoding.ids, 0]
    tokens = np.array(stream[: len(windows) * size], dtype=np.int64).reshape(-1, size)
    return [in_windows(row, window) for row, window in zip(tokens, windows, strict=True)]


def in_windows(tokens: np.ndarray, window: int) -> Row:
    """A row cut into windows that do not see each other."""
    starts = np.arange(0, len(tokens), window)
    positions = np.arange(len(tokens)) % window
    predicts = np.flatnonzero(positions != window - 1)
    nodes = np.stack([starts, starts + window, np.full_like(starts, -1)], axis=1)
    ends = starts.repeat(window) + window
    return Row(tokens, positions, ends, nodes, predicts, tokens[predicts + 1], np.ones(len(predicts)), ())


def causal(module: torch.nn.Module, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: object, scaling: float, **_: object) -> Any:
    """Attention written out: compiled, for heads of 64 over 256 tokens, it beats a CPU's fused kernel (11.5k against 8.9k tokens/s)."""
    length = q.shape[2]
    scores = (q @ k.transpose(-1, -2)) * scaling
    allowed = torch.ones(length, length, dtype=torch.bool, device=q.device).tril()
    weights = scores.float().masked_fill(~allowed, -1e9).softmax(-1).to(v.dtype)
    return (weights @ v).transpose(1, 2).contiguous(), None


def language_modelling(compiled: bool) -> Callable[[torch.nn.Module, Row], Loss]:
    """Cross-entropy of every next token of every window."""

    def total(model: Any, tokens: torch.Tensor) -> torch.Tensor:
        hidden = model.model(input_ids=tokens, use_cache=False).last_hidden_state[:, :-1]
        return F.cross_entropy(model.lm_head(hidden).flatten(0, 1).float(), tokens[:, 1:].flatten(), reduction="sum")

    run = torch.compile(total, dynamic=False) if compiled else total

    def objective(model: torch.nn.Module, row: Row) -> Loss:
        window = int(row.nodes_N3[0, 1])
        tokens = torch.from_numpy(row.tokens_T).view(-1, window).to(next(model.parameters()).device)
        return Loss(run(model, tokens), float(len(row.targets_S)), {})

    return objective


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints and the log")
    parser.add_argument("--steps", type=int, default=12_000, help="steps of 8,192 tokens")
    parser.add_argument("--after", type=Path, help="a model to go on from (its tokenizer too), as if it had read the steps before --first")
    parser.add_argument("--first", type=int, default=0, help="the step to begin at")
    parser.add_argument("--decay", type=float, default=0.3, help="share of this run's steps over which the rate falls")
    parser.add_argument("--rate", type=float, default=8e-3)
    parser.add_argument("--long", type=int, default=1000, help="last steps, half of whose windows have 512 tokens")
    parser.add_argument("--eager", action="store_true", help="do not compile")
    knobs = parser.parse_args()
    run(knobs)


def run(knobs: argparse.Namespace) -> None:
    knobs.work.mkdir(parents=True, exist_ok=True)
    folder = knobs.work / "tokenizer"
    known = folder if folder.exists() else knobs.after
    fast = PreTrainedTokenizerFast.from_pretrained(known) if known else make_tokenizer(folder)
    tokenizer = fast.backend_tokenizer
    device = "cuda" if torch.cuda.is_available() else "cpu"
    AttentionInterface.register("causal", causal)
    model: Any = LlamaForCausalLM.from_pretrained(knobs.after, dtype=torch.float32) if knobs.after else make_model()
    model.to(device)
    model.config._attn_implementation = "causal" if device == "cpu" else "sdpa"
    optimizer = Both(model, knobs.rate)
    state, last = State(step=knobs.first), knobs.work / "last.pt"
    if last.exists():
        kept = torch.load(last, weights_only=True)
        model.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
        state = State(step=kept["step"])
    ends = {"now": False}
    signal.signal(signal.SIGTERM, lambda *_: ends.update(now=True))
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(fast)} entries, step {state.step} of {knobs.steps}", flush=True)
    state = read(knobs, model, optimizer, tokenizer, state, device, lambda: ends["now"])
    if state.step == knobs.steps:
        final = knobs.work / "model"
        model.config._attn_implementation = "sdpa"
        reserve(model, fast.encode("\n")[0])
        model.to(torch.bfloat16).save_pretrained(final)
        fast.save_pretrained(final)
        print(f"written: {final}", flush=True)


def read(
    knobs: argparse.Namespace,
    model: LlamaForCausalLM,
    optimizer: Both,
    tokenizer: Tokenizer,
    state: State,
    device: str,
    stop: Callable[[], bool],
) -> State:
    objective = language_modelling(not knobs.eager)
    held_out = rows_of(tokenizer, HELD_OUT_SEED, PART_FROM[-1], (WINDOW,) * 6)
    log = (knobs.work / "log.jsonl").open("a")
    began = time.monotonic()

    def rate_at(step: int) -> float:
        left = (knobs.steps - step) / (knobs.decay * (knobs.steps - knobs.first))
        return float(knobs.rate) * min(1.0, (step - knobs.first + 1) / WARMUP, left)

    def report(record: dict[str, Any]) -> None:
        print(json.dumps(record), file=log, flush=True)
        if "held_out" in record or record["step"] % 20 == 0:
            print(
                f"{time.monotonic() - began:7.0f} s",
                {k: v for k, v in record.items() if k in ("step", "loss", "held_out", "gradient_norm")},
                flush=True,
            )

    def save(state: State) -> None:
        kept = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": state.step}
        torch.save(kept, knobs.work / "new.pt")
        os.replace(knobs.work / "new.pt", knobs.work / "last.pt")

    @torch.no_grad()
    def evaluate(model: torch.nn.Module) -> dict[str, float]:
        found = [objective(model, row) for row in held_out]
        return {"loss": sum(float(loss.total) for loss in found) / sum(loss.weight for loss in found)}

    return train(
        model,
        state=state,
        steps=knobs.steps,
        rows_at=lambda step: rows_of(tokenizer, SEED, step, (WINDOW, 2 * WINDOW) if step >= knobs.steps - knobs.long else (WINDOW,) * ROWS),
        objective=objective,
        optimizer=optimizer,
        rate_at=rate_at,
        seed=SEED,
        every=Every(evaluate=100, checkpoint=100),
        evaluate=evaluate,
        save=save,
        report=report,
        where=lambda step: f"pages from {step * DOCUMENTS_PER_STEP}",
        stop=stop,
        autocast=lambda: torch.autocast(device, dtype=torch.bfloat16),
    )


if __name__ == "__main__":
    main()
