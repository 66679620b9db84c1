"""The loop against a naive one, and what it does when something is wrong."""

from collections.abc import Callable
from pathlib import Path as Folder
from typing import Any

import pytest
import torch

from instil.batch.trie import Row
from instil.core.errors import UserError
from instil.model.attention import tree_attention
from instil.train.checkpoint import State, load_weights, read_state, save_checkpoint
from instil.train.distributed import World
from instil.train.loop import Every, mean_loss, take_step
from instil.train.memory import Autocast
from instil.train.objectives import Loss, Objective, supervised
from tests.model.tiny import Float64, build, gradients, naive_loss
from tests.train.small import ONE_ROW, Trained, model_and_optimizer, paths_at, rows_of, run, weights_of

OFF: Autocast = lambda: torch.autocast("cpu", enabled=False)  # noqa: E731


def naive_loop(steps: int, clip: float) -> tuple[list[float], dict[str, torch.Tensor]]:
    """One example at a time, one division, clipping spelt out, an optimizer that is not fused."""
    model = build("llama")
    grouped = [[p for p in model.parameters() if p.ndim > 1], [p for p in model.parameters() if p.ndim == 1]]
    groups = [{"params": grouped[0], "weight_decay": 0.01}, {"params": grouped[1], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.999), foreach=False, fused=False)
    losses = []
    for number in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 / (1 + number)
        paths = paths_at(number)
        loss = naive_loss(model, paths) / sum(path.weight * path.num_completion for path in paths)
        model.zero_grad()
        loss.backward()
        length = sum(float(p.grad.pow(2).sum()) for p in model.parameters()) ** 0.5
        assert length > clip, "or clipping is not tested"
        for p in model.parameters():
            p.grad *= clip / length
        optimizer.step()
        losses.append(loss.item())
    return losses, weights_of(model)


# One row; a few; eight, one example in each.
@pytest.mark.parametrize(("max_tokens", "share"), [(ONE_ROW, True), (45, True), (ONE_ROW, False)])
def test_any_split_is_the_naive_update(max_tokens: int, share: bool) -> None:
    with Float64():
        losses, expected = naive_loop(3, clip=0.5)
        model, optimizer = model_and_optimizer()
        trained = run(model, optimizer, rows_at=rows_of(max_tokens, share), clip=0.5)
    assert [record["loss"] for record in trained.steps] == pytest.approx(losses, abs=1e-12)
    for name, weight in weights_of(model).items():
        assert float((weight - expected[name]).abs().max()) < 1e-12, name


def test_the_splits_are_different_splits() -> None:
    assert [len(rows_of(*split)(0)) for split in ((ONE_ROW, True), (45, True), (ONE_ROW, False))] == [1, 3, 8]


def test_the_division_is_by_the_weight_of_the_whole_step() -> None:
    """An objective whose sums are all seven times larger changes nothing."""

    def larger(model: torch.nn.Module, row: Row) -> Loss:
        total, weight, metrics = supervised(tree=True)(model, row)
        return Loss(7 * total, 7 * weight, metrics)

    with Float64():
        found = []
        for objective in (supervised(tree=True), larger):
            model, optimizer = model_and_optimizer()
            run(model, optimizer, rows_at=rows_of(45), objective=objective)
            found.append(weights_of(model))
    assert all(torch.allclose(found[0][name], found[1][name], rtol=0, atol=1e-12) for name in found[0])


def one_step(clip: float | None) -> tuple[float, torch.Tensor]:
    """Norm that is reported, and the change of all weights under plain gradient descent of rate 1: minus the gradient that was used."""
    model = build("llama")
    before = weights_of(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    with tree_attention(model):
        rows = rows_of()(0)
        result = take_step(model, rows, 0, supervised(tree=True), optimizer, 0, clip, OFF, World(), str)
    return result.norm, torch.cat([(before[name] - p.detach()).flatten() for name, p in model.named_parameters()])


def test_clipping() -> None:
    model = build("llama")
    paths = paths_at(0)
    loss = naive_loss(model, paths) / sum(path.weight * path.num_completion for path in paths)
    gradient = torch.cat([g.flatten() for g in gradients(model, loss).values()])
    length = float(gradient.norm())
    for clip, expected in ((None, gradient), (1.1 * length, gradient), (length / 1.1, gradient / 1.1), (length / 50, gradient / 50)):
        norm, change = one_step(clip)
        assert norm == pytest.approx(length, rel=1e-5), "the norm before clipping is reported"
        assert float((change - expected).norm() / expected.norm()) < 1e-5


def spoilt(at: int, spoil: Callable[[torch.Tensor], torch.Tensor]) -> Objective:
    """The usual objective whose total, in the `at`-th row that it sees, is spoilt."""
    seen = 0

    def objective(model: torch.nn.Module, row: Row) -> Loss:
        nonlocal seen
        seen += 1
        loss = supervised(tree=True)(model, row)
        return loss._replace(total=spoil(loss.total)) if seen == at else loss

    return objective


def test_loss_that_is_no_number(tmp_path: Folder) -> None:
    """The run ends before the update, names step and rows, and leaves the checkpoint of the step before."""
    model, optimizer = model_and_optimizer()

    def save(state: State) -> None:
        save_checkpoint(tmp_path, model, optimizer, state, "recipe")

    with pytest.raises(UserError, match=r"^step 3: the loss is not a finite number; rows: rows\.jsonl:2; try a lower train.learning_rate"):
        run(model, optimizer, steps=5, objective=spoilt(3, lambda total: total * float("nan")), save=save, every=Every(1000, 1))
    after_error = weights_of(model)
    assert read_state(tmp_path / "step-2", "recipe").step == 2
    load_weights(tmp_path / "step-2", model)
    assert all(torch.equal(after_error[name], weight) for name, weight in weights_of(model).items())
    assert not (tmp_path / "step-3").exists()


def test_gradient_that_is_no_number() -> None:
    """Infinite in the backward pass only."""

    class Endless(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, total: torch.Tensor) -> torch.Tensor:
            return total.clone()

        @staticmethod
        def backward(ctx: Any, upstream: torch.Tensor) -> torch.Tensor:
            return upstream * float("inf")

    model, optimizer = model_and_optimizer()
    with pytest.raises(UserError, match="^step 2: the gradient is not a finite number; rows: rows.jsonl:1;"):
        run(model, optimizer, objective=spoilt(2, Endless.apply))


def test_gradient_that_is_zero() -> None:
    model, optimizer = model_and_optimizer()
    with pytest.raises(UserError, match="^step 2: the gradient is exactly zero, nothing would be learned; rows: rows.jsonl:1;") as caught:
        run(model, optimizer, objective=spoilt(2, lambda total: 0 * total))
    trained: Trained = caught.value.trained  # type: ignore[attr-defined]
    assert len(trained.steps) == 1 and not trained.saved


def test_no_parameter_is_used() -> None:
    """What is trained has no part in the loss: no gradient at all, which is a gradient of zero."""
    model, optimizer = model_and_optimizer()
    elsewhere = torch.zeros((), requires_grad=True)
    with pytest.raises(UserError, match="^step 1: the gradient is exactly zero"):
        run(model, optimizer, objective=lambda model, row: Loss(elsewhere * 1, 1.0, {}))


def test_held_out_losses_do_not_disturb() -> None:
    """Bit for bit, with dropout: evaluation draws no number and leaves the model in the mode that it found."""
    found = []
    for every in (1, 1000):
        model, optimizer = model_and_optimizer(attention_dropout=0.3)
        held = rows_of()(99)
        evaluate = mean_loss(held, supervised(tree=True), OFF, World())
        trained = run(model, optimizer, steps=4, evaluate=evaluate, every=Every(every, 1000))
        found.append((weights_of(model), trained))
    (often, often_trained), (seldom, seldom_trained) = found
    assert all(torch.equal(often[name], seldom[name]) for name in often)
    assert often_trained.steps == seldom_trained.steps
    assert list(often_trained.held_out) == [0, 1, 2, 3, 4] and list(seldom_trained.held_out) == [0, 4]
    assert often_trained.held_out[4] == seldom_trained.held_out[4]


def test_dropout_is_on_while_training_and_off_while_evaluating() -> None:
    evaluate = mean_loss(rows_of()(0), supervised(tree=True), OFF, World())
    held = []
    for dropout in (0.0, 0.5):
        model, _ = model_and_optimizer(attention_dropout=dropout)
        with tree_attention(model):
            held.append(evaluate(model.train()))
    assert held[0] == held[1]
    first, second = ([r["loss"] for r in run(*model_and_optimizer(attention_dropout=0.5), seed=s, steps=1).steps] for s in (0, 1))
    assert first != second


def test_held_out_loss_is_the_naive_one() -> None:
    model = build("llama")
    paths = paths_at(5)
    with Float64(), tree_attention(model), torch.no_grad():
        found = mean_loss(rows_of(45)(5), supervised(tree=True), OFF, World())(model)
    with Float64(), torch.no_grad():
        expected = float(naive_loss(model, paths)) / sum(path.weight * path.num_completion for path in paths)
    assert found["loss"] == pytest.approx(expected, abs=1e-12)
    assert 0 <= found["accuracy"] <= 1


def test_random_numbers_belong_to_seed_step_and_row() -> None:
    def drawn(seed: int) -> list[float]:
        found: list[float] = []

        def objective(model: torch.nn.Module, row: Row) -> Loss:
            found.append(float(torch.rand(())))
            return supervised(tree=True)(model, row)

        run(*model_and_optimizer(), objective=objective, rows_at=rows_of(45), seed=seed)
        return found

    assert drawn(0) == drawn(0)
    assert len(set(drawn(0) + drawn(1))) == 2 * len(drawn(0)), "every row of every step of every seed draws its own"


def test_a_stop_ends_in_a_checkpoint() -> None:
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) == 2

    trained = run(*model_and_optimizer(), steps=5, stop=stop)
    assert trained.state == State(step=2) and trained.saved == [State(step=2)]


def test_a_run_in_two_parts_is_the_run() -> None:
    whole, parts = model_and_optimizer(attention_dropout=0.3), model_and_optimizer(attention_dropout=0.3)
    records = run(*whole, steps=4).steps
    first = run(*parts, steps=4, stop=iter([False, True]).__next__)
    second = run(*parts, steps=4, state=first.state)
    assert first.steps + second.steps == records
    assert all(torch.equal(a, b) for a, b in zip(weights_of(whole[0]).values(), weights_of(parts[0]).values(), strict=True))


def test_a_finished_run_does_nothing_more() -> None:
    model, optimizer = model_and_optimizer()
    before = weights_of(model)
    trained = run(model, optimizer, steps=3, state=State(step=3), evaluate=lambda model: {"loss": 1.0})
    assert trained.state == State(step=3) and not trained.records and not trained.saved
    assert all(torch.equal(before[name], weight) for name, weight in weights_of(model).items())


def test_when_it_evaluates_and_saves() -> None:
    """Held out every second step and at both ends; saved every fourth step, at each new best, and at the end."""
    losses = iter([9.0, 8.0, 8.5, 7.0, 7.5])
    trained = run(*model_and_optimizer(), steps=7, every=Every(evaluate=2, checkpoint=4), evaluate=lambda model: {"loss": next(losses)})
    assert trained.held_out == {0: 9.0, 2: 8.0, 4: 8.5, 6: 7.0, 7: 7.5}
    assert [(s.step, s.best_step, s.best_loss) for s in trained.saved] == [(2, 2, 8.0), (4, 2, 8.0), (6, 6, 7.0), (7, 6, 7.0)]


def test_what_a_record_holds() -> None:
    record = run(*model_and_optimizer(), steps=1).records[0]
    assert set(record) == {"step", "loss", "gradient_norm", "learning_rate", "tokens", "supervised", "correct", "speed"}
    row = rows_of()(0)[0]
    assert (record["step"], record["tokens"], record["supervised"]) == (1, len(row.tokens_T), len(row.targets_S))
    assert record["learning_rate"] == 1e-2
    assert set(record["speed"]) == {"seconds", "tokens_per_second", "supervised_per_second"}
