"""Nothing that is evaluated may have been trained: found by hash of the text, and by word 8-grams.

`curate/contamination.py` looks for 8-grams, too, and asks something else: whether a training prompt holds more than half of an item. Here
question and answer must stand there whole, over however many rows, since prompts of one task share their wording.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from instil.core.files import hash_text
from instil.evaluate.values import Example, Prompt, words_of

GRAM = 8


@dataclass(frozen=True)
class Overlap:
    """`trained`: ids of prompts that training holds. `shared`: how many others have at least one word 8-gram in common with it."""

    trained: frozenset[str]
    shared: int


def find_overlap(prompts: Sequence[Prompt], training: Iterable[Example]) -> Overlap:
    """Which prompts are in the training data, read once as a stream.

    A prompt counts as trained where its question stands there (case and white space folded), or where every 8-gram of its question and
    answer together does: the text is there, whatever surrounds it. Sharing some 8-grams is no proof, since prompts of one task share its
    wording; how many do is counted.
    """
    words = {p.id: words_of(f"{p.text}\n{p.answer}") for p in prompts}
    questions = {p.id: hash_text(*words_of(p.text)) for p in prompts}
    grams = {key: set(_grams(found)) for key, found in words.items()}
    looked_for = {gram for some in grams.values() for gram in some}
    wanted = set(questions.values())
    asked: set[str] = set()
    seen: set[tuple[str, ...]] = set()
    for example in training:
        question = hash_text(*words_of(example.question))
        if question in wanted:
            asked.add(question)
        if looked_for:
            seen.update(g for g in _grams(words_of(f"{example.question}\n{example.answer}")) if g in looked_for)
    trained = {key for key in words if questions[key] in asked or (grams[key] and grams[key] <= seen)}
    return Overlap(frozenset(trained), sum(not seen.isdisjoint(grams[key]) for key in words if key not in trained))


def _grams(words: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + GRAM]) for i in range(len(words) - GRAM + 1)]
