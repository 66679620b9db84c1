"""The template's own switches, chosen by what makes the data exact."""

import pytest

from instil.template.contract import Contract, make_contract
from instil.template.options import choose_options, exact_switch, is_exact, switches
from instil.template.paths import Rules, template_rows
from tests.template.dialogues import DIALOGUES, answer, talk, user
from tests.template.toy import ends_of, toy_tokenizer, trl_templates

PLAIN, THINKING = DIALOGUES["plain"], DIALOGUES["reasoning throughout"]


def contract(name: str, **options: object) -> Contract:
    source = trl_templates()[name].read_text(encoding="utf-8")
    return make_contract(toy_tokenizer(source, ends_of(name)), "own", where=name, options=options)


NEEDS_A_SWITCH = {
    ("nemotron_3_nano", "plain"): {"enable_thinking": False},
    ("nemotron_3_super", "plain"): {"enable_thinking": False},
    ("nemotron_3_ultra", "plain"): {"enable_thinking": False},
    ("nemotron_3_5_lightning", "plain"): {"enable_thinking": False},
    ("qwen3_5_nothink", "thinking"): {"enable_thinking": True},
}


@pytest.mark.parametrize("name", trl_templates())
@pytest.mark.parametrize("kind", ["plain", "thinking"])
def test_which_templates_need_a_switch(name: str, kind: str) -> None:
    before, row = contract(name), PLAIN if kind == "plain" else THINKING
    chosen = choose_options([row, row], before)
    expected = NEEDS_A_SWITCH.get((name, kind), {})
    assert chosen.template.options == expected
    assert (chosen is before) == (not expected)
    if expected:
        assert not is_exact(row, 1, before) and is_exact(row, 1, chosen)
        option, value = next(iter(expected.items()))
        said = f"{option}: {str(value).lower()}"
        assert exact_switch(row, 1, before) == said
        assert chosen.notes[-1] == f"template option {said} makes 4 of 4 sampled turns exact (0 without it): used, and recorded for serving"
        assert template_rows([row], chosen, Rules(10**4))[0].outcome == "kept"
        assert chosen.prompt(row.messages[:1]) != before.prompt(row.messages[:1]), "and serving sends the same prompt"


def test_the_majority_decides() -> None:
    found = choose_options([PLAIN, PLAIN, THINKING], contract("nemotron_3_nano"))
    assert found.template.options == {"enable_thinking": False} and "makes 4 of 6 sampled turns exact (2 without it)" in found.notes[-1]
    assert choose_options([PLAIN, THINKING, THINKING], contract("nemotron_3_nano")).template.options == {}


def test_the_recipe_has_the_last_word() -> None:
    settled = contract("nemotron_3_nano", enable_thinking=True)
    assert ("enable_thinking", False) not in switches(settled)
    assert choose_options([PLAIN], settled).template.options == {"enable_thinking": True}


def test_a_template_without_switches() -> None:
    assert switches(contract("llama3")) == []
    assert exact_switch(talk(user("hi"), answer("ok")), 1, contract("llama3")) is None
    assert not is_exact(talk(answer("ok"), answer("ok")), 1, contract("gemma")), "refused is not exact"
