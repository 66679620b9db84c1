import itertools
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from instil.core.errors import UserError
from instil.core.recipe import Source
from instil.data.source import Item, read_source
from instil.data.templated import _shuffled

TEMPLATES = """\
task: capital
templates:
  - {id: ask, input: "What is the capital of {{country}}?", target: "{{capital}}", invert: "Ask a question with the answer {{target}}."}
  - {id: short, input: "{{country}}: capital?", target: "{{capital}}"}
  - {id: back, inverted: true, input: "{{capital}} is the capital of?", target: "{{country}}"}
  - {id: guess, input: "Is it in {{continent}}: {{capital}}?", target: "yes", choices: ["yes", "no"]}
"""
ROWS = [{"country": f"C{n}", "capital": f"P{n}", "continent": "Africa", "note": n} for n in range(60)]


@pytest.fixture
def read(write):
    """read(rows, seed, text, **options) -> items of the rows under the templates."""

    def read(rows: Any = ROWS, seed: int = 0, text: str = TEMPLATES, take: str | None = None, **options: Any) -> list[Item]:
        table = write("rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        options["templates"] = str(write("templates.yaml", text))
        return list(read_source(Source(path=str(table), format="templates", options=options, take=take), lambda _: None, seed))

    return read


def question(item: Item) -> str:
    return item.conversation.messages[0].content


def test_every_phrasing_of_every_row(read):
    items = read(ROWS[:2], phrasings="every")
    assert [item.origin.part for item in items] == [1, 2, 3, 4, 5] * 2
    assert [(i.conversation.messages[0].content, i.conversation.messages[1].content) for i in items[:5]] == [
        ("What is the capital of C0?", "P0"),
        ("Ask a question with the answer P0.", "What is the capital of C0?"),
        ("C0: capital?", "P0"),
        ("P0 is the capital of?", "C0"),
        ("Is it in Africa: P0?", "yes"),
    ]
    extra = items[3].conversation.extra
    assert items[3].conversation.task == "capital"
    assert extra == {
        "continent": "Africa", "note": 0, "template_id": "back", "template": "back", "inverted": True, "references": ["C0"]
    }  # fmt: skip
    assert [i.conversation.extra["inverted"] for i in items[:5]] == [False, True, False, True, False]
    assert items[4].conversation.extra["answer_choices"] == ["yes", "no"]


def test_one_phrasing_is_drawn_by_seed_and_content(read):
    chosen = {i.conversation.extra["note"]: i.conversation.extra["template_id"] for i in read()}
    assert len(chosen) == 60 and len(Counter(chosen.values())) == 5
    mixed = ROWS[:]
    random.Random(1).shuffle(mixed)
    assert chosen == {i.conversation.extra["note"]: i.conversation.extra["template_id"] for i in read(mixed)}
    assert chosen != {i.conversation.extra["note"]: i.conversation.extra["template_id"] for i in read(seed=1)}
    assert [i.origin.part for i in read(ROWS[:3], phrasings=2)] == [1, 2] * 3


def test_without_inverted_templates(read):
    assert {i.conversation.extra["template_id"] for i in read(phrasings="every", inverted=False)} == {"ask", "short", "guess"}


def test_answers_to_choose_from_can_be_added(read):
    asked = {i.conversation.extra["template_id"]: question(i) for i in read(ROWS[:1], phrasings="every", answer_options="add")}
    assert asked["guess"] == "Is it in Africa: P0?\n\nOPTIONS:\n- yes\n- no"
    assert asked["short"] == "C0: capital?"


def test_worked_examples_are_other_rows_in_the_same_words(read):
    items = read(ROWS + ROWS[:5], few_shot="0-3", phrasings="every")
    numbers = Counter()
    for item in items:
        extra, blocks = item.conversation.extra, question(item).split("\n\n")
        numbers[len(blocks) - 1] += 1
        assert len(extra.get("examples_from", [])) == len(blocks) - 1
        assert str(item.origin).partition("#")[0] not in extra.get("examples_from", [])
        if extra["template_id"] == "short":
            *examples, asked = blocks
            shown = [example.split("\n") for example in examples]
            assert all(q == f"C{a[1:]}: capital?" for q, a in shown) and len({q for q, _ in shown} | {asked}) == len(blocks)
    assert set(numbers) == {0, 1, 2, 3} and min(numbers.values()) > 30


def test_duplicates_of_a_row_do_not_show_its_answer(read):
    items = read([ROWS[0], ROWS[0], ROWS[0] | {"note": 5}, ROWS[1]], text=TEMPLATES, few_shot=2, phrasings="every")
    for item in items:
        if item.conversation.extra["template_id"] == "ask":
            assert len(item.conversation.extra["examples_from"]) == 1  # as many as there are
            assert len(set(question(item).split("\n\n"))) == 2


def test_worked_examples_do_not_depend_on_the_order_of_the_rows(read):
    mixed = ROWS[:]
    random.Random(2).shuffle(mixed)
    one, other = ({i.conversation.extra["note"]: question(i) for i in read(rows, few_shot=2)} for rows in (ROWS, mixed))
    assert one == other


def test_a_template_that_fails_refuses_its_row_alone(read):
    items = read([{"a": "x"}, {"a": None}, {"a": "z"}], text='templates: [{id: t7, input: "{{a.upper()}}", target: "b"}]')
    assert [bool(item.conversation) for item in items] == [True, False, True]
    assert items[1].refused.code == "prompt_failed" and items[1].refused.detail.startswith("template t7: UndefinedError: 'None' has no")


def test_templates_for_other_columns_are_an_error(read):
    with pytest.raises(UserError, match="template t names 'contry', which the rows do not have; did you mean 'country'"):
        read(text='templates: [{id: t, input: "{{contry}}", target: "b"}]')
    with pytest.raises(UserError, match="all of its templates are inverted"):
        read(text='templates: [{id: t, inverted: true, input: "{{country}}", target: "b"}]', inverted=False)


def test_take_draws_phrasings(read):
    items = read(take="7 rows", phrasings="every", few_shot=1)
    assert len(items) == 300 and sum(item.taken for item in items) == sum(bool(item.conversation) for item in items) == 7


def test_a_table_of_text_with_other_names(write):
    table = write("rows.csv", "Land,Hauptstadt,continent\nMali,Bamako,Africa\n")
    templates = write("t.yaml", TEMPLATES)
    knobs = {"columns": {"country": "Land", "capital": "Hauptstadt"}, "options": {"templates": str(templates), "phrasings": "every"}}
    items = list(read_source(Source(path=str(table), format="templates", **knobs), lambda _: None, 0))
    assert question(items[0]) == "What is the capital of Mali?"


def test_real_rows_under_several_phrasings(shared: Path, write):
    """Two tasks of Super-NaturalInstructions as a table, 231 and 463 rows: the counts add up, and no row is shown to itself."""
    rows = []
    for name in ("task1146_country_capital", "task1147_country_currency"):
        task = json.loads((shared / f"super_ni/{name}.json").read_text(encoding="utf-8"))
        rows += [{"task_name": name, "country": i["input"], "capital": i["output"][0], "continent": "-"} for i in task["Instances"]]
    table, templates = write("rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows)), write("t.yaml", TEMPLATES)
    source = Source(path=str(table), format="templates", options={"templates": str(templates), "phrasings": "every", "few_shot": 3})
    items = list(read_source(source, lambda _: None, 0, strict=True))
    assert len(items) == 5 * 463 and all(item.conversation for item in items)
    assert all(f"{table}:{item.origin.line}" not in item.conversation.extra["examples_from"] for item in items)
    assert {len(item.conversation.extra["examples_from"]) for item in items} == {3}


def test_every_order_is_drawn_equally_often():
    counts = Counter(tuple(_shuffled(4, random.Random(seed))) for seed in range(4800))
    assert set(counts) == set(itertools.permutations(range(4)))
    # Chi-squared with 23 degrees of freedom: 49.7 is exceeded once in a thousand; the seeds are fixed, so never by chance.
    assert sum((n - 200) ** 2 / 200 for n in counts.values()) < 49.7


def test_rows_that_others_show_are_marked(read):
    """Of a large table at most about a tenth, so that nine tenths can be held out; the marked are those that examples come from."""
    rows = [{"country": f"C{n}", "capital": f"A{n}", "continent": "x", "note": n} for n in range(1000)]
    items = read(rows, few_shot=2)
    marked = {str(i.origin) for i in items if i.conversation.extra.get("shown_as_example")}
    named = {origin for i in items for origin in i.conversation.extra["examples_from"]}
    assert named <= marked and 60 < len(marked) < 140
    few = read(few_shot=3)
    assert sum("shown_as_example" in i.conversation.extra for i in few) in range(8, 20), "of sixty rows eight at least"
    assert not any("shown_as_example" in i.conversation.extra for i in read())
