"""Exercise pages: questions about words, lists, sums and passages with their answers, as school books and quiz sites print them.

They never have the form of a conversation.
"""

from collections.abc import Callable
from random import Random

from instil.pocket.prose.lists import PLACES, items
from instil.pocket.prose.numbers import pair
from instil.pocket.prose.stories import event, events, recap, tell, unanswerable
from instil.pocket.prose.words import anything, phrase
from instil.pocket.world import COLORS, Noun, capitalized, joined, objects, world

SHAPES = (
    "Q: {q}\nA: {a}",
    "Question: {q}\nAnswer: {a}",
    "Q: {q} A: {a}",
    "Exercise: {q}\nSolution: {a}",
    "Asked: {q}\nRight: {a}",
    "- {q} {a}.",
)
"""All of them mark the question: in this world a bare line that asks is followed by the next question, as on a quiz sheet."""


def page_of(rng: Random, pairs: list[tuple[str, str]]) -> str:
    """Questions with answers, all in one shape."""
    shape = rng.choice(SHAPES)
    title = rng.choice(("Exercises\n", "Exercises with solutions\n", "Practice\n", "", "", ""))
    return title + rng.choice(("\n", "\n\n")).join(shape.format(q=question, a=answer) for question, answer in pairs)


ADJECTIVE = {
    "opposite": ("What is the opposite of {w}?", "Which word is the opposite of {w}?", "{w}: what is the opposite?"),
    "comparative": ("What is the comparative of {w}?", "How do you compare {w}?", "{w}: what is the comparative?"),
}
PAST = ("What is the past tense of {w}?", "Today they {w}. What did they do yesterday?", "{w}: what is the past?")
PLURAL = ("What is the plural of {w}?", "One {w}, two what?", "{w}: what is the plural?")
CATEGORY = ("Does {w} go under {g}?", "Which group fits {w}: {g}?", "{w}: {g}?")


def word_question(rng: Random, kind: str) -> tuple[str, str]:
    """One question about a form of a word."""
    everything = world()
    if kind in ADJECTIVE:
        word = rng.choice(everything.adjectives)
        return rng.choice(ADJECTIVE[kind]).format(w=word.word), getattr(word, kind)
    if kind == "past":
        verb = rng.choice(everything.verbs)
        return rng.choice(PAST).format(w=verb.word), verb.past
    noun = rng.choice(everything.nouns)
    if kind == "plural":
        return rng.choice(PLURAL).format(w=noun.word), noun.plural
    return category_question(rng, noun, CATEGORY)


def category_question(rng: Random, noun: Noun, wordings: tuple[str, ...]) -> tuple[str, str]:
    """Which of three groups, among them its own, a noun belongs to. `wordings` have the slots w and g."""
    others = rng.sample(sorted({one.category for one in world().nouns} - {noun.category}), 2)
    groups = rng.sample([noun.category, *others], 3)
    return rng.choice(wordings).format(w=noun.word, g=joined(groups, "or")), noun.category


def about_words(rng: Random) -> str:
    kinds = ("plural", "past", "opposite", "comparative", "category")
    kind = rng.choice(kinds)
    mixed = rng.random() < 0.5
    return page_of(rng, [word_question(rng, rng.choice(kinds) if mixed else kind) for _ in range(rng.randrange(5, 14))])


SPELLED = ("How is {w} spelled?", "How do you spell {w}?", "Spelling: {w}")
FIRST = ("What is the first letter of {w}?", "Which letter does {w} start with?", "With which letter does {w} begin?")
LARGE = ("What is {w} in capital letters?", "How does {w} look in upper case?", "Capital letters: {w}", "Upper case: {w}")


def letters(rng: Random) -> str:
    """Spelling, first letters, capital letters."""
    pairs = []
    for _ in range(rng.randrange(4, 9)):
        word = anything(rng)
        kind = rng.randrange(4)
        if kind == 0 and " " not in word:
            pairs.append((rng.choice(SPELLED).format(w=word), "-".join(word)))
        elif kind == 1:
            pairs.append((rng.choice(FIRST).format(w=word), word[0]))
        else:
            text = rng.choice((word, phrase(rng), word))
            pairs.append((rng.choice(LARGE).format(w=text), text.upper()))
    return page_of(rng, pairs)


def list_question(rng: Random) -> tuple[str, str]:
    """A question about the order, the ends or the length of a list, and its answer."""
    words = items(rng)
    here = rng.randrange(len(words))
    shown = ", ".join(words)
    question, answer = rng.choice(
        (
            ("What is the reverse of {l}?", ", ".join(words[::-1])),
            ("How does {l} read backwards?", ", ".join(words[::-1])),
            ("What is the alphabetical order of {l}?", ", ".join(sorted(words, key=str.lower))),
            ("How are {l} sorted by the alphabet?", ", ".join(sorted(words, key=str.lower))),
            ("How many words are there: {l}?", str(len(words))),
            ("How many are {l}?", str(len(words))),
            ("Which is the first of {l}?", words[0]),
            (f"Which is the {PLACES[here]} of {{l}}?", words[here]),
            ("What remains of {l} without the first?", ", ".join(words[1:])),
        )
    )
    return question.format(l=shown), answer


def about_lists(rng: Random) -> str:
    return page_of(rng, [list_question(rng) for _ in range(rng.randrange(3, 7))])


def sums(rng: Random) -> str:
    """Sums and differences of small numbers."""
    pairs = []
    for _ in range(rng.randrange(5, 12)):
        a, b = pair(rng)
        plus = ("What is {a} + {b}?", "What is {a} plus {b}?", "How much is {a} plus {b}?", "{a} + {b} = ?", "{a} and {b} make what?")
        minus = ("What is {c} - {b}?", "What is {c} minus {b}?", "How much is {c} minus {b}?", "{c} - {b} = ?", "{b} from {c} leaves what?")
        add = rng.random() < 0.5
        pairs.append((rng.choice(plus if add else minus).format(a=a, b=b, c=a + b), str(a + b if add else a)))
    return page_of(rng, pairs)


def comprehension(rng: Random) -> str:
    """A passage, then several questions about it, some of which it does not answer."""
    happened = events(rng, rng.randrange(2, 4))
    passage = tell(rng, happened)
    pairs = [unanswerable(rng, happened) if rng.random() < 0.25 else recap(rng, happened) for _ in range(rng.randrange(2, 6))]
    if rng.random() < 0.25:
        pairs.append(("Who are the people in the story?", ", ".join(one.who for one in happened)))
    head = rng.choice(("", "", "Read this. ", "Passage: ", "Story: "))
    return f"{head}{passage}\n{page_of(rng, pairs)}"


def one_lookup(rng: Random) -> str:
    """Short passages, each with one question: who, what, where, which color."""
    parts = []
    shape = rng.choice(("Q: {q} A: {a}", "Question: {q} Answer: {a}", "({q} {a})"))
    for _ in range(rng.randrange(2, 4)):
        if rng.random() < 0.35:
            things = rng.sample(objects(), 3)
            colors = rng.sample(COLORS, 3)
            told = joined(f"the {thing.word} is {color}" for thing, color in zip(things, colors, strict=True))
            at = rng.randrange(3)
            head = rng.choice((capitalized(told), f"{rng.choice(world().people).name} says that {told}"))
            question = rng.choice(("What color is the {t}?", "Which color does the {t} have?")).format(t=things[at].word)
            parts.append(f"{head}. " + shape.format(q=question, a=colors[at]))
        else:
            happened = [event(rng), event(rng)]
            question, answer = recap(rng, happened)
            parts.append(f"{tell(rng, happened, fillers=False)} " + shape.format(q=question, a=answer))
    return "\n".join(parts)


WRITERS: dict[str, tuple[float, Callable[[Random], str]]] = {
    "word exercises": (7.0, about_words),
    "letter exercises": (6.0, letters),
    "list exercises": (7.0, about_lists),
    "sum exercises": (6.0, sums),
    "comprehension": (14.0, comprehension),
    "looking up": (8.0, one_lookup),
}
