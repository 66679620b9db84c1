"""The prose: reproducible, plain, without an instruction format, and wide enough to learn from."""

import re
from collections import Counter
from random import Random

import pytest

from instil.pocket.prose import WRITERS, document
from instil.pocket.prose.facts import QUESTIONS, RELATIONS, STATEMENTS, things, worded
from instil.pocket.world import world


def test_a_page_is_a_function_of_seed_and_index():
    assert [document(3, i) for i in range(20)] == [document(3, i) for i in range(20)]
    assert document(3, 1) != document(4, 1)


@pytest.mark.parametrize("name", WRITERS)
def test_every_writer_writes_clean_pages(name):
    pages = [WRITERS[name][1](Random(i)) for i in range(100)]
    assert len(set(pages)) > 60
    assert any(len(page) > 50 for page in pages)
    for page in pages:
        assert "{}" not in page and not re.search(r"\S  ", page) and "None" not in page, page
        if name != "records":
            assert "{" not in page and "}" not in page


def test_there_is_no_instruction_format():
    text = "\n".join(document(0, i) for i in range(5000)).lower()
    for sign in ("<|im_start|>", "### instruction", "instruction:", "response:", "assistant", "human:", "[inst]"):
        assert sign not in text


def test_every_fact_is_worded_in_many_ways():
    for relation in ("capital", "continent", "language", "currency", "symbol"):
        assert len(STATEMENTS[relation]) >= 8


@pytest.mark.parametrize("kind", RELATIONS)
def test_wordings_name_what_they_say(kind):
    for relation in RELATIONS[kind]:
        for thing in things(kind)[:30]:
            value = getattr(thing, relation)
            for wording in STATEMENTS[relation]:
                assert value.lower() in worded(wording, thing).lower()
            for question, answer in QUESTIONS[relation]:
                assert worded(question, thing) != worded(answer, thing)


def test_question_pages_ask_about_every_country():
    text = "\n".join(WRITERS["answered questions"][1](Random(i)) for i in range(12000))
    assert [country.name for country in world().countries if f"What is the capital of {country.name}?" not in text] == []


def test_kinds_of_pages_come_as_often_as_they_weigh():
    heads = Counter(document(0, i).split("\n")[0] == "Quiz" for i in range(4000))
    assert 0 < heads[True] / 4000 < 0.03
