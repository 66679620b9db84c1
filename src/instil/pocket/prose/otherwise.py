"""Quiz sheets and forum pages once more, asked otherwise: the same questions in many more wordings, with words around them.

A model that has read five wordings of a question answers those; one that has read fifty listens to what is asked. Tuned, the model of step
9,200 answered 73 % of held-out prompts in trained wordings and 60 % in others.
"""

from collections.abc import Callable
from functools import partial
from random import Random

from instil.pocket.prose import quizzes
from instil.pocket.prose.facts import RELATIONS, things
from instil.pocket.prose.lists import PLACES, items
from instil.pocket.prose.numbers import pair
from instil.pocket.prose.quizzes import FORMS, KINDS, LETTERS, LISTS, Pair, question, shown
from instil.pocket.prose.stories import events, recap, tell, unanswerable
from instil.pocket.prose.words import any_word, anything, phrase
from instil.pocket.world import LANGUAGES, translations, world

OF = (
    "Do you know the {r} of {g}?",
    "I am looking for the {r} of {g}.",
    "{g} - {r}?",
    "Can you say the {r} of {g}?",
    "Say the {r} of {g}.",
    "The {r} that belongs to {g}?",
    "{g} has which {r}?",
    "Look up the {r} of {g}.",
    "Somebody asks for the {r} of {g}.",
    "Write down the {r} of {g}.",
    "We need the {r} of {g}.",
)
BACK = (
    "{g} is the {r} of what?",
    "Of what is {g} the {r}?",
    "What has {g} as its {r}?",
    "I know the {r}: {g}. What is it the {r} of?",
    "Whose {r} is {g}?",
    "{r}: {g}. What am I thinking of?",
)


def fact(rng: Random) -> Pair:
    """A relation asked for by its name; capitals and symbols also the other way round."""
    kind = rng.choices(("country", "element", "animal"), (5, 2, 3))[0]
    relation, thing = rng.choice(RELATIONS[kind]), rng.choice(things(kind))
    value = getattr(thing, relation)
    if relation in ("capital", "symbol") and rng.random() < 0.4:
        return rng.choice(BACK).format(r=relation, g=value), thing.name
    name = {"legs": "number of legs"}.get(relation, relation)
    return rng.choice(OF).format(r=name, g=thing.name), value


INTO = (
    "{l} for {e}?",
    "{e}: what is it in {l}?",
    "How would {l} people say {e}?",
    "Find the {l} translation of {e}.",
    "{e}, but in {l}.",
    "I want to say {e} in {l}.",
    "Turn {e} into {l}.",
    "Write {e} in {l}.",
    "{l}: {e}",
    "My {l} book lacks the word {e}. What is it?",
)
OUT_OF = (
    "{f} is {l}. What is it in English?",
    "English for {f}?",
    "Somebody says {f} in {l}. What is meant?",
    "In a {l} book stands {f}. Say it in English.",
    "Find the English translation of {f}.",
    "{f}: English?",
    "{l} {f}, English what?",
    "Turn the {l} word {f} into English.",
)


def translation(rng: Random) -> Pair:
    word, language = any_word(rng), rng.choice(LANGUAGES)
    foreign = translations(word)[language]
    if rng.random() < 0.6:
        return rng.choice(INTO).format(e=word.word, l=language), foreign
    return rng.choice(OUT_OF).format(f=foreign, l=language), word.word


FORMED = {
    "plural": ("The plural form of {w}?", "Many of {w}: which word?", "Not one {w} but three: which word?", "{w} in the plural?"),
    "past": ("{w} yesterday?", "The past form of {w}?", "Say {w}, but of last week.", "{w} in the past?", "Put it into the past: {w}"),
    "ing": ("{w} with ing?", "The form of {w} that ends in ing?", "He likes to {w}. He is doing what?"),
    "opposite": ("The opposite word for {w}?", "If it is not {w}, it is what?", "The other end of {w}?", "Turn {w} into its opposite."),
    "comparative": (
        "More {w}: which word?",
        "{w}, and one step further?",
        "The form of {w} for two things?",
        "Put {w} into the comparative.",
    ),
    "superlative": ("Most {w}: one word?", "The highest form of {w}?", "{w}, and nothing is above it?", "Put {w} into the superlative."),
}


def form(rng: Random) -> Pair:
    kind = rng.choices(list(FORMS), (3, 3, 1, 2, 2, 1))[0]
    pool, answer, _ = FORMS[kind]
    word = rng.choice(getattr(world(), pool))
    return rng.choice(FORMED[kind]).format(w=word.word), getattr(word, answer)


LETTERED = {
    "spell": ("The letters of {w}, one by one?", "Spell this: {w}", "{w}, with a dash between the letters?", "Which letters has {w}?"),
    "first": ("{w} starts with?", "The letter at the start of {w}?", "First letter of {w}?", "How does {w} begin? One letter."),
    "last": ("{w} ends with?", "The letter at the end of {w}?", "Last letter of {w}?", "How does {w} end? One letter."),
}
LARGE = (
    "All letters large: {w}",
    "{w} as on a sign?",
    "Shout it: {w}",
    "Use large letters for {w}",
    "Turn {w} into capital letters.",
    "A sign says this in capital letters: {w}",
)


def letters(rng: Random) -> Pair | None:
    if rng.random() < 0.4:
        text = rng.choice((anything, phrase))(rng)
        return rng.choice(LARGE).format(w=text), text.upper()
    word, kind = anything(rng), rng.choices(list(LETTERED), (4, 2, 2))[0]
    if " " in word or len(word) > 9:
        return None
    return rng.choice(LETTERED[kind]).format(w=word), LETTERS[kind][1](word)


LISTED = {
    "reverse": (
        "Flip {l}.",
        "{l}: from right to left?",
        "Say {l} in the other direction.",
        "The list {l}, last word to the front?",
        "Make the last the first and so on: {l}",
        "Other way round: {l}",
    ),
    "sort": ("From A to Z: {l}", "Arrange {l} like a dictionary.", "Sorted: {l}", "In which order has a dictionary {l}?", "Alphabet! {l}"),
    "count": (
        "{l}: how many are they?",
        "Say the number of these things: {l}",
        "The length of the list {l}?",
        "How many items: {l}",
        "{l}. Count them.",
    ),
    "first": (
        "What stands at the front? {l}",
        "The one at the start of {l}?",
        "Pick the first: {l}",
        "{l}: the first?",
        "The list is {l}. First one?",
        "Only what comes first: {l}",
    ),
    "last": (
        "What stands at the very end? {l}",
        "The one at the end of {l}?",
        "Pick the last: {l}",
        "{l}: the last?",
        "The list is {l}. Last one?",
        "Only what comes last: {l}",
    ),
    "rest": ("Remove the first: {l}", "{l}, now without {f}?", "Keep all of {l} but {f}.", "{l}: and the others after the first?"),
}
PLACED = ("Pick the {o}: {l}", "{l}: the {o}?", "The list is {l}. The {o} one?", "Only the {o}: {l}", "What stands at place {n}? {l}")


def listed(rng: Random) -> Pair:
    words = items(rng)
    shown = ", ".join(words)
    if rng.random() < 0.25:
        place = rng.randrange(len(words))
        return rng.choice(PLACED).format(l=shown, o=PLACES[place], n=place + 1), words[place]
    kind = rng.choices(list(LISTED), (4, 3, 3, 3, 2, 2))[0]
    return rng.choice(LISTED[kind]).format(l=shown, f=words[0]), LISTS[kind][1](words)


PLUS = (
    "{a} and {b} together?",
    "{a}, then {b} more: how many?",
    "Do this sum: {a} + {b}",
    "{a} + {b}, please",
    "First {a}, then plus {b}?",
)
MINUS = ("{c} without {b}?", "{c}, then {b} less: how many?", "Do this: {c} - {b}", "{c} - {b}, please", "First {c}, then minus {b}?")


def sums(rng: Random) -> Pair:
    a, b = pair(rng)
    add = rng.random() < 0.5
    return rng.choice(PLUS if add else MINUS).format(a=a, b=b, c=a + b), str(a + b if add else a)


READ = (
    "In the text: {q}\n{p}",
    "{q} Here is the text: {p}",
    "Text\n{p}\nTask\n{q}",
    "{p}\n\nAfter reading: {q}",
    "{p} Now say: {q}",
    "Someone tells us: {p} {q}",
    "{p}\n{q} Use the story.",
    "First the task: {q} Then the story: {p}",
)


def reading(rng: Random) -> Pair:
    happened = events(rng, rng.randrange(2, 4))
    passage = tell(rng, happened)
    if rng.random() < 0.12:
        asked = rng.choice(("All people in it?", "Write down each name.", "Who comes up in it?", "Collect the names."))
        return rng.choice(READ).format(p=passage, q=asked), ", ".join(one.who for one in happened)
    asked, answer = unanswerable(rng, happened) if rng.random() < 0.25 else recap(rng, happened)
    return rng.choice(READ).format(p=passage, q=asked), answer


OTHERWISE: dict[str, tuple[float, Callable[[Random], Pair | None]]] = {
    "fact": (5.0, fact),
    "translation": (5.0, translation),
    "form": (4.0, form),
    "letters": (6.0, letters),
    "listed": (8.0, listed),
    "sums": (2.0, sums),
    "reading": (6.0, reading),
    "as before": (6.0, partial(question, kinds=tuple(KINDS))),
}

AROUND = (
    *("{q}",) * 6,
    "A question: {q}",
    "Next: {q}",
    "Here is one: {q}",
    "Who knows this? {q}",
    "Hello! {q}",
    "Try this: {q}",
    "And now: {q}",
    "Let us see. {q}",
    "Think first. {q}",
    "Good. {q}",
    "My friend wants to know: {q}",
    "For the school: {q}",
)


def asked(rng: Random) -> Pair:
    """One question in a wording that the other pages do not have, mostly."""
    while True:
        found = rng.choices([draw for _, draw in OTHERWISE.values()], [weight for weight, _ in OTHERWISE.values()])[0](rng)
        if found is not None:
            return rng.choice(AROUND).format(q=found[0]), found[1]


def sheet(rng: Random, forum: bool = False) -> str:
    """One to six questions of any kind, each with its answer; see `quizzes.sheet`."""
    count = 1 if rng.random() < 0.4 else rng.randrange(2, 7)
    return shown(rng, [asked(rng) for _ in range(count)], forum)


def about_passages(rng: Random, forum: bool = False) -> str:
    """Passages with questions about them, in all wordings; colors of things among them."""
    drawn = rng.choices((reading, quizzes.reading, quizzes.colors), (5, 3, 2), k=rng.randrange(1, 4))
    return shown(rng, [draw(rng) for draw in drawn], forum)


WRITERS: dict[str, tuple[float, Callable[[Random], str]]] = {
    "sheets that ask otherwise": (60.0, sheet),
    "forums that ask otherwise": (60.0, partial(sheet, forum=True)),
    "sheets about passages": (30.0, about_passages),
    "forums about passages": (30.0, partial(about_passages, forum=True)),
}
