import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from instil.core.errors import UserError
from instil.core.recipe import Source
from instil.data.source import Item, draw, read_source


def lines(*rows: Any) -> str:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


def alpacas(count: int) -> list[dict[str, str]]:
    return [{"instruction": f"i{n}", "output": f"o{n}"} for n in range(count)]


def read(path: Path | str, seed: int = 0, **knobs: Any) -> tuple[list[Item], list[str]]:
    said: list[str] = []
    return list(read_source(Source(path=str(path), **knobs), said.append, seed)), said


def test_every_row_comes_out_once_with_its_origin(write):
    path = write(
        "rows.jsonl", lines(*alpacas(60), '{"instruction": ', {"output": "x"}, {"instruction": "i", "output": "o", "category": "qa"})
    )
    items, said = read(path, task="mine")
    assert said == [f"{path}: format alpaca (detected)"]
    assert [item.origin.line for item in items] == list(range(1, 64))
    assert all(item.conversation.origin == item.origin for item in items if item.conversation)
    assert [item.conversation.messages[0].content for item in items[:60]] == [f"i{n}" for n in range(60)]
    assert [item.refused.code for item in items[60:62]] == ["bad_json", "bad_row"]
    assert [items[0].conversation.task, items[62].conversation.task] == ["mine", "qa"]
    assert all((item.conversation is None) != (item.refused is None) for item in items)


def test_refused_rows_do_not_hold_what_was_on_the_stack(write):
    items, _ = read(write("rows.jsonl", lines(*alpacas(1), {"output": "x"})))
    assert items[1].refused.__traceback__ is None


def test_bad_rows_in_front_do_not_hide_the_format(write):
    items, said = read(write("rows.jsonl", lines("oops", [1], *alpacas(2))))
    assert [bool(item.conversation) for item in items] == [False, False, True, True]
    assert said[0].endswith("format alpaca (detected)")


def test_nothing_readable_in_front(write):
    with pytest.raises(UserError, match=r"none of its first 50 rows can be read \(.*rows.jsonl, line 1, column 1: "):
        read(write("rows.jsonl", lines(*["oops"] * 60)))


def test_a_given_format_is_taken_and_not_announced(write):
    path = write("rows.jsonl", lines({"messages": [{"role": "user", "content": "x"}], "label": True}))
    items, said = read(path, format="messages")
    assert items[0].conversation and said == []
    with pytest.raises(UserError, match="unknown format 'mesages'; did you mean 'messages'"):
        read(path, format="mesages")


def test_column_map(write):
    path = write("qa.csv", "question,answer,system_prompt,id\nq,a,s,1\n")
    items, said = read(path, columns={"prompt": "question", "completion": "answer", "system": "system_prompt"})
    assert said == [f"{path}: format prompt_completion (detected)"]
    assert [m.content for m in items[0].conversation.messages] == ["s", "q", "a"]
    assert items[0].conversation.extra == {"id": "1"}


@pytest.mark.parametrize(
    ("knobs", "sentence"),
    [
        ({"columns": {"prompt": "qestion"}}, "names 'qestion', which its rows do not have; they have question, answer"),
        ({"columns": {"promt": "question"}}, "maps 'promt', which is no field of any format; did you mean 'prompt'"),
        ({"columns": {"output": "answer"}, "format": "prompt_completion"}, "maps 'output', which is no field of format prompt_completion"),
        ({}, r"`columns: \{prompt: question, completion: answer\}`"),
    ],
)
def test_column_maps_that_cannot_be(write, knobs, sentence):
    with pytest.raises(UserError, match=sentence):
        read(write("qa.csv", "question,answer\nq,a\n"), **knobs)


def test_rows_of_another_format_are_refused_with_a_hint(write, tmp_path):
    write("a.jsonl", lines(*alpacas(50)))
    write(
        "b.jsonl",
        lines({"messages": [{"role": "user", "content": "x"}]}, {"instruction": "x", "output": "y", "chosen": "y", "rejected": "z"}),
    )
    items, _ = read(tmp_path)
    assert "no 'instruction' (it has: messages); it looks like format messages" in items[50].refused.detail
    assert "this one looks like preference pairs" in items[51].refused.detail


@pytest.mark.parametrize(("take", "count"), [("50%", 50), ("7 rows", 7), ("100%", 100), ("0 rows", 0), ("500 rows", 100)])
def test_take_draws_that_many_rows_and_accounts_for_the_others(write, take, count):
    items, _ = read(write("rows.jsonl", lines(*alpacas(100))), take=take)
    assert len(items) == 100
    assert sum(item.taken for item in items) == count
    assert all(bool(item.conversation) == item.taken for item in items)


def test_take_is_the_same_for_a_seed_and_spans_files(write, tmp_path):
    write("a.jsonl", lines(*alpacas(50)))
    write("b.jsonl", lines(*alpacas(50)))
    taken = [tuple(item.taken for item in read(tmp_path, seed, take="10 rows")[0]) for seed in (0, 0, 1)]
    assert taken[0] == taken[1] != taken[2]


def test_every_set_is_drawn_equally_often():
    counts = Counter(tuple(draw(5, 2, seed)) for seed in range(4000))
    assert len(counts) == 10
    assert all(sum(drawn) == 2 for drawn in counts)
    # Chi-squared with 9 degrees of freedom: 27.9 is exceeded once in a thousand; the seeds are fixed, so never by chance.
    assert sum((n - 400) ** 2 / 400 for n in counts.values()) < 27.9


READS = {
    "instruct/alpaca_en_demo.json": ("alpaca", 999),
    "instruct/raschka_1100.json": ("alpaca", 1100),
    "instruct/dolly_12.jsonl": ("dolly", 12),
    "instruct/messages_parts_500.jsonl": ("messages", 500),
    "instruct/sharegpt_dummy_500.json": ("sharegpt", 500),
    "tools/glaive_300.json": ("sharegpt", 300),
    "tools/reason_tool_use_50.jsonl": ("messages", 50),
}
LACKS = {
    "instruct/oasst_en_100_trees.jsonl": "conversation trees",
    "instruct/self_instruct_seed_tasks.jsonl": "tasks whose inputs and outputs lie in `instances`",
    "tools/bfcl_irrelevance.jsonl": "function-calling questions without answers",
    "tools/bfcl_multiple.jsonl": "function-calling questions without answers",
    "tools/bfcl_parallel.jsonl": "function-calling questions without answers",
    "tools/bfcl_simple_python.jsonl": "function-calling questions without answers",
    "tools/bfcl_multiple_answers.jsonl": "answers without their questions",
    "tools/bfcl_parallel_answers.jsonl": "answers without their questions",
    "tools/bfcl_simple_python_answers.jsonl": "answers without their questions",
    "preference/dpo_300.json": "preference data is not for `instil train`",
    "preference/kto_300.json": "preference data is not for `instil train`",
    "preference/hh_rlhf_harmless_test.jsonl.gz": "preference data is not for `instil train`",
}


def test_every_real_file_is_read_whole_or_says_what_it_lacks(shared):
    for folder in ("instruct", "tools", "preference", "super_ni"):
        for path in sorted((shared / folder).iterdir()):
            name = f"{folder}/{path.name}"
            if name in READS:
                items, said = read(path)
                assert (said, len(items)) == ([f"{path}: format {READS[name][0]} (detected)"], READS[name][1])
                assert all(item.conversation for item in items)
            else:
                with pytest.raises(UserError, match=LACKS.get(name, "Super-NaturalInstructions tasks")) as error:
                    read(path)
                assert "\n" not in str(error.value) and ": " in str(error.value)
