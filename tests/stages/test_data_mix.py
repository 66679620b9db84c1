"""Mixtures through whole folders: shares, hold-out, purge, order."""

import json
from collections import Counter

import pytest

from instil.core.errors import UserError
from instil.stages.data_mix import mix_rows
from tests.stages.datasets import jsonl, numbered, pair, run, said


@pytest.fixture
def sources(write):
    return write("big.jsonl", *numbered(80, task="count")), write(
        "small.jsonl", *(pair(f"Spell word {n}.", f"w-{n}", task="spell") for n in range(20))
    )


def test_a_cap_and_a_temperature(sources, tmp_path):
    result, made = run(mix_rows, "mix", tmp_path / "out", *sources, cap="20 rows", budget="20 rows")
    assert Counter(row.value.task for row in made.rows()) == {"count": 10, "spell": 10}
    assert result.tally.outcomes == {"kept": 20, "not selected": 80}
    plan = json.loads((made.path / "plan.json").read_text())
    assert sum(draw["rows"] for draw in plan["draws"]) == 20 and plan["sentences"]


def test_weights_by_short_names_repeat_rows(sources, tmp_path):
    result, made = run(mix_rows, "mix", tmp_path / "out", *sources, weight={"big": 1.0, "small.jsonl": 3.0}, budget="80 rows")
    assert Counter(row.value.task for row in made.rows()) == {"count": 20, "spell": 60}
    assert made.manifest["written"] == 80 and result.tally.outcomes["kept"] == 40
    assert any("duplicates: keep" in note for note in result.notes)
    with pytest.raises(UserError, match="source 'bog': there is none; known: "):
        run(mix_rows, "mix", tmp_path / "none", *sources, weight={"bog": 1.0})


def test_held_out_tasks_and_what_is_near_them(write, tmp_path):
    question = (
        "Describe in one long sentence how the old lighthouse keeper climbs his tower every evening of the year, what he carries, "
        "what he sees from the windows of the stairs, and what he does when he has come to the top of it"
    )
    answer = (
        "Slowly and with a lamp in his hand he climbs two hundred steps while the wind shakes every window pane, sees the sea grow "
        "dark below and the boats come home, and at the top he lights the great lamp and sits down to his soup"
    )
    rows = [pair(question, answer, task="held"), pair(question + " now", answer + " hard", task="other"), *numbered(10, task="other")]
    result, made = run(mix_rows, "mix", tmp_path / "out", write("a.jsonl", *rows), hold_tasks=["held"])
    assert [(fate.outcome, fate.reason) for fate in made.fates()][:2] == [("held out", "task"), ("duplicate", "near_held_out")]
    assert [record["task"] for record in jsonl(made.path / "heldout.jsonl")] == ["held"]
    assert result.tally.outcomes["kept"] == 10
    with pytest.raises(UserError, match="cannot hold out task 'hold'"):
        run(mix_rows, "mix", tmp_path / "none", tmp_path / "a.jsonl", hold_tasks=["hold"])


def test_the_line_is_drawn_by_what_is_a_row_s_own(write, tmp_path):
    """Facts under a definition that held-out rows have, too, are no leak; another spelling of a held-out row is, also where a row to train
    has it, too."""
    asked = (
        "Which money do people pay with in the country that is named below? Give the name of the currency and nothing else at all. Country"
    )
    rows = [pair(f"{asked}: Land{n}", "Euro", task="held" if n < 20 else "other") for n in range(60)]
    copies = [pair(f"{asked.upper()}{sign} Land3", f"Euro{sign}", task="other") for sign in ("!", "?", ";")]
    _, made = run(mix_rows, "mix", tmp_path / "out", write("a.jsonl", *copies[:2], *rows, copies[2]), hold_tasks=["held"])
    purged = [(number, fate.other) for number, fate in enumerate(made.fates()) if fate.reason == "near_held_out"]
    assert [number for number, _ in purged] == [0, 1, 62] and len({other for _, other in purged}) == 1


def test_the_order_is_the_seed_s(sources, tmp_path):
    orders = [
        said(run(mix_rows, "mix", tmp_path / f"{n}", *given, seed=seed)[1])
        for n, (given, seed) in enumerate([(sources, 1), (sources[::-1], 1), (sources, 2)])
    ]
    assert orders[0] == orders[1] != orders[2] and sorted(orders[0]) == sorted(orders[2])
    assert orders[0] != sorted(orders[0])


def test_stages_from_a_file(sources, tmp_path):
    stages = [{"name": "first", "share": 0.5, "sources": ["small"]}, {"name": "second", "share": 0.5}]
    _, made = run(mix_rows, "mix", tmp_path / "out", *sources, stages=stages, budget="20 rows")
    assert {row.value.task for row in list(made.rows())[:10]} == {"spell"}
    assert {row.value.task for row in list(made.rows())[10:]} == {"spell", "count"}


def test_stages_are_written_on_the_rows(sources, tmp_path):
    """A row drawn in both stages stands there once for each; whatever it had for a stage before is replaced."""
    stages = [{"name": "first", "share": 0.25, "sources": ["small"]}, {"name": "then", "share": 0.75}]
    result, made = run(mix_rows, "mix", tmp_path / "out", *sources, stages=stages, budget="80 rows")
    rows = jsonl(made.path / "rows.jsonl")
    assert [row["stage"] for row in rows] == [1] * 20 + [2] * 60
    assert {row["task"] for row in rows[:20]} == {"spell"} and {row["task"] for row in rows[20:]} == {"spell", "count"}
    assert any("`stage: by row`" in note for note in result.notes)
    _, again = run(mix_rows, "mix", tmp_path / "again", made.path, stages=[{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5}])
    assert Counter(row["stage"] for row in jsonl(again.path / "rows.jsonl")) == {1: 40, 2: 40}
    _, plain = run(mix_rows, "mix", tmp_path / "plain", *sources)
    assert not any("stage" in row for row in jsonl(plain.path / "rows.jsonl"))


def test_rows_shown_as_worked_examples_stay_to_train(write, tmp_path):
    rows = [pair(f"Question {n}?", f"Answer {n}.", shown_as_example=n % 4 == 0) for n in range(40)]
    _, made = run(mix_rows, "mix", tmp_path / "out", write("a.jsonl", *rows), hold_rows="100 rows", purge=None)
    assert len(jsonl(made.path / "heldout.jsonl")) == 30
    assert all(row["shown_as_example"] for row in jsonl(made.path / "rows.jsonl"))
