"""What data verbs write is what a run reads: prepared as the files themselves would be, repeated rows and held-out files included."""

from collections import Counter

import pytest

from instil.core.errors import UserError
from instil.stages.data_mix import mix_rows
from instil.stages.gather import check_files, read_set
from instil.stages.prepare import prepare
from tests.fakes import alpaca_rows, message_rows
from tests.stages.datasets import jsonl, keep_all, numbered, run
from tests.stages.rows import examples, outcomes, trained, written


def test_a_dataset_trains_as_its_source_does(write, tmp_path, recipe):
    """Alpaca rows keep instruction and input apart through a dataset, so that a template which joins them in its own way still can."""
    for name, rows in (("alpaca", alpaca_rows()), ("messages", message_rows())):
        file = write(f"{name}.jsonl", *rows)
        _, made = run(keep_all, "validate", tmp_path / name, file)
        for template in ("own", "alpaca"):
            data = prepare(recipe(made.path, template=template))
            assert examples(data) == examples(prepare(recipe(file, template=template))) and len(examples(data)) == len(rows)
            assert str(data.where(0)).startswith(str(made.path / "rows.jsonl")), "not its ledger, not its manifest"
            assert set(outcomes(data)) == {"kept"}


def test_a_mixture_with_repeated_rows_trains_on_each_as_often(write, tmp_path, recipe):
    big, small = write("big.jsonl", *numbered(12, task="count")), write("small.jsonl", *numbered(4, 100, task="rare"))
    _, made = run(mix_rows, "mix", tmp_path / "mixed", big, small, weight={"big": 1.0, "small": 1.0}, budget="24 rows")
    texts = [row.value.messages[0].content for row in made.rows()]
    assert Counter(Counter(texts).values()) == {1: 12, 3: 4}
    once, each = (prepare(recipe(made.path, duplicates=way, train__epochs=1, train__batch=4)) for way in ("drop", "keep"))
    assert Counter(outcomes(once)) == {"kept": 16, "duplicate": 8} and Counter(outcomes(each)) == {"kept": 24}
    assert sorted(Counter(trained(each)).values()) == [1] * 12 + [3] * 4
    contexts = [context for ((context, _),) in examples(each)]
    assert contexts == [written(("user", text)) for text in texts], "in the plan's order"


def test_what_a_mixture_holds_out_is_a_set_to_evaluate_on(write, tmp_path, recipe):
    file = write("a.jsonl", *numbered(30, task="count"), *numbered(5, 200, task="held"))
    _, made = run(mix_rows, "mix", tmp_path / "mixed", file, hold_tasks=["held"], hold_rows="4 rows")
    held = made.path / "heldout.jsonl"
    asked = recipe(made.path, evaluate__sets={"unseen": str(held)})
    check_files(asked.evaluate)
    said: list[str] = []
    prompts = read_set("unseen", asked.evaluate.sets["unseen"], None, said.append)
    assert len(prompts) == 9 == len(jsonl(held)) and said == []
    assert Counter(prompt.task for prompt in prompts) == {"held": 5, "count": 4} and all(prompt.answer for prompt in prompts)
    contexts = [context for row in examples(prepare(asked)) for context, _ in row]
    assert len(contexts) == 26 and not [p for p in prompts if any(p.text in context for context in contexts)]


def test_a_mixture_in_stages_trains_in_stages(write, tmp_path, recipe):
    """Stage after stage, each shuffled by the run's seed, its rows as often as there are epochs; the same batches whoever asks first."""
    easy, hard = write("easy.jsonl", *numbered(8)), write("hard.jsonl", *numbered(24, 100))
    stages = [{"name": "easy", "share": 0.25, "sources": ["easy"]}, {"name": "hard", "share": 0.75, "sources": ["hard"]}]
    _, made = run(mix_rows, "mix", tmp_path / "mixed", easy, hard, stages=stages)
    source = {"path": str(made.path), "stage": "by row"}

    def orders(**knobs):
        data = prepare(recipe(source, train__batch=5, **knobs))
        steps = [data.rows_at(step) for step in reversed(range(data.num_steps()))][::-1]
        return [row for step in steps for _, row in step]

    rows = orders(train__epochs=2)
    assert sorted(rows[:16]) == sorted([*range(8)] * 2) and sorted(rows[16:]) == sorted([*range(8, 32)] * 2)
    assert rows == orders(train__epochs=2) and rows != orders(train__epochs=2, seed=1)
    assert rows[:8] != rows[8:16] and rows[16:40] != sorted(rows[16:40])
    assert [row < 8 for row in orders(train__steps=8)] == [True] * 10 + [False] * 30, "steps are shared out as the rows are"


def test_sources_are_stages_and_rows_without_one_are_refused(write, recipe):
    easy, hard = write("easy.jsonl", *numbered(6)), write("hard.jsonl", *numbered(6, 100))
    data = prepare(recipe({"path": str(hard), "stage": 2}, {"path": str(easy), "stage": 1}, train__batch=4, train__epochs=1))
    assert [source for step in range(3) for source, _ in data.rows_at(step)] == [1] * 6 + [0] * 6
    with pytest.raises(UserError, match="easy.jsonl:1 has no `stage`"):
        prepare(recipe({"path": str(easy), "stage": "by row"}))
