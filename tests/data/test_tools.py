import json

import pytest

from instil.core.errors import Refused
from instil.core.values import ToolCall
from instil.data.tools import read_calls, read_tools

BARE = {"name": "f", "parameters": {"type": "object", "properties": {}}}
FULL = {"type": "function", "function": BARE}


@pytest.mark.parametrize(
    "row",
    [
        {"tools": [FULL]},
        {"tools": [BARE]},
        {"functions": [BARE]},
        {"tools": None, "functions": json.dumps([BARE])},
        {"tools": json.dumps([FULL])},
        {"tools": [json.dumps(FULL)]},
        {"tools": [{"function": BARE}]},
    ],
)
def test_definitions_in_every_shape_become_openais(row):
    assert read_tools(row) == (FULL,)


@pytest.mark.parametrize("row", [{}, {"tools": None}, {"tools": ""}, {"tools": []}, {"tools": "[]"}])
def test_no_tools(row):
    assert read_tools(row) == ()


@pytest.mark.parametrize("value", ["f", "{", {"name": "f"}, 5, [5], ["f"], [{"parameters": {}}]])
def test_what_is_no_definition_is_refused_by_field(value):
    with pytest.raises(Refused, match="'tools' (is|holds) "):
        read_tools({"tools": value})


@pytest.mark.parametrize(
    "value",
    [
        [{"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}],
        [{"id": "1", "function": {"name": "f", "arguments": {"x": 1}}}],
        [{"id": "1", "name": "f", "arguments": {"x": 1}}],
        {"id": "1", "name": "f", "arguments": '{"x": 1}'},
        '{"id": "1", "name": "f", "arguments": {"x": 1}}',
        '[{"id": "1", "name": "f", "arguments": {"x": 1}}]',
    ],
)
def test_calls_in_every_shape(value):
    assert read_calls(value, "turn 1") == (ToolCall("f", {"x": 1}, "1"),)


def test_arguments_that_are_no_json_object_stay_text():
    assert read_calls({"name": "f", "arguments": "x=1"}, "turn 1") == (ToolCall("f", "x=1"),)
    assert read_calls({"name": "f", "arguments": "[1]"}, "turn 1") == (ToolCall("f", "[1]"),)
    assert read_calls([{"name": "f", "arguments": None}, {"name": "g"}], "turn 1") == (ToolCall("f", {}), ToolCall("g", {}))


@pytest.mark.parametrize(
    "value", ["f(x)", None, 5, [5], {"arguments": {}}, {"name": ""}, {"name": "f", "arguments": [1]}, {"function": "f"}]
)
def test_what_is_no_call_is_refused_by_turn(value):
    with pytest.raises(Refused, match="turn 1: "):
        read_calls(value, "turn 1")
