"""Rendering against transformers' own, over every template at hand; and what a template may not do."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer
from transformers.utils.chat_template_utils import render_jinja_template

from instil.core.errors import Refused, UserError
from instil.core.values import Conversation
from instil.template.builtin import BUILTIN
from instil.template.contract import make_contract
from instil.template.probes import settle_parts
from instil.template.render import ChatTemplate, check_syntax, map_text, texts_in, texts_of
from tests.template.dialogues import ADD, DIALOGUES, answer, call, openai, system, talk, told, user
from tests.template.tokenizers import REAL, resolved
from tests.template.toy import trl_templates

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
SOURCES = {name: file for name, file in trl_templates().items()} | {f"{n} marked": f for n, f in trl_templates(training=True).items()}
MORE = {
    "empty": talk(user(""), answer("")),
    "no user": talk(system("Be brief."), answer("Hello.")),
    "two calls": talk(
        user("Add twice."), call({"a": 1, "b": 2}, {"a": 3, "b": 4}), told("3"), told("7", 1), answer("3 and 7."), tools=True
    ),
    "a call and words": talk(user("Add."), call({"a": 1, "b": 2}, content="Let me see.", reasoning="hm"), told("3"), tools=True),
    "markup": talk(user("<b>&amp;</b> {{ x }} {% if %}"), answer("`\"' \\n é 🙂")),
}


def source_of(name: str) -> str:
    return SOURCES[name].read_text(encoding="utf-8") if name in SOURCES else BUILTIN[name].source


def theirs(source: str, talk: Conversation, generate: bool, parts: bool, options: Mapping[str, Any]) -> str:
    """transformers' text, or the words of its error."""
    chat = [openai(message, parts) for message in talk.messages]
    try:
        texts, _ = render_jinja_template(
            conversations=[chat],
            tools=list(talk.tools) or None,
            chat_template=source,
            add_generation_prompt=generate,
            **{**SPECIAL, **options},
        )
    except Exception as error:
        return f"the template says: {error}"
    return texts[0]


def ours(template: ChatTemplate, talk: Conversation, generate: bool) -> str:
    try:
        return template.render(talk.messages, talk.tools, generate)
    except Refused as refused:
        assert refused.code == "template_error"
        return refused.detail


@pytest.mark.parametrize("name", [*SOURCES, *BUILTIN])
def test_equals_transformers(name: str) -> None:
    source = source_of(name)
    template = settle_parts(ChatTemplate(source, SPECIAL), name)
    for label, dialogue in (DIALOGUES | MORE).items():
        for generate in (False, True):
            assert ours(template, dialogue, generate) == theirs(source, dialogue, generate, template.parts, {}), (label, generate)


@pytest.mark.parametrize("name", ["qwen3", "nemotron_3_nano", "gptoss"])
@pytest.mark.parametrize(
    "options", [{"enable_thinking": False}, {"enable_thinking": True}, {"bos_token": "<other>"}, {"reasoning_effort": "low"}]
)
def test_options_equal_transformers(name: str, options: dict[str, Any]) -> None:
    source = source_of(name)
    template = ChatTemplate(source, SPECIAL, options)
    for dialogue in DIALOGUES.values():
        assert ours(template, dialogue, True) == theirs(source, dialogue, True, False, options)


@pytest.mark.parametrize("name", [name for name in ("granite", "minimind") if name in REAL])
def test_prompt_is_what_transformers_sends(name: str) -> None:
    """Served == trained, token by token, for real tokenizers with their own templates."""
    contract = make_contract(resolved(REAL[name]), "own", where=name)
    server = AutoTokenizer.from_pretrained(REAL[name])
    sent = 0
    for dialogue in (DIALOGUES | MORE).values():
        for stop in range(1, len(dialogue.messages) + 1):
            messages, tools = dialogue.messages[:stop], list(dialogue.tools) or None
            try:
                prompt = contract.prompt(messages, dialogue.tools)
            except Refused:
                continue
            chat = [openai(m) for m in messages]
            assert prompt == server.apply_chat_template(chat, tools=tools, add_generation_prompt=True, return_dict=False)
            sent += 1
    assert sent > 40


ATTACKS = {
    "{{ ''.__class__.__mro__ }}": "unsafe",
    "{% set ns = namespace(_x=1) %}": "underscore",
    "{% set ns = namespace() %}{% set ns._x = 1 %}": "underscore",
    "{% set _ = messages.append(1) %}": "unsafe",
    "{% include 'x' %}": "loader",
    "{{ 1 // 0 }}": "division",
    "{{ range(10 ** 9) | list }}": "range",
    "{{ raise_exception('no') }}": "no",
    "{{ messages[7].role }}": "no element 7",
}


@pytest.mark.parametrize("source", ATTACKS)
def test_what_templates_may_not_do(source: str) -> None:
    with pytest.raises(Refused, match="template_error") as caught:
        ChatTemplate(source).render([user("hi")])
    assert ATTACKS[source].lower() in caught.value.detail.lower()


def test_what_templates_may_do() -> None:
    source = (
        "{% set ns = namespace(self=1) %}{% set ns.x = dict(a=2) %}{% for k in [1, 2] %}{% if k == 2 %}{% break %}{% endif %}{% endfor %}"
    )
    assert ChatTemplate(source + "{{ ns.self }} {{ ns.x.a }} {{ dict.fromkeys(['b']) }} {{ '<é>' | tojson }}").render([user("")]) == (
        "1 2 {'b': None} \"<é>\""
    )


def test_syntax_errors_name_place_and_line() -> None:
    with pytest.raises(UserError, match=r"^own\.jinja, line 3: the chat template has a syntax error \(.*endfor.*\): mend it there$"):
        check_syntax("\n\n{% for m in messages %}{{ m }}", "own.jinja")
    with pytest.raises(UserError, match=r"line 1: .*No filter named 'nofilter'"):
        check_syntax("{{ messages | nofilter }}", "own.jinja")


def test_texts_of_a_message_are_all_its_author_wrote() -> None:
    message = call({"a": 1}, reasoning="why", content="what")
    assert texts_of(message) == ["add", "a", "call00000", "what", "why"]
    assert sorted(texts_of(told("x"))) == ["add", "call00000", "x"]
    assert texts_in([ADD])[:2] == ["type", "function"]
    assert map_text(message, str.upper).tool_calls[0].arguments == {"A": 1}


def test_variables_and_literal_text() -> None:
    template = ChatTemplate("<a>{% if think %}{{ '<b>' }}{% endif %}{% set mine = 1 %}{{ mine }}")
    assert template.variables() == {"think"}
    assert template.literal_text().split("\0") == ["<a>", "<b>"]


def test_template_files_are_there() -> None:
    assert len(trl_templates()) >= 41 and all(isinstance(f, Path) for f in SOURCES.values())
