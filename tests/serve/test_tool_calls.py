"""A template's own way to write calls, found by rendering one, and read back."""

import json

import pytest

from instil.core.values import Conversation, Message, ToolCall
from instil.serve.tool_calls import CallFormat, call_format
from instil.template.contract import make_contract
from instil.template.turns import turn_at
from tests.serve.served import tokenizer

TAGS = CallFormat("<tool_call>", "</tool_call>", "name", "arguments", False)
BARE = CallFormat("", "", "name", "parameters", False)
LISTED = CallFormat("[TOOL_CALLS]", "", "name", "arguments", True)
KNOWN = frozenset({"add", "get"})
ADD = '{"name": "add", "arguments": {"a": 1}}'


def names(calls: list[ToolCall]) -> list[tuple[str, object]]:
    return [(call.name, call.arguments) for call in calls]


def test_the_built_in_templates_format_is_found_and_reads_what_it_writes() -> None:
    contract = make_contract(tokenizer(None), "chatml", where="x")
    form = call_format(contract)
    assert form is not None and (form.opening, form.closing, form.listed) == ("<tool_call>", "</tool_call>", False)
    calls = (ToolCall("add", {"a": [1, {"b": "}"}]}), ToolCall("get", {}))
    tools = tuple({"type": "function", "function": {"name": n, "parameters": {}}} for n in ("add", "get"))
    talk = Conversation(messages=(Message(role="user", content="x"), Message(role="assistant", tool_calls=calls)), tools=tools)
    said, found = form.parse(turn_at(talk, 1, contract).completion.removesuffix("<|im_end|>"), KNOWN)
    assert said == "" and names(found) == names(list(calls))
    assert all(call.id and call.id.startswith("call_") for call in found)


def test_a_template_without_calls_has_no_format() -> None:
    assert call_format(make_contract(tokenizer(), "own", where="x")) is None


def test_a_list_of_calls_as_mistral_writes_it() -> None:
    source = (
        "{% for m in messages %}{% if m.tool_calls %}[TOOL_CALLS][{% for c in m.tool_calls %}"
        '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}{{ ", " if not loop.last }}{% endfor %}]'
        "{% else %}{{ m.content }}{% endif %}{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    )
    contract = make_contract(tokenizer("{% if tools %}{{ tools | tojson }}{% endif %}" + source), "own", where="x")
    form = call_format(contract)
    assert form == CallFormat("[TOOL_CALLS]", "", "name", "arguments", True)


@pytest.mark.parametrize(
    ("form", "text", "said", "called"),
    [
        (TAGS, f"Let me see. <tool_call>\n{ADD}\n</tool_call>", "Let me see.", ["add"]),
        (TAGS, f"<tool_call>{ADD}</tool_call>\n<tool_call>{ADD}</tool_call>", "", ["add", "add"]),
        (TAGS, f"<tool_call>{ADD}", "", ["add"]),  # the limit came before the closing tag, and the call is whole
        (TAGS, "<tool_call>{not json}</tool_call>", "<tool_call>{not json}</tool_call>", []),
        (TAGS, ADD.replace("add", "rm"), ADD.replace("add", "rm"), []),
        (TAGS, "plain", "plain", []),
        (BARE, '{"name": "get", "parameters": {}}', "", ["get"]),
        (BARE, '{"name": "rm", "parameters": {}}', '{"name": "rm", "parameters": {}}', []),
        (BARE, '{"answer": 4}', '{"answer": 4}', []),
        (LISTED, f"[TOOL_CALLS][{ADD}, {ADD}]", "", ["add", "add"]),
        (LISTED, f"[TOOL_CALLS][{ADD}, 3]", f"[TOOL_CALLS][{ADD}, 3]", []),
        (TAGS, "<tool_call>" + "[" * 100_000, "<tool_call>" + "[" * 100_000, []),
    ],
)
def test_parse(form: CallFormat, text: str, said: str, called: list[str]) -> None:
    found = form.parse(text, KNOWN)
    assert (found[0], [call.name for call in found[1]]) == (said, called)


@pytest.mark.parametrize(("text", "sure"), [("ab", 2), ("ab<", 2), ("ab<tool_c", 2), ("ab<tool_call>{", 2), ("a<b", 3), ("", 0)])
def test_what_is_surely_no_call_can_be_told(text: str, sure: int) -> None:
    assert TAGS.may_begin(text) == sure


def test_bare_json_may_be_a_call_until_it_is_read() -> None:
    assert [BARE.may_begin(text) for text in ("", " ", " {", "yes {")] == [0, 0, 0, 5]


def test_arguments_that_are_text_stay_text() -> None:
    written = json.dumps({"name": "add", "arguments": '{"a": 1}'})
    assert names(TAGS.parse(f"<tool_call>{written}</tool_call>", KNOWN)[1]) == [("add", '{"a": 1}')]
