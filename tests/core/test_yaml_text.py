from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instil.core.errors import UserError
from instil.core.yaml_text import dump, parse, read_value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-4", 2e-4),
        ("1E3", 1000.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("-3", -3),
        ("0", 0),
        ("true", True),
        ("null", None),
        ("~", None),
        ("", None),
        # Texts, all of them something else in YAML 1.1:
        ("on", "on"),
        ("no", "no"),
        ("y", "y"),
        ("12:30", "12:30"),
        ("010", "010"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"),
        ("50%", "50%"),
        ("1.2.3", "1.2.3"),
        ("e5", "e5"),
    ],
)
def test_the_core_schema(text: str, value: Any) -> None:
    read = read_value(text)
    assert read == value and type(read) is type(value)


def test_every_key_has_its_line() -> None:
    text = "a: 1\n# a remark\nb:\n  c: 2\n  d: [3,\n    4]\ne: {f: 5}\n"
    values, lines = parse(text, "x")
    assert values == {"a": 1, "b": {"c": 2, "d": [3, 4]}, "e": {"f": 5}}
    found = {".".join(key): line for key, line in lines.items()}
    assert found == {"a": 1, "b": 3, "b.c": 4, "b.d": 5, "b.d.0": 5, "b.d.1": 6, "e": 7, "e.f": 7}


def test_anchors_and_merges_work() -> None:
    values, _ = parse("base: &b {x: 1}\nother: {<<: *b, y: 2}\n", "x")
    assert values["other"] == {"x": 1, "y": 2}


def test_an_alias_to_itself_ends() -> None:
    values, _ = parse("a: &a\n  b: *a\n", "x")
    assert values["a"]["b"] is values["a"]


def test_no_objects_are_made() -> None:
    with pytest.raises(UserError, match="line 1, is not valid YAML .could not determine a constructor"):
        parse("a: !!python/object/apply:os.getcwd []", "x")


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


@given(st.dictionaries(st.text(), SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(), SCALARS, max_size=2), max_size=5))
def test_a_dump_is_read_back(values: dict[str, Any]) -> None:
    text = dump(values)
    read, _ = parse(text, "the dump")
    assert read == values
    assert [type(v) for v in read.values()] == [type(v) for v in values.values()]
    text.encode()  # also where a text holds half a surrogate pair
