"""Quiz sheets: right answers to marked questions, rules that are kept, and no wording that the evaluation alone may use."""

import re
from random import Random

import pytest

from instil.pocket.prose import document
from instil.pocket.prose.quizzes import FORMS, KINDS, SHAPES, WRITERS, form, letters, listed, question, rule, signs, sums
from instil.pocket.tasks import TASKS
from instil.pocket.world import world


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_asks_and_answers(kind):
    drawn = [question(Random(seed), (kind,)) for seed in range(150)]
    assert len(set(drawn)) > 100
    for asked, answer in drawn:
        assert asked.strip() and answer.strip() and "{" not in asked + answer, (asked, answer)


def test_every_shape_marks_the_question():
    for shape in SHAPES:
        assert not shape.startswith("{q}")


def test_list_answers_are_made_of_the_list():
    for seed in range(400):
        asked, answer = listed(Random(seed))
        words = answer.split(", ")
        if answer.isdigit():
            assert int(answer) == asked.count(",") + 1
        else:
            assert all(re.search(rf"\b{re.escape(word)}\b", asked) for word in words), (asked, answer)


def test_forms_are_those_of_the_tables():
    known = {(word.word, getattr(word, answer)) for pool, answer, _ in FORMS.values() for word in getattr(world(), pool)}
    for asked, answer in (form(Random(seed)) for seed in range(400)):
        assert any((word, answer) in known for word in re.findall(r"[A-Za-z]+", asked)), (asked, answer)


def test_letters_are_those_of_the_word():
    for seed in range(300):
        found = letters(Random(seed))
        if found is not None:
            asked, answer = found
            word = answer.replace("-", "") if len(answer.split("-")) > 2 else answer
            assert word.lower() in asked.lower(), found


def test_sums_and_signs_are_right():
    for seed in range(300):
        asked, answer = sums(Random(seed))
        a, b = (int(number) for number in re.findall(r"\d+", asked)[:2])
        assert int(answer) in (a + b, abs(a - b)), (asked, answer)
        asked, answer = signs(Random(seed))
        assert re.findall(r"\d+", asked) == re.findall(r"\d+", answer) and len(answer.split()) == 3


def test_rules_change_the_form_of_an_answer_only():
    seen = set()
    for seed in range(300):
        said, change = rule(Random(seed))
        changed = change("Rome")
        assert "rome" in changed.lower()
        if "capital letters" in said or "upper case" in said:
            assert changed == "ROME"
        seen.add(re.sub(r"\w{4,}", "", changed))
    assert len(seen) >= 6


def test_no_page_holds_a_wording_of_the_evaluation():
    """Wordings that are never trained are not read either: what is left of them without their slots stands on no page."""
    pages = [WRITERS[name][1](Random(seed)) for name in WRITERS for seed in range(1200)] + [document(0, i) for i in range(3000)]
    text = "\n".join(pages)
    wordings = [wording for task in TASKS.values() for wording in task.unseen]
    assert len(wordings) > 50
    for wording in wordings:
        pattern = re.sub(r"\\\{\w+\\\}", r"[^\\n?]{1,40}", re.escape(wording))
        assert len(re.sub(r"\{\w+\}", "", wording).split()) < 3 or not re.search(pattern, text), wording
