import hashlib
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instil.core.amounts import amount_of
from instil.core.errors import UserError
from instil.core.values import Conversation, Message, ToolCall
from instil.data.split import content_id, hold_out, mark_duplicates, prompt_id


def talk(*turns: tuple[str, str], **more) -> Conversation:
    return Conversation(messages=tuple(Message(role=role, content=text) for role, text in turns), **more)


BASE = talk(("user", "Name a city."), ("assistant", "Rome"), ("user", "Another."), ("assistant", "Oslo"))
TOOL = {"type": "function", "function": {"name": "f"}}


def test_content_is_everything_but_weights_and_labels():
    same = [
        replace(BASE, task="t", extra={"a": 1}),
        replace(BASE, messages=(*BASE.messages[:3], replace(BASE.messages[3], weight=0.0))),
    ]
    last = BASE.messages[3]
    other = [
        *(replace(BASE, messages=(*BASE.messages[:3], changed)) for changed in (
            replace(last, content="oslo"),
            replace(last, role="user"),
            replace(last, reasoning="x"),
            replace(last, content="", reasoning="Oslo"),
            replace(last, tool_calls=(ToolCall("f", {"x": 1}),)),
            replace(last, tool_calls=(ToolCall("f", {"x": "1"}),)),
        )),
        replace(BASE, tools=(TOOL,)),
        replace(BASE, messages=BASE.messages[:3]),
        talk(("user", "Name a city."), ("assistant", "Rome\0user"), ("assistant", "Oslo")),
    ]  # fmt: skip
    assert {content_id(c) for c in same} == {content_id(BASE)}
    assert len({content_id(c) for c in [BASE, *other]}) == len(other) + 1
    assert all(0 <= content_id(c) < 2**64 for c in other)


def test_ids_are_what_they_were():
    """Written out once more: ids computed in another way would move rows between training and hold-out for everybody."""

    def number(*parts: str) -> int:
        data = b"".join(len(part.encode()).to_bytes(8, "little") + part.encode() for part in parts)
        return int.from_bytes(hashlib.blake2b(data, digest_size=16).digest()[:8], "big")

    turns = [(message.role, message.content, "", "") for message in BASE.messages]
    assert content_id(BASE) == number("", *sum(turns, ()))
    assert prompt_id(BASE) == number("", "user", "name a city.", "", "")
    assert prompt_id(replace(BASE, tools=(TOOL,))) == number(
        '[{"function": {"name": "f"}, "type": "function"}]', "user", "name a city.", "", ""
    )


def test_a_prompt_is_what_comes_before_the_first_answer():
    asked = talk(("user", " name  A\ncity. "), ("assistant", "Paris"))
    assert prompt_id(asked) == prompt_id(BASE) == prompt_id(talk(("user", "Name a city.")))
    assert prompt_id(talk(("system", "s"), *(("user", "Name a city."),))) != prompt_id(BASE)
    assert prompt_id(replace(BASE, tools=(TOOL,))) != prompt_id(BASE)


def test_a_greeting_in_front_is_part_of_the_prompt():
    first, second = (talk(("assistant", "Hi"), ("user", text), ("assistant", "Sure")) for text in ("a", "b"))
    assert prompt_id(first) != prompt_id(second)


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), max_size=30))
def test_duplicates_equal_those_of_a_plain_loop(rows):
    seen: set[int] = set()
    expected = []
    for content, eligible in rows:
        expected.append(eligible and content in seen)
        seen |= {content} if eligible else set()
    ids, eligible = np.array([r[0] for r in rows], np.uint64), np.array([r[1] for r in rows], bool)
    assert mark_duplicates(ids, eligible).tolist() == expected


ROWS = st.lists(st.tuples(st.integers(0, 25), st.integers(-1, 4), st.booleans()), max_size=60)
AMOUNTS = st.integers(0, 100).map("{}%".format) | st.integers(0, 40).map("{} rows".format)


@settings(max_examples=500, deadline=None)
@given(ROWS, st.sets(st.integers(0, 4), max_size=2), AMOUNTS, st.integers(0, 40), st.integers(0, 3), st.randoms())
def test_hold_out(rows, held_tasks, examples, most, seed, random):
    def split(rows):
        ids, tasks, eligible = (np.array([r[i] for r in rows], t) for i, t in enumerate((np.uint64, np.int64, bool)))
        return hold_out(ids, tasks, eligible, held_tasks, examples, most, seed).tolist()

    eligible = [row for row in rows if row[2]]
    try:
        held = split(rows)
    except UserError:
        prompts_of_tasks = {p for p, task, _ in eligible if task in held_tasks}
        left = sum(p not in prompts_of_tasks for p, _, _ in eligible)
        assert eligible and (left == 0 or amount_of(examples, len(eligible)) >= left)
        return
    out = [row for row, is_held in zip(rows, held, strict=True) if is_held]
    kept = [row for row, is_held in zip(rows, held, strict=True) if row[2] and not is_held]
    assert all(row[2] for row in out), "only rows that could be trained are held out"
    assert kept or not eligible, "something is left to train"
    assert not {row[0] for row in out} & {row[0] for row in kept}, "equal prompts stand on one side"
    assert not {row[1] for row in kept} & held_tasks, "held-out tasks are held out whole"
    prompts_of_tasks = {p for p, task, _ in eligible if task in held_tasks}
    drawn = [row for row in out if row[0] not in prompts_of_tasks]
    wanted = amount_of(examples, len(eligible)) if "rows" in examples else min(most, amount_of(examples, len(eligible)))
    assert len(drawn) <= wanted
    sizes = Counter(p for p, _, _ in kept)
    assert not sizes or len(drawn) + min(sizes.values()) > wanted or wanted == 0, "no prompt that fits was left out"
    order = list(range(len(rows)))
    random.shuffle(order)
    assert split([rows[i] for i in order]) == [held[i] for i in order], "the order of rows does not matter"


def draws(count: int, seed: int, examples: str = "10%") -> np.ndarray:
    return hold_out(np.arange(count, dtype=np.uint64), np.full(count, -1), np.ones(count, bool), set(), examples, 10**9, seed)


def test_the_seed_chooses_and_added_rows_change_little():
    assert (draws(1000, 0) == draws(1000, 0)).all()
    assert (draws(1000, 0) & draws(1000, 1)).sum() < 30
    before, after = draws(1000, 0), draws(1100, 0)
    assert before.sum() == 100 and after.sum() == 110
    assert (before & after[:1000]).sum() >= 90


def test_a_share_is_bounded_and_a_count_is_not():
    ids, tasks, eligible = np.arange(1000, dtype=np.uint64), np.full(1000, -1), np.ones(1000, bool)
    assert hold_out(ids, tasks, eligible, set(), "50%", 20, 0).sum() == 20
    assert hold_out(ids, tasks, eligible, set(), "50 rows", 20, 0).sum() == 50


def test_a_large_prompt_does_not_stop_the_draw():
    ids = np.concatenate([np.zeros(500, np.uint64), np.arange(1, 501, dtype=np.uint64)])
    for seed in range(5):
        assert hold_out(ids, np.full(1000, -1), np.ones(1000, bool), set(), "30 rows", 1, seed).sum() == 30


@pytest.mark.parametrize(("tasks", "examples", "what"), [({0}, "0 rows", "holdout.tasks"), (set(), "5 rows", "holdout.examples")])
def test_something_must_be_left(tasks, examples, what):
    with pytest.raises(UserError, match=what):
        hold_out(np.arange(5, dtype=np.uint64), np.zeros(5, int), np.ones(5, bool), tasks, examples, 500, 0)


def test_a_million_rows_in_seconds():
    ids = np.random.default_rng(0).integers(0, 700_000, 10**6, dtype=np.uint64)
    start = time.process_time()
    hold_out(ids, ids % 20, np.ones(10**6, bool), {3}, "5%", 10**9, 0)
    assert time.process_time() - start < 5  # about 0.6 s; a Python loop over rows takes longer than this allows


def test_what_others_show_as_a_worked_example_is_never_drawn():
    """Nor a row that asks the same; a task that is held out whole takes its examples with it."""
    ids, tasks = np.arange(100, dtype=np.uint64) // np.uint64(2), np.repeat([0, 1], 50)
    shown = np.zeros(100, bool)
    shown[[0, 10, 60]] = True
    held = hold_out(ids, tasks, np.ones(100, bool), set(), "100 rows", 500, 0, shown)
    assert np.flatnonzero(~held).tolist() == [0, 1, 10, 11, 60, 61]
    held = hold_out(ids, tasks, np.ones(100, bool), {0}, "100 rows", 500, 0, shown)
    assert np.flatnonzero(~held).tolist() == [60, 61]
