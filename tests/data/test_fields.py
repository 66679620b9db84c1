import pytest
from hypothesis import given
from hypothesis import strategies as st

from instil.core.errors import Refused
from instil.data.fields import optional_text, required_list, required_text, weight_of


@pytest.mark.parametrize(
    ("given", "weight"),
    [
        ({}, 1.0),
        ({"weight": 0}, 0.0),
        ({"train": False}, 0.0),
        ({"loss_weight": 0.5, "train": None}, 0.5),
        ({"weight": 1.0, "train": True}, 1.0),
    ],
)
def test_weights(given, weight):
    assert weight_of(given, "turn 1") == weight


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "1", [1]])
def test_weights_that_are_none(value):
    with pytest.raises(Refused, match="turn 1: 'loss_weight' is .*, not a number from 0 up"):
        weight_of({"loss_weight": value}, "turn 1")


def test_contradicting_weights():
    with pytest.raises(Refused, match="turn 1: weight and train contradict each other"):
        weight_of({"weight": 1, "train": False}, "turn 1")


@given(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text()) | st.dictionaries(st.text(), st.text()))
def test_text_is_text_or_the_row_is_refused_by_field(value):
    for read in (required_text, optional_text):
        if isinstance(value, str):
            assert read({"f": value}, "f") == value
        elif value is None and read is optional_text:
            assert read({"f": value}, "f") == ""
        else:
            with pytest.raises(Refused, match="'f'"):
                read({"f": value}, "f")


def test_lists():
    assert required_list({"f": [1]}, "f") == required_list({"f": "[1]"}, "f") == [1]
    for row, what in (
        ({}, "no 'f' .it has: nothing"),
        ({"f": []}, "an empty list"),
        ({"f": "x"}, "text, not"),
        ({"f": {"a": 1}}, "an object"),
    ):
        with pytest.raises(Refused, match=what):
            required_list(row, "f")
