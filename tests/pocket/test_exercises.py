"""Exercise pages: right answers, and questions that are always marked as such."""

import re
from random import Random

import pytest

from instil.pocket.prose.exercises import SHAPES, WRITERS, list_question, page_of, word_question
from instil.pocket.world import world


def test_every_shape_marks_the_question():
    for shape in SHAPES:
        assert not shape.startswith("{q}")
        assert page_of(Random(1), [("What?", "that")]).count("What?") == 1


def test_list_answers_are_made_of_the_list():
    for seed in range(300):
        question, answer = list_question(Random(seed))
        if answer.isdigit():
            assert int(answer) == question.count(",") + 1
        else:
            assert all(word in question for word in answer.split(", "))


@pytest.mark.parametrize("kind", ["opposite", "comparative", "past", "plural", "category"])
def test_word_answers_are_those_of_the_tables(kind):
    forms = {
        "opposite": {(w.word, w.opposite) for w in world().adjectives},
        "comparative": {(w.word, w.comparative) for w in world().adjectives},
        "past": {(v.word, v.past) for v in world().verbs},
        "plural": {(n.word, n.plural) for n in world().nouns},
        "category": {(n.word, n.category) for n in world().nouns},
    }[kind]
    for question, answer in (word_question(Random(seed), kind) for seed in range(200)):
        assert any((word, answer) in forms for word in re.findall(r"[A-Za-z]+", question)), question


def test_sums_are_right():
    page = "\n".join(WRITERS["sum exercises"][1](Random(seed)) for seed in range(50))
    for a, b, c in re.findall(r"(\d+) (?:\+|plus) (\d+)\?? ?(?:= \?)?[^\d]{1,12}(\d+)", page):
        assert int(a) + int(b) == int(c)
