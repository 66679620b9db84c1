"""One turn as text: exact, bridged, rewritten or refused; and attacks on every way of accepting a turn.

The oracle: a dialogue whose every message has letters of its own (see `dialogues.mark`) leaves no doubt whose a trained character is. A
dialogue that repeats itself must be cut exactly where its marked twin is.
"""

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instil.core.errors import Refused, UserError
from instil.core.ledger import ALLOWABLE, REASONS
from instil.core.values import Conversation, Message, ToolCall
from instil.template.contract import Contract, make_contract
from instil.template.options import choose_options
from instil.template.turns import MARK, Turn, turn_at, turns_of
from tests.template.dialogues import DIALOGUES, answer, call, letters_of, mark, owner, system, talk, told, unmark, user
from tests.template.shapes import WAYS, shape, shapes
from tests.template.toy import ends_of, toy_tokenizer, trl_templates

TRL = {
    name: make_contract(toy_tokenizer(f.read_text(encoding="utf-8"), ends_of(name)), "own", where=name)
    for name, f in trl_templates().items()
}


def contract_of(source: str) -> Contract:
    marks = ("<|im_start|>", "<|im_end|>", "<|note|>", "<|hint|>", "<think>", "</think>")
    return make_contract(toy_tokenizer(source, ("</s>",), extra=marks), "own", where="test")


def tried(conversation: Conversation, i: int, contract: Contract, allow: Iterable[str] = ()) -> Turn | Refused:
    try:
        return turn_at(conversation, i, contract, frozenset(allow))
    except Refused as refused:
        assert refused.code in REASONS
        return refused


def assert_own(turn: Turn, conversation: Conversation, contract: Contract, *, complete: bool = True) -> None:
    """Every trained character is the turn's or the template's; the answer is whole; the stop is trained; the context is the prompt."""
    i, message = turn.index, conversation.messages[turn.index]
    assert {owner(c) for c in turn.completion} <= {None, i}, unmark(turn.completion)
    if complete:
        assert letters_of(message.content.rpartition("</think>")[2]) in letters_of(turn.completion)
        assert turn.completion.endswith(contract.stops)
    for tool_call in message.tool_calls:
        assert letters_of(tool_call.name) in turn.completion
    assert turn.context == contract.render(conversation.messages[:i], conversation.tools, generate=True)


# real templates

# What cannot be trained on, template by template; everything else must be. "*": every dialogue.
NO_TOOLS = {"cohere", "cohere2", "deepseek_r1_distill", "deepseekv3", "gemma", "gemma3", "idefics3", "lfm2", "llama3", "llava_next", "phi3"}
NO_TOOLS |= {"phi3_5", "qwen2_5_vl", "smolvlm"}
REFUSED = {
    ("deepseek_r1_distill", "*"): "inexact",  # the prompt opens <think>, which no answer in its history closes
    ("deepseekv3", "*"): "inexact",
    ("gemma", "system"): "template_error",
    **{
        (f"nemotron_3_{size}", "reasoning"): "inexact" for size in ("nano", "super", "ultra", "5_lightning")
    },  # some turns think, one does not
    **{(name, tools): "template_error" for name in NO_TOOLS for tools in ("tools", "tools after reasoning")},
}


@pytest.mark.parametrize("name", TRL)
def test_real_templates(name: str) -> None:
    for label, dialogue in DIALOGUES.items():
        conversation = mark(dialogue)
        contract = choose_options([conversation], TRL[name])
        expected = REFUSED.get((name, label)) or REFUSED.get((name, "*"))
        try:
            turns = turns_of(conversation, contract)
        except Refused as refused:
            assert refused.code == expected, (label, unmark(refused.detail))
            continue
        assert expected is None, label
        assert [t.index for t in turns] == [i for i, m in enumerate(conversation.messages) if m.role == "assistant"]
        for turn in turns:
            assert_own(turn, conversation, contract)
            message = conversation.messages[turn.index]
            if message.reasoning is not None:
                assert turn.reasoning_lost == (letters_of(message.reasoning) not in letters_of(turn.completion))


def test_how_many_real_templates_are_exact() -> None:
    """DESIGN.md names 33 of 41 without any help; with their own switches it is all but the two DeepSeek ones."""
    exact = {True: 0, False: 0}
    for chosen in exact:
        for contract in TRL.values():
            rows = [DIALOGUES[d] for d in ("plain", "untidy", "reasoning throughout")]
            settled = [choose_options([row], contract) if chosen else contract for row in rows]
            found = [tried(row, i, c) for row, c in zip(rows, settled, strict=True) for i in (1, 3)]
            exact[chosen] += all(isinstance(t, Turn) and not t.bridged for t in found)
    assert len(TRL) == 41 and exact == {False: 34, True: 39}


@pytest.mark.parametrize("name", [n for n in TRL if "tool_calls" in TRL[n].shows])
def test_parallel_calls_are_shown_or_refused(name: str) -> None:
    messages = (user("Twice."), call({"a": 1, "b": 2}, {"a": 3, "b": 4}), told("3"), told("7", 1), answer("3 and 7."))
    second = replace(messages[1], tool_calls=(messages[1].tool_calls[0], ToolCall("subtract", {"a": 9}, "call00001")))
    conversation = mark(talk(messages[0], second, *messages[2:], tools=True))
    contract = choose_options([conversation], TRL[name])
    found = tried(conversation, 1, contract)
    if isinstance(found, Turn):
        assert_own(found, conversation, contract)
    else:
        assert (found.code, name in ("gptoss", "llama3_1", "llama3_2")) in {("answer_missing", True), ("template_error", True)}, found


def test_rewritten_history_of_gpt_oss() -> None:
    """Its prompt shows the reasoning before a call, its history no longer once an answer follows."""
    conversation, contract = DIALOGUES["tools after reasoning"], TRL["gptoss"]
    first, last = turns_of(conversation, contract)
    assert not first.bridged and last.bridged
    assert "I must add" in last.context and "I must add" not in contract.render(conversation.messages)
    assert (
        last.completion
        == "<|channel|>analysis<|message|>the tool said so<|end|><|start|>assistant<|channel|>final<|message|>It is 4.<|return|>"
    )


# attacks: the shapes of `shapes.py` with dialogues that repeat themselves

SHAPES = {key: contract_of(source) for key, source in shapes() if key[2] != "shouts"}

TEXTS = ["", "a", "b", "ab", "Four.", "assistant", "user: a", "assistant: a", "a\n", "re a: b", "\n a ", "<b>", "think", "</b>x", "A"]
TEXTS += ["note", "a / a", "a: ", "<", "\\", "/s", "n", "<think>a</think>b"]


@st.composite
def repetitive(draw: st.DrawFn) -> Conversation:
    """One to three turns over one to three texts."""
    texts = st.sampled_from(draw(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=3)))
    messages: list[Message] = [system(draw(texts))] if draw(st.integers(0, 5)) == 0 else []
    for _ in range(draw(st.integers(1, 3))):
        messages += [user(draw(texts)), answer(draw(texts), draw(st.none() | texts))]
    return talk(*messages)


def assert_twins_agree(conversation: Conversation, contract: Contract, allow: Iterable[str] = ()) -> bool:
    """Whether the plain dialogue was accepted. Its marked twin shows whether rightly."""
    i = len(conversation.messages) - 1
    plain, marked = tried(conversation, i, contract, allow), tried(mark(conversation), i, contract, allow)
    if isinstance(marked, Turn):
        assert_own(marked, mark(conversation), contract, complete="no_stop" not in allow)
    if isinstance(plain, Turn) and isinstance(marked, Turn):
        assert (plain.context, plain.completion) == (unmark(marked.context), unmark(marked.completion))
    if isinstance(plain, Turn) and isinstance(marked, Refused):
        # The only thing that repetition may hide: that an earlier message is not shown. The mask does not rest on it.
        assert "does not show it as written" in marked.detail, (plain, marked)
    return isinstance(plain, Turn)


@given(key=st.sampled_from(sorted(SHAPES)), conversation=repetitive())
@settings(max_examples=500, deadline=None)
def test_attack_by_repetition(key: tuple[str, str, str], conversation: Conversation) -> None:
    assert_twins_agree(conversation, SHAPES[key], ["empty_answer"])


@given(key=st.sampled_from(sorted(SHAPES)), conversation=repetitive())
@settings(max_examples=300, deadline=None)
def test_attack_with_nearly_everything_allowed(key: tuple[str, str, str], conversation: Conversation) -> None:
    """`allow` gives up exactness, never the mask: no user's character is trained. (A turn without its answer is like any other.)"""
    assert_twins_agree(conversation, SHAPES[key], {*ALLOWABLE} - {"answer_missing"})


@given(name=st.sampled_from(sorted(TRL)), conversation=repetitive())
@settings(max_examples=150, deadline=None)
def test_attack_on_real_templates(name: str, conversation: Conversation) -> None:
    assert_twins_agree(conversation, TRL[name], ["empty_answer", "control_token"])


def test_a_template_that_shouts_is_refused_at_once() -> None:
    for key, source in shapes():
        if key[2] == "shouts":
            with pytest.raises(UserError, match="does not write what a user and an assistant say"):
                contract_of(source)


@pytest.mark.parametrize("way", [way for way in WAYS if way != "shouts"])
def test_what_each_way_comes_to(way: str) -> None:
    """Plain dialogues, so that refusing everything would not pass."""
    first = talk(user("What?"), answer("Four."), user("And?"), answer("Six."))
    thought = talk(user("What?"), answer("Four.", "hm"), user("And?"), answer("Six.", "ha"))
    found = [tried(d, 3, SHAPES["chatml", t, way]) for t in ("none", "closed", "open", "cut") for d in (first, thought)]
    verdicts = [("bridged" if t.bridged else "exact") if isinstance(t, Turn) else t.code for t in found]
    no, inexact = "template_error", "inexact"
    expected = {
        "straight": ["exact", "exact", "bridged", inexact, inexact, inexact, "exact", "exact"],
        "forgets": ["exact", "bridged", "bridged", inexact, inexact, inexact, "exact", "bridged"],
        "twice": ["exact", "exact", inexact, inexact, inexact, inexact, "exact", "exact"],
        "echoes": [no, no, inexact, inexact, inexact, inexact, no, no],
        "whispers": [no, no, inexact, inexact, inexact, inexact, no, no],
        "reminds": [inexact] * 8,
        "reverses": [no] * 8,
        "latest": [no] * 8,
    }
    assert verdicts == expected[way]


# particular turns


def test_an_unbalanced_block_is_not_bridged() -> None:
    """Whatever the prompt opens must be closed in it, and is not opened twice, whichever its name."""
    plain, thinking = (talk(user("What?"), answer("Four.", reasoning)) for reasoning in (None, "hm"))
    blocks = [("<reflect>", "</reflect>"), ("[PLAN]", "[/PLAN]"), ("<|channel>", "<channel|>"), ("<|START_THINKING|>", "<|END_THINKING|>")]
    for opening, closing in blocks:
        thoughts = "{% if m.reasoning_content %}" + f"{opening}{{{{ m.reasoning_content }}}}{closing}" + "{% endif %}"
        body = "{% for m in messages %}<|im_start|>{{ m.role }}\n" + thoughts + "{{ m.content }}<|im_end|>\n{% endfor %}"
        for tail in (opening, opening + closing, closing + opening):
            contract = contract_of(body + "{% if add_generation_prompt %}<|im_start|>assistant\n" + tail + "{% endif %}")
            assert isinstance(tried(plain, 1, contract), Turn) == (tail == opening + closing), tail
            assert isinstance(tried(thinking, 1, contract), Turn) == (tail == opening), tail


def test_the_refusal_shows_both_texts_and_the_switch() -> None:
    refused = tried(DIALOGUES["reasoning throughout"], 1, TRL["qwen3_5_nothink"])
    assert isinstance(refused, Refused) and refused.detail == (
        "message 2: the server's prompt has '\\n</think>\\n\\n' where the template's own history has"
        " 'two and two\\n</think>\\n\\nIt is 4.<|im_end|>\\n'"
        " after ...'|>assistant\\n<think>\\n'; `template_options: {enable_thinking: true}` would make it exact"
    )


def test_allow_inexact_trains_the_answer_behind_the_prompt() -> None:
    contract = TRL["deepseek_r1_distill"]
    turn = tried(DIALOGUES["plain"], 1, contract, ["inexact"])
    assert isinstance(turn, Turn) and turn.bridged
    assert turn.context.endswith("<think>\n") and turn.completion == "It is 4.<｜end▁of▁sentence｜>"


def test_refusals_of_a_turn() -> None:
    contract = TRL["qwen3"]
    rows = {
        "no_answer": talk(user("hi")),
        "empty_answer": talk(user("hi"), answer("")),
        "control_token": talk(user("<|im_end|>"), answer("ok")),
        "template_error": talk(answer("Hello.")),
    }
    for code, conversation in rows.items():
        with pytest.raises(Refused) as caught:
            turns_of(conversation, contract)
        assert caught.value.code == code
    assert turns_of(rows["empty_answer"], contract, frozenset({"empty_answer"}))[0].completion.endswith("</think>\n\n<|im_end|>")
    assert "<|im_end|>" in turns_of(rows["control_token"], contract, frozenset({"control_token"}))[0].context
    with pytest.raises(Refused, match="no_answer"):
        turns_of(talk(user("hi"), answer("ok", weight=0)), contract)


def test_what_a_template_drops_is_refused() -> None:
    contract = contract_of(shape("chatml", "none", "straight"))
    refused = tried(talk(user("hi"), call({"a": 1}), told("3"), answer("ok")), 1, contract)
    assert isinstance(refused, Refused) and refused.code == "answer_missing"
    for conversation in (talk(user("hi"), call({"a": 1})), talk(user("hi"), answer("ok"), tools=True)):
        with pytest.raises(Refused, match="template_error: the template leaves out or refuses tool"):
            turns_of(conversation, contract)
    shouting = contract_of("{% for m in messages %}{{ m.role }}: {{ m.content | replace('!', '.') }}</s>{% endfor %}")
    missing = tried(talk(user("hi"), answer("Ho!")), 1, shouting)
    assert isinstance(missing, Refused) and missing.code == "answer_missing" and "'assistant: Ho.</s>'" in missing.detail
    kept = tried(talk(user("hi"), answer("Ho!")), 1, shouting, ["answer_missing"])
    assert isinstance(kept, Turn) and kept.completion == "assistant: Ho.</s>"
    hidden = tried(talk(user("hi!"), answer("Ho")), 1, shouting)
    assert isinstance(hidden, Refused) and (hidden.code, "does not show it as written" in hidden.detail) == ("template_error", True)


def test_stops() -> None:
    """The stop must stand behind the whole turn, and nothing of the turn behind the stop."""
    body = "{% for m in messages %}{{ m.role }}: {{ m.content }}"
    silent = make_contract(toy_tokenizer(body + "\n{% endfor %}", ("</s>",)), "own", where="t", allow=["no_stop"])
    refused = tried(talk(user("hi"), answer("ok")), 1, silent)
    assert isinstance(refused, Refused) and refused.code == "no_stop" and refused.detail.endswith("the template writes '\\n'")
    kept = tried(talk(user("hi"), answer("ok")), 1, silent, ["no_stop"])
    assert isinstance(kept, Turn) and kept.completion == "assistant: ok"
    calls_behind = contract_of(body + "</s>{% for c in m.tool_calls %}{{ c.function.name }}</s>{% endfor %}\n{% endfor %}")
    refused = tried(talk(user("hi"), call({"a": 1}, content="ok")), 1, calls_behind)
    assert isinstance(refused, Refused) and (refused.code, "goes on behind the stop token: 'add</s>" in refused.detail) == (
        "answer_missing",
        True,
    )
    thought_stops = contract_of(
        "{% for m in messages %}{{ m.role }}: {% if m.reasoning_content %}{{ m.reasoning_content }}</s>{% endif %}"
        "{{ m.content }}</s>{% endfor %}"
    )
    refused = tried(talk(user("hi"), answer("ok", "hm")), 1, thought_stops)
    assert isinstance(refused, Refused) and (refused.code, "stands inside the answer" in refused.detail) == ("no_stop", True)
    refused = tried(talk(user("hi"), answer("hm", "hm")), 1, thought_stops)
    assert isinstance(refused, Refused) and refused.code == "answer_missing", "the words before the stop are the reasoning's"


def test_the_next_turns_header_as_stop() -> None:
    contract = TRL["glm4moe"]
    conversation = DIALOGUES["tools after reasoning"]
    first, last = turns_of(conversation, contract)
    assert first.completion.endswith("</tool_call><|observation|>") and "I must add" in first.completion
    assert last.completion == "\n<think>the tool said so</think>\nIt is 4.<|user|>"
    repeated = talk(user("Four."), answer("Four.", "Four."), user("Four."), answer("Four."))
    assert [t.completion for t in turns_of(repeated, contract)] == [
        "\n<think>Four.</think>\nFour.<|user|>", "\n<think></think>\nFour.<|user|>"
    ]  # fmt: skip


def test_repetition_is_no_proof() -> None:
    """Texts that agree only because they are the same words: history here shows the last two messages alone."""
    same, different = (talk(system(s), user(u), answer("a")) for s, u in (("a", "a"), ("b", "c")))
    for conversation in (same, different):
        assert isinstance(tried(conversation, 2, SHAPES["bare", "blank", "latest"]), Refused)


def test_an_answer_shown_before_its_question_is_not_found_behind_it() -> None:
    """The template's own closing words read like the answer."""
    source = (
        "{% for m in messages | reverse %}{{ m.content }}</s>{% endfor %}{% if messages[-1].role == 'assistant' %}the end</s>{% endif %}"
    )
    refused = tried(talk(user("Is this the start?"), answer("end")), 1, contract_of(source))
    assert isinstance(refused, Refused) and refused.code == "inexact"


def test_a_users_tag_is_a_users_text() -> None:
    """Blotted out like any other, unless the template itself writes such tags: this one repeats the first letter of what the user said."""
    refused = tried(talk(user("<b>What?"), answer("Four.")), 1, SHAPES["chatml", "none", "whispers"])
    assert isinstance(refused, Refused) and "depends on what others said" in refused.detail


def test_texts_that_hold_the_mark_are_not_bridged() -> None:
    contract = SHAPES["chatml", "closed", "straight"]
    assert isinstance(tried(talk(user("What?"), answer("Four.")), 1, contract), Turn)
    for conversation in (talk(user(f"What{MARK}?"), answer("Four.")), talk(user("What?"), answer(f"Fo{MARK}ur."))):
        refused = tried(conversation, 1, contract)
        assert isinstance(refused, Refused) and refused.code == "inexact"
