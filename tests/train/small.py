"""The loop on a tiny float64 model: what several test files of the room share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from transformers import PreTrainedModel

from instil.batch.trie import Row, lay_out
from instil.core.recipe import Train
from instil.core.values import Path
from instil.model.attention import tree_attention
from instil.train.checkpoint import State
from instil.train.loop import Every, train
from instil.train.objectives import supervised
from instil.train.optimizer import make_optimizer
from tests.model import tiny

ONE_ROW = 10_000


def model_and_optimizer(**changes: Any) -> tuple[PreTrainedModel, torch.optim.Optimizer]:
    model = tiny.build("llama", **changes)
    return model, make_optimizer(model, Train(weight_decay=0.01), 1e-2)


def paths_at(number: int) -> list[Path]:
    return tiny.step(seed=number)


def rows_of(max_tokens: int = ONE_ROW, share: bool = True) -> Callable[[int], Sequence[Row]]:
    return lambda number: lay_out(paths_at(number), max_tokens, share=share)


def weights_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


@dataclass
class Trained:
    """What a run of the loop left: state, every record, the states that were saved."""

    state: State = field(default_factory=State)
    records: list[dict[str, Any]] = field(default_factory=list)
    saved: list[State] = field(default_factory=list)

    @property
    def steps(self) -> list[dict[str, Any]]:
        return [{k: v for k, v in record.items() if k != "speed"} for record in self.records if "loss" in record]

    @property
    def held_out(self) -> dict[int, float]:
        return {record["step"]: record["held_out"]["loss"] for record in self.records if "held_out" in record}


def run(model: torch.nn.Module, optimizer: torch.optim.Optimizer, steps: int = 3, **changes: Any) -> Trained:
    """The loop with everything plain; `changes` are its arguments. What was reported and saved before an error is in its `trained`."""
    trained = Trained()
    plain = {
        "state": State(),
        "steps": steps,
        "rows_at": rows_of(),
        "objective": supervised(tree=True),
        "optimizer": optimizer,
        "rate_at": lambda number: 1e-2 / (1 + number),
        "seed": 0,
        "every": Every(evaluate=1000, checkpoint=1000),
        "evaluate": None,
        "save": trained.saved.append,
        "report": trained.records.append,
        "where": lambda number: f"rows.jsonl:{number}",
    }
    with tree_attention(model):
        try:
            trained.state = train(model, **{**plain, **changes})
        except Exception as error:
            error.trained = trained  # type: ignore[attr-defined]
            raise
    return replace(trained)


def step(number: int, loss: float = 1.0) -> dict[str, Any]:
    """A step's record, as the loop reports it."""
    speed = {"seconds": 0.5, "tokens_per_second": 20.0, "supervised_per_second": 10.0}
    counts = {"tokens": 10, "supervised": 5}
    return {"step": number, "loss": loss, "gradient_norm": 0.1, "learning_rate": 1e-3, **counts, "speed": speed}


def held(number: int, loss: float = 2.0) -> dict[str, Any]:
    """A held-out record."""
    return {"step": number, "held_out": {"loss": loss, "accuracy": 0.5}, "speed": {"seconds": 0.1}}
