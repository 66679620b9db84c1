import pytest

from instil.core.errors import Refused
from instil.core.values import Message, ToolCall
from instil.data.turns import ROLE_OF, read_turns

OPENAI = (("role",), ("content",))
SHAREGPT = (("from", "role"), ("value", "content", "text"))


def one(**turn) -> Message:
    (message,) = read_turns([turn], *OPENAI)
    return message


def test_roles_of_openai():
    assert one(role="developer", content="x") == Message(role="system", content="x")
    assert one(role="function", content="x", name="f") == Message(role="tool", content="x", name="f")
    assert one(role="tool", content="x", tool_call_id="1") == Message(role="tool", content="x", tool_call_id="1")
    assert one(role="User", content="x", tool_call_id="1") == Message(role="user", content="x")


def test_every_alias_is_a_role_and_spelling_does_not_matter():
    for alias, role in ROLE_OF.items():
        if role != "call":
            for spelled in (alias, alias.title(), alias.replace("_", "-").upper(), f" {alias} "):
                assert read_turns([{"from": spelled, "value": "x"}], *SHAREGPT)[0].role == role


def test_unknown_role_names_the_nearest():
    with pytest.raises(Refused, match="turn 2: unknown role 'humn'; did you mean 'human'"):
        read_turns([{"from": "human", "value": "x"}, {"from": "humn", "value": "x"}], *SHAREGPT)


@pytest.mark.parametrize("field", ["text", "value"])
def test_parts(field):
    message = one(
        role="assistant",
        content=[
            {"type": "reasoning", field: "think"},
            {"type": "text", field: "a"},
            {"type": "text", field: "b"},
            {"type": "tool_call", "value": '{"name": "f", "arguments": {"x": 1}}'},
        ],
    )
    assert message == Message(role="assistant", content="ab", reasoning="think", tool_calls=(ToolCall("f", {"x": 1}),))
    assert one(role="assistant", content=[{"type": "thinking", "thinking": "t"}]).reasoning == "t"


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_beside_the_content(field):
    assert one(role="assistant", content="a", **{field: "t"}) == Message(role="assistant", content="a", reasoning="t")


def test_calls_beside_the_content():
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert one(role="assistant", content=None, tool_calls=[call]) == Message(role="assistant", tool_calls=(ToolCall("f", {}, "1"),))
    assert one(role="assistant", tool_calls=[call]).content == ""
    assert one(role="assistant", content=None, function_call={"name": "f", "arguments": "{}"}).tool_calls == (ToolCall("f", {}),)


def test_weights_only_weigh_assistants():
    assert one(role="assistant", content="a", train=False).weight == 0.0
    assert one(role="user", content="a", weight=0.5).weight == 1.0


@pytest.mark.parametrize(
    ("turn", "sentence"),
    [
        ("x", "turn 1 is text, not an object with 'role' and 'content'"),
        ({"content": "x"}, "turn 1 has no 'role'"),
        ({"role": None, "content": "x"}, "turn 1 has no 'role'"),
        ({"role": ["user"], "content": "x"}, "turn 1: unknown role"),
        ({"role": "user"}, r"turn 1 \(user\) has no 'content' \(it has: role\)"),
        ({"role": "user", "content": None}, r"turn 1 \(user\) has no 'content'"),
        ({"role": "assistant"}, r"turn 1 \(assistant\) has no 'content'"),
        ({"role": "user", "content": {"a": 1}}, r"turn 1 \(user\): 'content' is an object, neither text nor"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, "a content part of type 'image_url'"),
        ({"role": "user", "content": [{"type": {"a": 1}}]}, "a content part of type"),
        ({"role": "user", "content": ["x"]}, "a content part is text, not an object"),
        ({"role": "user", "content": [{"type": "text"}]}, "a text part without text"),
        ({"role": "user", "content": [{"type": "reasoning", "text": "x"}]}, "only assistant turns may hold reasoning"),
        ({"role": "user", "content": "x", "tool_calls": [{"name": "f"}]}, "only assistant turns may hold reasoning"),
        ({"role": "assistant", "content": "x", "reasoning": 5}, "'reasoning' of turn 1 .assistant. is a number"),
        ({"role": "function_call", "content": "f(x)"}, "turn 1 .call.: a tool call is text that is not JSON"),
    ],
)
def test_turns_that_cannot_be_read(turn, sentence):
    with pytest.raises(Refused, match=sentence) as refused:
        read_turns([turn], *OPENAI)
    assert refused.value.code == "bad_row"


def entries(*pairs: tuple[str, str], **extra) -> tuple[Message, ...]:
    return read_turns([{"from": role, "value": text, **extra} for role, text in pairs], *SHAREGPT)


F, G = '{"name": "f", "arguments": {}}', '{"name": "g", "arguments": {}}'


def test_call_entries_join_the_turn_before_them():
    messages = entries(
        ("human", "x"), ("gpt", "wait"), ("function_call", F), ("function_call", G), ("observation", "1"), ("function_call", F)
    )
    assert messages == (
        Message(role="user", content="x"),
        Message(role="assistant", content="wait", tool_calls=(ToolCall("f", {}), ToolCall("g", {}))),
        Message(role="tool", content="1"),
        Message(role="assistant", tool_calls=(ToolCall("f", {}),)),
    )


def test_turns_that_the_source_keeps_apart_stay_apart():
    assert len(entries(("human", "x"), ("gpt", "a"), ("gpt", "b"), ("function_call", F), ("gpt", "c"))) == 4
    call = {"role": "assistant", "content": None, "tool_calls": [{"name": "f"}]}
    assert len(read_turns([{"role": "assistant", "content": "a"}, call, call], *OPENAI)) == 3


def test_entries_of_different_weight_stay_apart():
    turns = [{"from": "gpt", "value": "a", "weight": 0}, {"from": "function_call", "value": F, "weight": 1}]
    assert [message.weight for message in read_turns(turns, *SHAREGPT)] == [0.0, 1.0]
