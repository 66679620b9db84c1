"""The plain prose that the built-in base model reads: raw text such as a web crawl would hold, and no instruction format anywhere.

`document(seed, index, part)` is a pure function, so the corpus is as long as one likes and always the same.
"""

from random import Random

from instil.pocket.prose import exercises, facts, lists, numbers, otherwise, quizzes, stories, words

WRITERS = {
    **facts.WRITERS,
    **words.WRITERS,
    **lists.WRITERS,
    **stories.WRITERS,
    **numbers.WRITERS,
    **exercises.WRITERS,
    **quizzes.WRITERS,
    **otherwise.WRITERS,
}
"""Kind of page -> (its share of the pages, relative; who writes it)."""

_WORDS = {"glossaries": 2.0, "translations": 2.2, "language questions": 2.0, "grammar": 1.2, "capital letters": 1.3}
_LESS = {"fact pages": 0.7, "fact surveys": 0.7, "unanswered questions": 0.6, "plain sentences": 0.6}
_NOT_OTHERWISE = dict.fromkeys(otherwise.WRITERS, 0.0)
_NO_FORUMS = {name: 0.0 for name in quizzes.WRITERS if name.startswith("forum")} | _NOT_OTHERWISE
_NO_QUIZZES = dict.fromkeys(quizzes.WRITERS, 0.0) | _NOT_OTHERWISE
_NO_EXERCISES = dict.fromkeys(exercises.WRITERS, 0.0) | _NO_QUIZZES
_MORE_SKILLS = {
    **_WORDS,
    **_LESS,
    "spelling": 1.5,
    "sums": 1.7,
    "number stories": 1.5,
    "alphabet": 2.0,
    "stories": 0.7,
    "translations": 1.6,
}
_AND_QUIZZES = {**_MORE_SKILLS, "glossaries": 1.3, "translations": 1.3, "alphabet": 1.0, "records": 3.0}
_AND_FORUMS = {**_AND_QUIZZES, "quiz sheets": 0.6, "ruled sheets": 0.6, "fact pages": 1.1, "fact surveys": 1.0}
_WORDS_AGAIN = {"translations": 2.4, "glossaries": 2.0, "language questions": 3.0, "grammar": 1.6}
_FACTS_AGAIN = {"fact pages": 1.6, "fact surveys": 1.4, "answered questions": 1.5, "spelling": 2.5}
_RULED = {"ruled sheets": 1.2, "forum questions under a rule": 2.0, "comprehension": 1.5, "looking up": 1.5}
_NO_PASSAGES = {name: 0.0 for name in otherwise.WRITERS if name.endswith("passages")}
_RULED_AGAIN = {"ruled sheets": 2.5, "forum questions under a rule": 2.5, "quiz sheets": 0.5, "fact pages": 1.0, "fact surveys": 1.0}
_FACTS_LAST = {"fact pages": 2.5, "fact surveys": 2.5}
_ASKED_OTHERWISE = {"quiz sheets": 0.3, "forum questions": 0.5, "unanswered questions": 1.5, "fact surveys": 2.0, "grammar": 2.2}

PARTS = (
    _NO_EXERCISES,
    {**_NO_EXERCISES, **_WORDS, **_LESS},
    {**_MORE_SKILLS, **_NO_QUIZZES},
    {**_AND_QUIZZES, **_NO_FORUMS},
    {**_AND_FORUMS, **_NOT_OTHERWISE, "translations": 1.6, "glossaries": 1.6},
    {**_AND_FORUMS, **_NOT_OTHERWISE, **_WORDS_AGAIN, **_FACTS_AGAIN},
    {**_AND_FORUMS, **_NO_PASSAGES, **_WORDS_AGAIN, **_FACTS_AGAIN, **_ASKED_OTHERWISE},
    {**_AND_FORUMS, **_WORDS_AGAIN, **_FACTS_AGAIN, **_ASKED_OTHERWISE, **_RULED},
    {**_AND_FORUMS, **_WORDS_AGAIN, **_FACTS_AGAIN, **_ASKED_OTHERWISE, **_RULED, **_RULED_AGAIN},
    {**_AND_FORUMS, **_WORDS_AGAIN, **_FACTS_AGAIN, **_ASKED_OTHERWISE, **_RULED, **_RULED_AGAIN, **_FACTS_LAST},
)
"""The corpus is read in ten parts; how often, against its share, a kind of page occurs in each.

1. Mostly facts. 2. More words: there are six for every fact, and after 900 steps the model completed 82 % of the capitals and 10 % of
the translations. 3. Exercises: a model that had read parts 1 and 2 (33 million tokens) completed 97 % of all facts, but added numbers
rightly in 22 % of cases, spelled in 42 %, and found who did something among three events in 23 %. Tuned, it answered 26 % of held-out
prompts. 4. Quiz sheets: after 4 million tokens of part 3 the same prompts, put as "Q: ... A:", were answered in 31 % of cases, and not
one that asked for the first, second or other words of a list, in a wording that the exercises did not have. 5. Forums: after 9 million
tokens of part 4 those were 55 %, but tuned in a chat template the model answered half of the held-out prompts and forgot what it knew: it
had to learn the shape of a conversation as well. On a forum's page one writes and another answers. 6. Facts and words again: after 8,000
steps it answered 69 % when tuned, but completed 91 % of the facts, where it had known 97 % after part 2. 7. Asked otherwise: after 9,200
steps it answered 73 % when tuned, but 60 % in other wordings, and put as "Q: ... A:" 58 % and 53 %. 8. Passages
and rules: after 15,700 steps it knew 98 % of the facts and answered 78 % when tuned, but a third of the questions about a passage, and few
whose answer had to be known and then put into capital letters. 9. Everything is asked: see `facts`.
10. Facts a last time: after 23,200 steps it answered 87 % when tuned, but completed 95 % of the facts, of the animals' groups 68 %.
"""

_NAMES = tuple(WRITERS)
_WEIGHTS = tuple(tuple(weight * part.get(name, 1.0) for name, (weight, _) in WRITERS.items()) for part in PARTS)


def document(seed: int, index: int, part: int = 9) -> str:
    """Page `index` of the corpus `seed`, as one of its PARTS (from 0) has it."""
    rng = Random(f"{seed}/{index}")
    text = ""
    while not text.strip():
        text = WRITERS[rng.choices(_NAMES, _WEIGHTS[part])[0]][1](rng)
    return text.strip()
