"""What the recipe's choices change in a whole run, and what they must not change."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tests.fakes import alpaca_rows, write_rows
from tests.roads.forks import Done, Forks
from tests.roads.runs import SHORT, command, held_out_of, ledger_of, losses_of, manifest_of, records_of

Run = tuple[Path, Done]


@pytest.fixture
def train(forks: Forks, house: Path, tmp_path: Path) -> Any:
    """A short run under the knobs given; its folder and how it ended."""

    def run(model: str = "model", **knobs: object) -> Run:
        name = f"run{len(list(tmp_path.glob('runs/*')))}"
        done = forks.run(*command(house, model, **{**SHORT, **knobs}, name=name), cwd=tmp_path, expect=0)
        assert done.err == ""
        return tmp_path / "runs" / name, done

    return run


@pytest.mark.parametrize("method", ["full", "lora"])
def test_packing_changes_nothing_but_the_work(train: Any, method: str) -> None:
    tree, _ = train(train__packing="tree", method=method)
    alone, done = train(train__packing="alone", method=method)
    assert losses_of(tree) == pytest.approx(losses_of(alone), rel=1e-4)
    assert held_out_of(tree) == pytest.approx(held_out_of(alone), rel=1e-4)
    counts = [[(r["tokens"], r["supervised"]) for r in records_of(run) if "loss" in r] for run in (tree, alone)]
    assert all(packed[0] < single[0] and packed[1] <= single[1] for packed, single in zip(*counts, strict=True))
    assert "one example per pass" in done.out and manifest_of(alone)["probe"]["mode"] == "alone"


@pytest.mark.parametrize("method", ["full", "lora"])
def test_recomputed_activations_change_nothing(train: Any, method: str) -> None:
    found = [train(train__checkpointing=choice, method=method, lora__dropout=0.1 * (method == "lora")) for choice in ("on", "off", "auto")]
    assert records_of(found[0][0]) == records_of(found[1][0]), "to the last bit: a resumed run may decide otherwise, and is the same run"
    assert [("activations recomputed" in done.out) for _, done in found] == [True, False, False], "auto: a tiny model needs none"


def test_a_base_in_four_bits(train: Any) -> None:
    """The adapter is as LoRA's, and nearly as good: what it is put on is rounded."""
    pytest.importorskip("bitsandbytes")
    plain, _ = train(method="lora")
    rough, done = train(method="qlora")
    assert "on a base in four bits" in done.out
    assert losses_of(rough) != losses_of(plain) and losses_of(rough) == pytest.approx(losses_of(plain), rel=0.2)
    shapes = [{name: t.shape for name, t in load_file(run / "model/adapter_model.safetensors").items()} for run in (plain, rough)]
    assert shapes[0] == shapes[1]


def test_weights_in_bf16_and_states_in_eight_bits(train: Any, house: Path) -> None:
    """Nearly the same run; what it leaves is a plain model in bf16, and the checkpoint resumes (tests/train/test_lean.py: bit for bit)."""
    pytest.importorskip("bitsandbytes")
    plain, _ = train(train__precision="bf16")
    small, done = train(train__weights="bf16", train__optimizer="adamw_8bit", train__precision="auto")
    assert "full, weights in bf16, bfloat16 on cpu" in done.out and manifest_of(small)["precision"] == "bfloat16"
    assert losses_of(small) != losses_of(plain) and losses_of(small) == pytest.approx(losses_of(plain), rel=0.05)
    assert held_out_of(small) == pytest.approx(held_out_of(plain), rel=0.05)
    assert {t.dtype for t in load_file(small / "model/model.safetensors").values()} == {torch.bfloat16}
    model = AutoModelForCausalLM.from_pretrained(small / "model")
    assert model.dtype == torch.bfloat16 and model(torch.tensor([[1, 2, 3]])).logits.isfinite().all()
    sizes = [sum(t.nbytes for t in load_file(run / "checkpoints/step-8/optimizer.safetensors").values()) for run in (plain, small)]
    assert sizes[1] < 0.7 * sizes[0], "small parts, which this model has many of, keep float32"


def test_ranks_round_alike(train: Any, forks: Forks, house: Path, tmp_path: Path) -> None:
    """Gradients in bf16 are summed over ranks, and every rank rounds its weights by the same bits: else their losses would part."""
    knobs = {**SHORT, "train__max_tokens": 256, "train__weights": "bf16", "train__precision": "auto"}
    alone, _ = train(**{key: value for key, value in knobs.items() if key not in SHORT or SHORT[key] != value})
    forks.run(*command(house, **knobs, name="ranks"), cwd=tmp_path, ranks=2, expect=0)
    assert losses_of(tmp_path / "runs/ranks") == pytest.approx(losses_of(alone), rel=0.01)
    assert held_out_of(tmp_path / "runs/ranks") == pytest.approx(held_out_of(alone), rel=0.01)


def test_row_size_changes_nothing(train: Any) -> None:
    wide, _ = train()
    narrow, _ = train(train__max_tokens=256)
    assert losses_of(wide) == pytest.approx(losses_of(narrow), rel=1e-4)


def test_precision(train: Any) -> None:
    exact, _ = train()
    rough, done = train(train__precision="bf16")
    assert (manifest_of(exact)["precision"], manifest_of(rough)["precision"]) == ("float32", "bfloat16")
    assert losses_of(rough) != losses_of(exact)
    assert losses_of(rough) == pytest.approx(losses_of(exact), rel=0.03)
    assert {str(t.dtype) for t in load_file(rough / "model/model.safetensors").values()} == {"torch.float32"}, "weights stay in fp32"
    assert "bfloat16 on cpu" in done.out


def test_average(train: Any) -> None:
    """The first held-out loss is of the same model on the same rows, averaged differently."""
    token, example = (held_out_of(train(train__average=choice)[0])[0] for choice in ("token", "example"))
    assert token != example and token == pytest.approx(example, rel=0.2)


def test_neftune(train: Any) -> None:
    """Noise while training, none while evaluating: the first held-out loss is the base's, to the last bit."""
    quiet, noisy, again = (train(train__neftune=alpha)[0] for alpha in (0, 20, 20))
    assert held_out_of(noisy)[0] == held_out_of(quiet)[0]
    assert losses_of(noisy)[0] != losses_of(quiet)[0]
    assert losses_of(noisy) == losses_of(again)


def test_seed(train: Any) -> None:
    first, second = (train(seed=seed)[0] for seed in (0, 1))
    held = [[e["line"] for e in ledger_of(run) if e["outcome"] == "held out"] for run in (first, second)]
    assert held[0] != held[1] and losses_of(first) != losses_of(second)


def test_steps(train: Any) -> None:
    assert [len(losses_of(train(train__steps=steps)[0])) for steps in (3, 17)] == [3, 17], "17 are more than an epoch"


def test_half_an_epoch(forks: Forks, house: Path, tmp_path: Path) -> None:
    """53 rows to train: 27 of them, in seven steps, the last of three rows."""
    knobs = {key: value for key, value in SHORT.items() if key != "train__steps"}
    forks.run(*command(house, **knobs, train__epochs=0.5, name="run"), cwd=tmp_path, expect=0)
    assert len(losses_of(tmp_path / "runs/run")) == 7


def test_keep_best(train: Any) -> None:
    """At a rate that spoils the model in the end, `best` takes the weights of the lowest held-out loss, and says what it took."""
    knobs = {"train__evaluate_every": 1, "train__learning_rate": 0.5, "train__schedule": "constant"}
    best, done = train(**knobs, train__keep="best")
    last, _ = train(**knobs, train__keep="last")
    held = held_out_of(best)
    step = min(held, key=lambda number: held[number])
    assert held == held_out_of(last) and 0 < step < 8
    assert {p.name for p in (best / "checkpoints").iterdir()} == {f"step-{step}", "step-8"}
    for run, kept in ((best, step), (last, 8)):
        weights, model = load_file(run / f"checkpoints/step-{kept}/weights.safetensors"), load_file(run / "model/model.safetensors")
        assert all((weights[name] == model[name]).all() for name in model)
    assert f"kept the weights of step {step}, which had the lowest held-out loss" in done.out
    assert f"loss {held[0]:.3f} before, {held[step]:.3f} after" in done.out


def test_best_is_the_base_itself(train: Any) -> None:
    run, done = train(train__keep="best", train__learning_rate=30, train__schedule="constant", train__steps=2)
    assert held_out_of(run)[0] == min(held_out_of(run).values())
    assert "no step had a lower held-out loss than the base model: the last step's weights are kept" in done.out


def test_nothing_held_out(train: Any) -> None:
    run, done = train(holdout__examples=0)
    assert not held_out_of(run) and len(losses_of(run)) == 8
    assert "held-out" not in done.out and "held out" not in done.out
    assert Counter(e["outcome"] for e in ledger_of(run)) == {"kept": 56}


def test_weight_and_take_of_a_source(forks: Forks, house: Path, tmp_path: Path) -> None:
    """16 rows at weight 2 and half of 40 at weight 1: an epoch of 52 rows, which is 13 steps of 4."""
    sources = f"[{{path: {house / 'alpaca.jsonl'}, take: 50%}}, {{path: {house / 'talk.jsonl'}, weight: 2}}]"
    lines = [f"model: {house / 'model'}", f"data: {sources}", "holdout: {examples: 0}", "train: {epochs: 1, batch: 4, precision: fp32}"]
    (tmp_path / "mixed.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    forks.run("train", "mixed.yaml", cwd=tmp_path, expect=0)
    run = tmp_path / "runs/mixed"
    outcomes = Counter((Path(e["file"]).name, e["outcome"]) for e in ledger_of(run))
    assert outcomes == {("alpaca.jsonl", "kept"): 20, ("alpaca.jsonl", "not taken"): 20, ("talk.jsonl", "kept"): 16}
    assert len(losses_of(run)) == 13
    assert "20 not taken" in forks.run("inspect", "mixed.yaml", cwd=tmp_path, expect=0).out


def test_a_rows_file_twice_is_duplicates(forks: Forks, house: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "again.jsonl", alpaca_rows())
    done = forks.run(*command(house, data=["alpaca.jsonl", tmp_path / "again.jsonl"], **SHORT, name="run"), cwd=tmp_path)
    assert done.code == 2 and "no row of" in done.err and "duplicate" in done.err
    knobs = {**SHORT, "duplicates": "keep"}
    forks.run(*command(house, data=["alpaca.jsonl", tmp_path / "again.jsonl"], **knobs, name="run"), cwd=tmp_path, expect=0)


def test_two_ranks_are_one_run(train: Any, forks: Forks, house: Path, tmp_path: Path) -> None:
    """As torchrun starts them; one writes, both compute, and the losses are those of one process."""
    alone, _ = train(train__max_tokens=256)
    knobs = {**SHORT, "train__max_tokens": 256}
    done = forks.run(*command(house, **knobs, name="ranks"), cwd=tmp_path, ranks=2, expect=0)
    assert losses_of(tmp_path / "runs/ranks") == pytest.approx(losses_of(alone), rel=1e-4)
    assert held_out_of(tmp_path / "runs/ranks") == pytest.approx(held_out_of(alone), rel=1e-4)
    assert done.out.count("done ") == 1, "one rank speaks"
    assert (tmp_path / "runs/ranks/model/model.safetensors").exists()


@pytest.mark.parametrize("method", ["full", "lora"])
def test_ranks_that_divide_weights_are_one_run(forks: Forks, house: Path, tmp_path: Path, method: str) -> None:
    """FSDP2: the losses, held-out losses and saved model of one process; stopped, and continued by one."""
    knobs = {**SHORT, "method": method, "template": "chatml", "train__neftune": 0}
    forks.run(*command(house, **knobs, name="alone"), cwd=tmp_path, expect=0)
    divided = {**knobs, "train__parallel": "fsdp", "train__keep": "best", "train__evaluate_every": 2}
    done = forks.run(*command(house, **divided, name="ranks"), cwd=tmp_path, ranks=2, expect=0)
    assert "2 ranks, weights divided over 2 (FSDP2)" in done.out
    alone, ranks = tmp_path / "runs/alone", tmp_path / "runs/ranks"
    assert losses_of(ranks) == pytest.approx(losses_of(alone), rel=1e-4)
    name = "model.safetensors" if method == "full" else "adapter_model.safetensors"
    one, other = load_file(alone / "model" / name), load_file(ranks / "model" / name)
    assert one.keys() == other.keys()
    assert all(one[key].shape == other[key].shape for key in one)
