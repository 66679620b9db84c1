"""The two sides of the line, and what is purged from the side of training."""

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from instil.core.errors import UserError
from instil.curate.holdout import HoldOut, Sides, hold_out

TASKS = ["nli", "nli", "qa", "qa", "sum", None, None, "code"]
UPSTREAMS = ["snli", "anli", "squad", "snli", None, "web", None, None]
PROMPTS = np.array([1, 2, 3, 4, 5, 6, 3, 8], np.uint64)  # the seventh row asks what the third does
CLUSTERS = {"nli": "reading", "qa": "reading", "sum": "writing"}


def sides(knobs: HoldOut, seed: int = 0) -> Sides:
    return hold_out(PROMPTS, TASKS, UPSTREAMS, knobs, CLUSTERS, seed)


def test_tasks_clusters_and_upstreams_are_held_out_whole() -> None:
    assert sides(HoldOut(tasks=("nli",))).held == ("task nli", "task nli", *[None] * 6)
    assert sides(HoldOut(clusters=("reading",))).held == (*["cluster reading"] * 4, None, None, "prompt of a held-out row", None)
    assert sides(HoldOut(upstreams=("snli",))).held == ("upstream snli", None, None, "upstream snli", *[None] * 4)
    both = sides(HoldOut(tasks=("qa",), upstreams=("snli",)))
    assert both.held[3] == "task qa" and both.held[0] == "upstream snli" and both.held[6] == "prompt of a held-out row"
    assert both.trained.tolist() == [1, 4, 5, 7]


@given(st.lists(st.integers(0, 12), min_size=1, max_size=40), st.integers(1, 30), st.integers(0, 5))
def test_rows_are_drawn_by_prompt(prompts: list[int], wanted: int, seed: int) -> None:
    ids, none = np.array(prompts, np.uint64), [None] * len(prompts)
    try:
        held = hold_out(ids, none, none, HoldOut(rows=f"{wanted} rows"), {}, seed).held
    except UserError:
        assert wanted >= len(prompts)
        return
    out = {p for p, why in zip(prompts, held, strict=True) if why}
    kept = {p for p, why in zip(prompts, held, strict=True) if not why}
    assert not out & kept and sum(why is not None for why in held) <= wanted
    missed = wanted - sum(why is not None for why in held)
    assert all(prompts.count(p) > missed for p in kept)  # nothing more would fit


def test_an_added_row_changes_little() -> None:
    ids = np.arange(200, dtype=np.uint64)
    before = hold_out(ids, [None] * 200, [None] * 200, HoldOut(rows="30 rows"), {}, 0).held
    after = hold_out(np.append(ids, np.uint64(999)), [None] * 201, [None] * 201, HoldOut(rows="30 rows"), {}, 0).held
    assert sum(one != other for one, other in zip(before, after, strict=False)) <= 1


def test_a_share_and_the_seed() -> None:
    ids, none = np.arange(1000, dtype=np.uint64), [None] * 1000
    drawn = [hold_out(ids, none, none, HoldOut(rows="2%"), {}, seed).held for seed in (0, 0, 1)]
    assert [sum(why == "row" for why in held) for held in drawn] == [20, 20, 20]
    assert drawn[0] == drawn[1] != drawn[2]


def test_what_is_near_the_line_is_purged() -> None:
    asked = []

    def near(held: np.ndarray, train: np.ndarray) -> Iterable[tuple[int, int]]:
        asked.append((held.tolist(), train.tolist()))
        return [(1, 4), (0, 4), (1, 7)]

    found = hold_out(PROMPTS, TASKS, UPSTREAMS, HoldOut(tasks=("nli",)), CLUSTERS, 0, near)
    assert asked == [([0, 1], [2, 3, 4, 5, 6, 7])]
    assert found.purged == {4: 0, 7: 1} and found.trained.tolist() == [2, 3, 5, 6]
    with pytest.raises(AssertionError, match="does not cross the line"):
        hold_out(PROMPTS, TASKS, UPSTREAMS, HoldOut(tasks=("nli",)), CLUSTERS, 0, lambda held, train: [(0, 1)])


@pytest.mark.parametrize(
    ("knobs", "sentence"),
    [
        (HoldOut(tasks=("nlj",)), "cannot hold out task 'nlj': no row has it; did you mean 'nli'"),
        (HoldOut(clusters=("maths",)), "cannot hold out cluster 'maths'"),
        (HoldOut(upstreams=("none",)), "cannot hold out upstream 'none'"),
        (HoldOut(rows="5"), "'5' is not an amount"),
        (HoldOut(rows="5 tokens"), "write it in rows"),
        (HoldOut(rows="100%"), "leaves none of 8 rows to train"),
    ],
)
def test_what_cannot_be_held_out_is_said(knobs: HoldOut, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        sides(knobs)


def test_what_others_show_as_a_worked_example_is_never_drawn():
    """Nor a row that asks the same; what is held out for its task is, examples or not."""
    ids, none = np.arange(100, dtype=np.uint64) // np.uint64(2), [None] * 100
    shown = np.zeros(100, bool)
    shown[[0, 10, 60]] = True
    found = hold_out(ids, none, none, HoldOut(rows="100 rows"), {}, 0, shown=shown)
    assert found.trained.tolist() == [0, 1, 10, 11, 60, 61]
    tasks = ["a"] * 50 + ["b"] * 50
    assert hold_out(ids, tasks, none, HoldOut(rows="100 rows", tasks=("a",)), {}, 0, shown=shown).trained.tolist() == [60, 61]
