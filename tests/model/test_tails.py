"""What no prediction needs is left out of a row, and nothing else. That loss and gradients stay as they are: test_step."""

import numpy as np
import pytest

from instil.batch.trie import Row, lay_out
from instil.core.values import Path
from instil.model.layout import lay_out_tree
from instil.model.tails import without_tails
from tests.model.tiny import step


def path(text: str, context: int) -> Path:
    return Path(np.array([ord(letter) for letter in text], np.uint32), context)


def row_of(*paths: Path) -> Row:
    return lay_out(paths, 10_000)[0]


def left(row: Row) -> str:
    return "".join(map(chr, without_tails(row).tokens_T))


def test_the_last_token_of_an_answer_goes_unless_something_follows_it() -> None:
    assert left(row_of(path("abcde", 2))) == "abcd"
    assert left(row_of(path("abcde", 2), path("abcdefgh", 6))) == "abcdefg"
    assert left(row_of(path("abcx", 2), path("abcyz", 2))) == "abcy"  # x is a node of its own


def test_nodes_without_predictions_go_and_parents_keep_their_children() -> None:
    row = row_of(path("abx", 2), path("acd", 2), path("acef", 2), path("bc", 1))
    needed = without_tails(row)
    assert "".join(map(chr, needed.tokens_T)) == "abceb"
    assert needed.nodes_N3.tolist() == [[0, 1, -1], [1, 2, 0], [2, 3, 0], [3, 4, 2], [4, 5, -1]]
    assert needed.ends_T.tolist() == [4, 2, 4, 4, 5]
    assert needed.positions_T.tolist() == [0, 1, 1, 2, 0]


@pytest.mark.parametrize("seed", range(20))
def test_every_prediction_sees_what_it_saw(seed: int) -> None:
    """Of a random tree: the tokens that a prediction sees, with their positions, are the same, and every token is seen by one."""
    random = np.random.default_rng(seed)
    paths = step(seed)
    for _ in range(12):
        old = paths[random.integers(len(paths))].tokens
        tokens = np.append(old[: int(random.integers(1, len(old) + 1))], random.integers(3, 9, random.integers(1, 6)).astype(np.uint32))
        paths.append(Path(tokens, int(random.integers(1, len(tokens)))))
    row = row_of(*paths)
    needed = without_tails(row)
    lay_out_tree(needed)  # nodes cover the row in order, parents come first
    seen = set()
    for old, new in zip(row.predicts_S.tolist(), needed.predicts_S.tolist(), strict=True):
        before, after = ([k for k in range(at + 1) if at < of.ends_T[k]] for of, at in ((row, old), (needed, new)))
        assert row.tokens_T[before].tolist() == needed.tokens_T[after].tolist()
        assert row.positions_T[before].tolist() == needed.positions_T[after].tolist()
        seen |= set(after)
    assert seen == set(range(len(needed.tokens_T)))
    for start, stop, parent in needed.nodes_N3.tolist():
        assert needed.positions_T[start] == (0 if parent < 0 else needed.positions_T[needed.nodes_N3[parent, 1] - 1] + 1)
        assert len(set(needed.ends_T[start:stop].tolist())) == 1
