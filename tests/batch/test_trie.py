"""The tree of a step against the naive construction: a dict of dicts, and every example one at a time."""

import json
import math
from collections import defaultdict
from pathlib import Path as File
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instil.batch import trie
from instil.batch.trie import Row, lay_out, tree_lines
from instil.core.errors import UserError
from instil.core.values import Path

DATA = File(__file__).parents[2].parent / "shared" / "data"


def path(tokens: list[int], num_context: int, weight: float = 1.0) -> Path:
    return Path(np.array(tokens, np.uint32), num_context, weight)


@st.composite
def steps(draw: st.DrawFn) -> list[Path]:
    """Up to a dozen paths over two to four letters, many of which extend or repeat an earlier one."""
    letters = st.integers(0, draw(st.integers(1, 3)))
    paths: list[Path] = []
    for _ in range(draw(st.integers(1, 12))):
        start = list(draw(st.sampled_from(paths)).tokens) if paths and draw(st.booleans()) else []
        start = start[: draw(st.integers(0, len(start)))]
        tokens = start + draw(st.lists(letters, min_size=max(0, 2 - len(start)), max_size=8))
        paths.append(path(tokens, draw(st.integers(1, len(tokens) - 1)), draw(st.sampled_from([1.0, 0.5, 3.0]))))
    return paths


def naive_trie(paths: list[Path]) -> dict:
    root: dict = {}
    for one in paths:
        here = root
        for token in one.tokens.tolist():
            here = here.setdefault(token, {})
    return root


def count_tokens(tree: dict) -> int:
    count, left = 0, [tree]
    while left:  # deeper than recursion may go
        below = list(left.pop().values())
        count += len(below)
        left += below
    return count


def count_nodes(tree: dict, is_root: bool = True) -> int:
    """Unbranched stretches: every child of a branch point (or of the root) begins one."""
    begins = len(tree) if is_root or len(tree) > 1 else 0
    return begins + sum(count_nodes(below, False) for below in tree.values())


def visible(row: Row, query: int) -> list[int]:
    return [key for key in range(len(row.tokens_T)) if key <= query < row.ends_T[key]]


def alone(paths: list[Path], average: str) -> dict[tuple, float]:
    """(context, target) -> weight, one example at a time."""
    found: dict[tuple, float] = defaultdict(float)
    for one in paths:
        tokens = one.tokens.tolist()
        for at in range(one.num_context, len(tokens)):
            found[tuple(tokens[:at]), tokens[at]] += one.weight / (one.num_completion if average == "example" else 1)
    return found


def supervised(rows: list[Row]) -> dict[tuple, float]:
    """The same, read from rows through nothing but the attention rule."""
    found: dict[tuple, float] = defaultdict(float)
    for row in rows:
        for at, target, weight in zip(row.predicts_S.tolist(), row.targets_S.tolist(), row.weights_S.tolist(), strict=True):
            found[tuple(row.tokens_T[visible(row, at)].tolist()), target] += weight
    return found


def assert_close(a: dict[tuple, float], b: dict[tuple, float]) -> None:
    assert a.keys() == b.keys()
    assert all(math.isclose(a[key], b[key], rel_tol=1e-12) for key in a)


@settings(max_examples=150, deadline=None)
@given(steps(), st.integers(0, 40), st.sampled_from(["token", "example"]), st.booleans(), st.integers(1, 4))
def test_rows_hold_every_path_and_its_supervision(paths: list[Path], room: int, average: str, share: bool, min_shared: int) -> None:
    max_tokens = max(len(one.tokens) for one in paths) + room
    with patch.object(trie, "MIN_SHARED", min_shared):
        rows = lay_out(paths, max_tokens, average, share)
    assert sorted(index for row in rows for index in row.paths) == list(range(len(paths)))
    for row in rows:
        assert len(row.tokens_T) == len(row.positions_T) == len(row.ends_T) <= max_tokens
        seen = [visible(row, query) for query in range(len(row.tokens_T))]
        assert [row.positions_T[keys].tolist() for keys in seen] == [list(range(depth + 1)) for depth in row.positions_T.tolist()]
        read = {tuple(row.tokens_T[keys].tolist()) for keys in seen}
        here = [tuple(paths[index].tokens.tolist()) for index in row.paths]
        assert read == {tokens[:stop] for tokens in here for stop in range(1, len(tokens) + 1)}
        assert (np.diff(row.predicts_S) >= 0).all()
        assert len(set(zip(row.predicts_S.tolist(), row.targets_S.tolist(), strict=True))) == len(row.predicts_S)
    assert_close(supervised(rows), alone(paths, average))


@settings(max_examples=100, deadline=None)
@given(steps(), st.integers(1, 3))
def test_nodes_are_what_attention_sees(paths: list[Path], min_shared: int) -> None:
    with patch.object(trie, "MIN_SHARED", min_shared):
        (row,) = lay_out(paths, 10_000)
    nodes = row.nodes_N3.tolist()
    assert [start for start, _, _ in nodes] == [0, *[stop for _, stop, _ in nodes[:-1]]] and nodes[-1][1] == len(row.tokens_T)
    for index, (start, stop, parent) in enumerate(nodes):
        assert start < stop and parent < index
        chain = list(range(start, stop))
        while parent != -1:
            begin, end, parent = nodes[parent]
            chain = [*range(begin, end), *chain]
        assert visible(row, stop - 1) == chain


@settings(max_examples=150, deadline=None)
@given(steps())
def test_one_row_is_the_true_trie(paths: list[Path]) -> None:
    with patch.object(trie, "MIN_SHARED", 1):
        (row,) = lay_out(paths, 10_000)
    tree = naive_trie(paths)
    assert len(row.tokens_T) == count_tokens(tree)
    assert len(row.nodes_N3) == count_nodes(tree)


def test_a_branch_point_predicts_every_answer() -> None:
    (row,) = lay_out([path([5, 6, 7, 8], 2), path([5, 6, 9, 8], 2), path([5, 6, 9, 8], 2, 0.5)], 100)
    assert row.tokens_T.tolist() == [5, 6, 7, 8, 9, 8]
    assert row.positions_T.tolist() == [0, 1, 2, 3, 2, 3]
    assert row.ends_T.tolist() == [6, 6, 4, 4, 6, 6]
    assert row.nodes_N3.tolist() == [[0, 2, -1], [2, 4, 0], [4, 6, 0]]
    assert row.predicts_S.tolist() == [1, 1, 2, 4]
    assert row.targets_S.tolist() == [7, 9, 8, 8]
    assert row.weights_S.tolist() == [1.0, 1.5, 1.0, 1.5]


def test_turns_of_one_conversation_are_one_node() -> None:
    (row,) = lay_out([path([1, 2, 3, 4, 5, 6], 5), path([1, 2, 3], 2)], 100)
    assert row.nodes_N3.tolist() == [[0, 6, -1]]
    assert row.predicts_S.tolist() == [1, 4] and row.targets_S.tolist() == [3, 6]


def test_rows_are_filled_to_the_last_token() -> None:
    paths = [path([1, 2, 3, 4], 1), path([1, 2, 5, 6], 1), path([1, 7, 7], 1)]
    for max_tokens, sizes in ((8, [8]), (7, [6, 3]), (6, [6, 3]), (5, [4, 4, 3])):
        assert [len(row.tokens_T) for row in lay_out(paths, max_tokens)] == sizes


def test_short_stretches_are_not_worth_a_branch() -> None:
    with patch.object(trie, "MIN_SHARED", 3):
        (row,) = lay_out([path([1, 2, 3, 4], 1), path([1, 2, 3, 5], 1)], 100)
        assert row.nodes_N3.tolist() == [[0, 3, -1], [3, 4, 0], [4, 5, 0]]
        (row,) = lay_out([path([1, 2, 4], 1), path([1, 2, 5], 1)], 100)
        assert row.nodes_N3.tolist() == [[0, 3, -1], [3, 6, -1]]
        (row,) = lay_out([path([1, 2], 1), path([1, 2, 5], 1)], 100)  # no branch, so nothing is saved by computing it twice
        assert row.nodes_N3.tolist() == [[0, 3, -1]]
        rows = lay_out([path([1, 1, 1, *tail], 1) for tail in ([7], [8], [9, 5], [9, 6])], 6)
        assert [row.tokens_T.tolist() for row in rows] == [[1, 1, 1, 7, 8], [1, 1, 1, 9, 5, 6]]  # a row begins without branches


def test_token_ids_sort_as_numbers_and_keep_all_their_bits() -> None:
    ids = [2**32 - 1, 65536, 256, 255, 1]
    (row,) = lay_out([path([7, token], 1) for token in ids], 100)
    assert row.tokens_T.tolist() == [7, *sorted(ids)] and row.targets_S.tolist() == sorted(ids)
    assert row.tokens_T.dtype == row.targets_S.dtype == row.positions_T.dtype == row.ends_T.dtype == np.int64


def test_what_cannot_be_laid_out() -> None:
    assert lay_out([], 10) == []
    with pytest.raises(
        UserError, match=r"example of 12 tokens .* train.max_tokens = 11: raise train.max_tokens to 12 or lower max_length to 11"
    ):
        lay_out([path([1, 2], 1), path(list(range(12)), 3)], 11)
    for num_context in (0, 2):
        with pytest.raises(AssertionError):
            lay_out([path([1, 2], num_context)], 10)


def test_tree_lines() -> None:
    paths = [path([1, 2, 3, 4], 3), path([1, 2, 3, 5, 6], 3), path([1, 2, 7, 8, 9, 9], 4), path([1, 2, 7, 8, 5], 4), path([4, 4], 1)]
    (row,) = lay_out(paths, 100)
    assert tree_lines(row, lambda start, stop: " ".join(map(str, row.tokens_T[start:stop]))) == [
        "2 tokens, 0 supervised: 1 2",
        "├─ 1 token, 2 supervised: 3",
        "│  ├─ 1 token, 0 supervised: 4",
        "│  └─ 2 tokens, 1 supervised: 5 6",
        "└─ 2 tokens, 2 supervised: 7 8",
        "   ├─ 1 token, 0 supervised: 5",
        "   └─ 2 tokens, 1 supervised: 9 9",
        "2 tokens, 1 supervised: 4 4",
    ]


@pytest.mark.skipif(not DATA.exists(), reason="real data absent")
def test_real_rows_with_a_preamble_share_it() -> None:
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer.from_file(str(DATA / "tokenizers/minimind/tokenizer.json"))
    preamble = (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\n"
    )
    paths = []
    for one in json.loads((DATA / "instruct/alpaca_en_demo.json").read_text(encoding="utf-8"))[:128]:
        context = tokenizer.encode(f"{preamble}{one['instruction']}\n{one['input']}\n\n### Response:\n").ids
        paths.append(path([*context, *tokenizer.encode(one["output"]).ids, 2], len(context)))
    rows = lay_out(paths, 4096)
    for row in rows:
        assert len(row.tokens_T) == count_tokens(naive_trie([paths[index] for index in row.paths]))
    kept = sum(len(row.tokens_T) for row in rows) / sum(len(one.tokens) for one in paths)
    assert 0.5 < kept < 0.95
