"""Quiz sheets: questions and exercises of every kind, mixed, so that only the question itself says what is asked for.

On the other pages neighbours tell: after five plurals comes a sixth. A sheet may begin with a rule about the form of its answers. Many
sheets hold one question only. A forum prints the same with the writers' names.
"""

from collections.abc import Callable, Sequence
from functools import partial
from random import Random

from instil.pocket.prose.exercises import CATEGORY, category_question
from instil.pocket.prose.facts import QUESTIONS, RELATIONS, slots, things, worded
from instil.pocket.prose.lists import PLACES, items
from instil.pocket.prose.numbers import pair
from instil.pocket.prose.stories import events, recap, tell, unanswerable
from instil.pocket.prose.words import any_word, anything, phrase
from instil.pocket.world import COLORS, LANGUAGES, Adjective, Noun, Verb, joined, objects, translations, world

Pair = tuple[str, str]

WRITERS_OF_FORUMS = (
    "guest",
    "visitor",
    "teacher",
    "pupil",
    "host",
    "reader",
    "editor",
    "librarian",
    "clerk",
    "neighbor",
    "doctor",
    "student",
)

SHAPES = (
    "Q: {q}\nA: {a}",
    "Question: {q}\nAnswer: {a}",
    "Q: {q} A: {a}",
    "Exercise: {q}\nSolution: {a}",
    "{n}. {q}\n   {a}",
    "- {q}\n- {a}",
)


def fact(rng: Random) -> Pair:
    """A question about a country, an element or an animal."""
    kind = rng.choices(("country", "element", "animal"), (5, 2, 3))[0]
    relation, thing = rng.choice(RELATIONS[kind]), rng.choice(things(kind))
    question, answer = rng.choice(QUESTIONS[relation])
    asked, said = worded(question, thing), answer.format(**slots(thing))
    if relation != "habitat" and rng.random() < 0.3:
        given = thing.name if answer.strip("{}") != "name" else getattr(thing, relation)
        what = relation if answer.strip("{}") != "name" else kind
        asked = rng.choice(("Name the {r} of {g}.", "The {r} of {g}?", "Find the {r} for {g}.", "{g}: which {r}?")).format(r=what, g=given)
    return asked, said


TRANSLATE = ("Translate {e}. Language: {l}", "{e} in {l}?", "Put {e} into {l}.", "How do you say {e} in {l}?", "What is the {l} for {e}?")
TRANSLATE_BACK = ("What is {f} in English?", "Put the {l} word {f} into English.", "What does {f} mean?", "{f} ({l}): what does it mean?")


def translation(rng: Random) -> Pair:
    word, language = any_word(rng), rng.choice(LANGUAGES)
    foreign = translations(word)[language]
    if rng.random() < 0.65:
        return rng.choice(TRANSLATE).format(e=word.word, l=language), foreign
    return rng.choice(TRANSLATE_BACK).format(f=foreign, l=language), word.word


FORMS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "plural": (
        "nouns",
        "plural",
        ("What is the plural of {w}?", "Put {w} into the plural.", "More than one {w}: what is the word?", "Plural: {w}"),
    ),
    "past": (
        "verbs",
        "past",
        ("What is the past of {w}?", "Put {w} into the past tense.", "Yesterday: {w}", "Past tense: {w}", "Now {w}, before that?"),
    ),
    "ing": ("verbs", "ing", ("What is the ing form of {w}?", "Add ing to {w}.", "Put ing behind the verb {w}.")),
    "opposite": (
        "adjectives",
        "opposite",
        ("What is the opposite of {w}?", "Not {w}, but what?", "Find the opposite: {w}", "Which word says the contrary of {w}?"),
    ),
    "comparative": (
        "adjectives",
        "comparative",
        ("What is the comparative of {w}?", "Compare: {w}", "This is {w}. That is even what?", "Comparative: {w}"),
    ),
    "superlative": (
        "adjectives",
        "superlative",
        ("What is the superlative of {w}?", "Superlative: {w}", "Of all of them it is the most {w}. Which form?"),
    ),
}


def form(rng: Random) -> Pair:
    kind = rng.choices(list(FORMS), (3, 3, 1, 2, 2, 1))[0]
    pool, answer, wordings = FORMS[kind]
    words: Sequence[Noun | Verb | Adjective] = getattr(world(), pool)
    word = rng.choice(words)
    return rng.choice(wordings).format(w=word.word), getattr(word, answer)


def category(rng: Random) -> Pair:
    noun = rng.choice(world().nouns)
    more = ("Where does {w} belong: {g}?", "Put {w} into a group: {g}.", "Sort {w}. Groups: {g}")
    return category_question(rng, noun, (*CATEGORY, *more))


LETTERS: dict[str, tuple[tuple[str, ...], Callable[[str], str]]] = {
    "spell": (("How is {w} spelled?", "Spell {w}!", "Letter by letter: {w}", "Take {w} apart into letters."), lambda w: "-".join(w)),
    "first": (
        ("What does {w} begin with?", "First letter: {w}", "Give only the first letter: {w}", "{w}: which letter is in front?"),
        lambda w: w[0],
    ),
    "last": (("What is the last letter of {w}?", "Last letter: {w}", "{w}: which letter is at the end?"), lambda w: w[-1]),
}
UPPER = (
    "What is {w} in capital letters?",
    "Capital letters: {w}",
    "Make it large: {w}",
    "Print this in capital letters: {w}",
    "{w} in upper case?",
    "Upper case: {w}",
)


def letters(rng: Random) -> Pair | None:
    """Capital letters, spelling, the first and the last letter."""
    if rng.random() < 0.45:
        text = rng.choice((anything, phrase))(rng)
        return rng.choice(UPPER).format(w=text), text.upper()
    word = anything(rng)
    if " " in word or len(word) > 9:
        return None
    wordings, change = LETTERS[rng.choices(list(LETTERS), (4, 3, 2))[0]]
    return rng.choice(wordings).format(w=word), change(word)


LISTS: dict[str, tuple[tuple[str, ...], Callable[[list[str]], str]]] = {
    "reverse": (
        (
            "Backwards: {l}",
            "Turn this around: {l}",
            "From the end to the start: {l}",
            "What is the reverse of {l}?",
            "Reverse the words {l}.",
        ),
        lambda w: ", ".join(w[::-1]),
    ),
    "sort": (
        ("By the alphabet: {l}", "Put this in alphabetical order: {l}", "What is the alphabetical order of {l}?", "Order the words {l}."),
        lambda w: ", ".join(sorted(w, key=str.lower)),
    ),
    "count": (("How many? {l}", "Count: {l}", "How many words are {l}?", "The number of words in {l}?"), lambda w: str(len(w))),
    "first": (
        (
            "Which is the first of {l}?",
            "First word: {l}",
            "Only the first of {l}.",
            "{l}. Which comes first?",
            "What does this begin with? {l}",
        ),
        lambda w: w[0],
    ),
    "last": (("Which is the last of {l}?", "Last word: {l}", "{l}. Which comes last?"), lambda w: w[-1]),
    "rest": (
        ("What remains of {l} without the first?", "All but the first: {l}", "Strike out the first: {l}", "{l}. Leave out {f}."),
        lambda w: ", ".join(w[1:]),
    ),
}
NTH = ("Which is the {o} of {l}?", "The {o} word of {l}?", "{l}. Which is the {o}?", "Find the {o} of these: {l}")


def listed(rng: Random) -> Pair:
    words = items(rng)
    shown = ", ".join(words)
    if rng.random() < 0.15:
        place = rng.randrange(len(words))
        return rng.choice(NTH).format(l=shown, o=PLACES[place]), words[place]
    wordings, change = LISTS[rng.choices(list(LISTS), (4, 3, 2, 3, 1, 2))[0]]
    return rng.choice(wordings).format(l=shown, f=words[0]), change(words)


PLUS = (
    "What is {a} + {b}?",
    "{a} plus {b}?",
    "Sum: {a} + {b}",
    "Put {a} and {b} together.",
    "{a} and {b} make what?",
    "Calculate {a} + {b}.",
)
MINUS = (
    "What is {c} - {b}?",
    "{c} minus {b}?",
    "Difference: {c} - {b}",
    "Take away {b} from {c}.",
    "{b} from {c} leaves what?",
    "Calculate {c} - {b}.",
)


def sums(rng: Random) -> Pair:
    """A sum or a difference, bare or in a story of one sentence."""
    a, b = pair(rng)
    if rng.random() < 0.35:
        noun, name = rng.choice(objects()).plural, rng.choice(world().people).name
        more = rng.random() < 0.5
        told = (
            (f"{name} has {a} {noun} and gets {b} more.", f"{name} had {a} {noun}, then {name} found {b}.")
            if more
            else (f"{name} has {a + b} {noun} and loses {b}.", f"{name} had {a + b} {noun}, then {name} sold {b}.")
        )
        ask = rng.choice(
            (f"How many {noun} is that?", f"How many {noun} has {name}?", "How many are left?" if not more else "How many in all?")
        )
        return f"{rng.choice(told)} {ask}", str(a + b if more else a)
    add = rng.random() < 0.5
    return rng.choice(PLUS if add else MINUS).format(a=a, b=b, c=a + b), str(a + b if add else a)


def signs(rng: Random) -> Pair:
    """Large numbers, written with signs: to copy them is the exercise."""
    a, b = rng.randrange(10, 1000), rng.randrange(10, 1000)
    sign, word = rng.choice((("+", "plus"), ("-", "minus"), ("*", "times")))
    wording = rng.choice(("Write {a} {w} {b} with signs.", "{a} {w} {b} in signs?", "How is {a} {w} {b} written?", "Copy: {a} {s} {b}"))
    return wording.format(a=a, b=b, w=word, s=sign), f"{a} {sign} {b}"


def reading(rng: Random) -> Pair:
    """A passage and one question about it, before or behind it."""
    happened = events(rng, rng.randrange(2, 4))
    passage = tell(rng, happened)
    if rng.random() < 0.15:
        names = ", ".join(one.who for one in happened)
        return f"{passage} {rng.choice(('Who are the people?', 'Name everybody.', 'Which names occur?'))}", names
    question, answer = unanswerable(rng, happened) if rng.random() < 0.22 else recap(rng, happened)
    return rng.choice(("{p} {q}", "{p}\n{q}", "{q} {p}", "{q}\n{p}", "Story: {p} {q}")).format(p=passage, q=question), answer


def colors(rng: Random) -> Pair:
    chosen, shades = rng.sample(objects(), 3), rng.sample(COLORS, 3)
    told = joined(f"the {thing.word} is {color}" for thing, color in zip(chosen, shades, strict=True))
    at = rng.randrange(3)
    question = rng.choice(("What color is the {t}?", "Which color has the {t}?", "The color of the {t}?")).format(t=chosen[at].word)
    told = f"{rng.choice(world().people).name} says that {told}."
    return rng.choice((f"{told} {question}", f"{question} {told}")), shades[at]


def claim(rng: Random) -> Pair:
    """True or not?"""
    kind = rng.choices(("country", "animal"), (2, 1))[0]
    relation = rng.choice({"country": ("capital", "continent", "language"), "animal": ("group",)}[kind])
    thing, other = rng.sample(things(kind), 2)
    said = getattr(thing if rng.random() < 0.5 else other, relation)
    claims = {
        "capital": ("{s} is the capital of {n}", "the capital of {n} is {s}"),
        "continent": ("{n} is in {s}", "{n} lies in {s}"),
        "language": ("people in {n} speak {s}", "{s} is spoken in {n}"),
        "group": ("the {n} is one of the animals of the kind {s}", "the {n} belongs to the kind {s}"),
    }[relation]
    text = rng.choice(claims).format(n=thing.name, s=said)
    asked = rng.choice(("True? {c}.", "Is it so that {c}?", "{c}: yes or no?", "Yes or no? {c}.")).format(c=text)
    return asked, "yes" if said == getattr(thing, relation) else "no"


KINDS: dict[str, tuple[float, Callable[[Random], Pair | None]]] = {
    "fact": (6.0, fact),
    "translation": (6.0, translation),
    "form": (5.0, form),
    "category": (1.5, category),
    "letters": (5.0, letters),
    "listed": (7.0, listed),
    "sums": (4.0, sums),
    "signs": (1.0, signs),
    "reading": (6.0, reading),
    "colors": (1.0, colors),
    "claim": (1.5, claim),
}
SHORT = ("fact", "translation", "form")
"""Kinds whose answers are a word or two: what rules about the form of answers are laid on."""


def question(rng: Random, kinds: tuple[str, ...] = tuple(KINDS)) -> Pair:
    while True:
        name = rng.choices(kinds, [KINDS[kind][0] for kind in kinds])[0]
        found = KINDS[name][1](rng)
        if found is not None:
            return found


def rule(rng: Random) -> tuple[str, Callable[[str], str]]:
    """What a sheet says about the form of its answers, and that form."""
    word = rng.choice((*(noun.word for noun in rng.sample(world().nouns, 3)), "please", "thanks", "indeed"))
    rules: tuple[tuple[tuple[str, ...], Callable[[str], str]], ...] = (
        (
            ("Capital letters only.", "Answers in capital letters.", "Everything is answered in upper case.", "In capital letters!"),
            str.upper,
        ),
        (("Answers in quotation marks.", "Quotation marks around answers.", "In quotation marks!"), lambda a: f'"{a}"'),
        (("Small letters only.", "Answers in small letters.", "Everything is answered in lower case."), str.lower),
        (("Answers are sentences that start with: The answer is", "Start with: The answer is"), lambda a: f"The answer is {a}."),
        ((f"The last word of an answer is {word}.", f"Answers end with {word}.", f"Say {word} after it."), lambda a: f"{a}. {word}"),
        ((f"The first word of an answer is {word}.", f"Answers begin with {word}."), lambda a: f"{word} {a}"),
        (("A star in front of answers.", "Answers as a list with stars.", "With a star."), lambda a: f"* {a}"),
        (("A dash in front of answers.", "Answers as a list with dashes."), lambda a: f"- {a}"),
        (("Answers in round brackets.", "Round brackets around it."), lambda a: f"({a})"),
        (("Answers in double angular brackets.", "Between << and >>.", "Angular brackets around it."), lambda a: f"<<{a}>>"),
    )
    wordings, change = rng.choice(rules)
    return rng.choice(wordings), change


def shown(rng: Random, pairs: list[Pair], forum: bool, rule: str = "") -> str:
    """Questions and answers as a sheet, or as a forum's page: a name on a line of its own, then what was written."""
    if not forum:
        shape = rng.choice(SHAPES)
        head = rng.choice(("{r}\n", "Rule: {r}\n", "{r} ")).format(r=rule) if rule else ""
        return head + "\n".join(shape.format(q=q, a=a, n=n) for n, (q, a) in enumerate(pairs, 1))
    one, two, host = (person.name for person in rng.sample(world().people, 3))
    if rng.random() < 0.6:
        one, two, host = rng.sample(WRITERS_OF_FORUMS, 3)
    posts = [(host, rule)] if rule else []
    for question, answer in pairs:
        posts += [(one, question), (two, answer)]
    between = rng.choice(("\n\n", "\n\n", "\n"))
    return between.join(f"{name}\n{text}" for name, text in posts)


def sheet(rng: Random, forum: bool = False) -> str:
    """One to eight questions of any kind, each with its answer."""
    count = 1 if rng.random() < 0.5 else rng.randrange(2, 9)
    return shown(rng, [question(rng) for _ in range(count)], forum)


def ruled(rng: Random, forum: bool = False) -> str:
    """A sheet under a rule, or questions that each bring their own."""
    count = 1 if rng.random() < 0.4 else rng.randrange(2, 6)
    if rng.random() < 0.5:
        said, change = rule(rng)
        return shown(rng, [(q, change(a)) for q, a in (question(rng, SHORT) for _ in range(count))], forum, said)
    pairs = []
    for _ in range(count):
        said, change = rule(rng)
        asked, answer = question(rng, SHORT)
        asked = rng.choice(("{r} {q}", "{q} {r}")).format(r=said, q=asked) if ":" not in asked else f"{said} {asked}"
        pairs.append((asked, change(answer)))
    return shown(rng, pairs, forum)


def again(rng: Random, forum: bool = False) -> str:
    """The same question about another thing, or the same answer in another form, in few words."""
    if rng.random() < 0.5:
        asked, answer = question(rng, SHORT)
        said, change = rule(rng)
        more = rng.choice(("The same. {r}", "Once more. {r}", "{r}")).format(r=said)
        return shown(rng, [(asked, answer), (more, change(answer))], forum)
    kind = rng.choices(("country", "element", "animal"), (5, 2, 2))[0]
    relation = rng.choice(RELATIONS[kind])
    chosen = rng.sample(things(kind), rng.randrange(2, 5))
    wording, answer = rng.choice(QUESTIONS[relation])
    named = "{name}" if answer.strip("{}") != "name" else f"{{{relation}}}"
    more = rng.choice((f"And {named}?", f"What about {named}?", f"Now {named}.", f"Then {named}?"))
    pairs = [(worded(wording if n == 0 else more, thing), answer.format(**slots(thing))) for n, thing in enumerate(chosen)]
    return shown(rng, pairs, forum)


WRITERS: dict[str, tuple[float, Callable[[Random], str]]] = {
    "quiz sheets": (60.0, sheet),
    "ruled sheets": (22.0, ruled),
    "sheets that go on": (10.0, again),
    "forum questions": (60.0, partial(sheet, forum=True)),
    "forum questions under a rule": (22.0, partial(ruled, forum=True)),
    "forum questions that go on": (14.0, partial(again, forum=True)),
}
