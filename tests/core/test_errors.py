import pickle

import pytest

from instil.core.errors import Refused, UserError, nearest


@pytest.mark.parametrize(
    ("word", "known", "hint"),
    [
        ("bach", ["batch", "epochs"], "did you mean 'batch'?"),
        ("batch", ["batch"], "did you mean 'batch'?"),
        ("zzz", ["b", "a"], "known: a, b"),
        ("zzz", [], "none is known"),
    ],
)
def test_nearest(word: str, known: list[str], hint: str) -> None:
    assert nearest(word, known) == hint
    assert nearest(word, iter(known)) == hint


def test_a_refusal_is_no_error_for_the_user() -> None:
    refused = Refused("overlong", "300 tokens")
    assert (refused.code, refused.detail, str(refused)) == ("overlong", "300 tokens", "overlong: 300 tokens")
    assert not isinstance(refused, UserError)


def test_errors_travel_between_processes() -> None:
    assert str(pickle.loads(pickle.dumps(UserError("x, line 1: mend it")))) == "x, line 1: mend it"
