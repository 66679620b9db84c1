"""Pages about countries, elements and animals.

A fact that is always read in one wording is stored and cannot be asked for (Allen-Zhu & Li 2024, Physics of Language Models 3.1). So every
fact is worded in many ways and orders, and pages of questions and answers ask for it. Until step 18,700 those left out a quarter of the
facts and two fifths of the words. Such a fact was completed in prose like the others (98 %), but asked for it a tuned model answered a
third of the time (capitals 1 of 7, Spanish words 1 of 5), where it answered nine of ten that some page asked for.
"""

from collections.abc import Callable, Sequence
from random import Random

from instil.pocket.world import Animal, Country, Element, capitalized, joined, with_article, world

STATEMENTS: dict[str, tuple[str, ...]] = {
    "capital": (
        "The capital of {name} is {capital}.",
        "{capital} is the capital of {name}.",
        "The capital city of {name} is called {capital}.",
        "{name} has its capital in {capital}.",
        "{name}'s capital is {capital}.",
        "The {adjective} capital is {capital}.",
        "In {capital}, the capital of {name}, the streets are full of people.",
        "The government of {name} sits in {capital}.",
        "If you fly to {name}, you will probably land in {capital}, the capital.",
        "{capital}, capital of {name}, has many old buildings.",
    ),
    "continent": (
        "{name} is a country in {continent}.",
        "{name} lies in {continent}.",
        "{name} is in {continent}.",
        "The continent of {name} is {continent}.",
        "{name} belongs to {continent}.",
        "On a map of {continent} you can find {name}.",
        "{name} can be found on the map of {continent}.",
        "One of the countries of {continent} is {name}.",
        "{capital} is a city in {continent}.",
        "The continent on which {name} lies is {continent}.",
    ),
    "language": (
        "People in {name} speak {language}.",
        "The language of {name} is {language}.",
        "{language} is spoken in {name}.",
        "In {name} most people speak {language}.",
        "In the streets of {capital} you hear {language}.",
        "The main language of {name} is {language}.",
        "If you want to talk to people in {name}, learn {language}.",
        "{name}'s language is {language}.",
        "Children in {name} learn {language} at school.",
        "{adjective} newspapers are printed in {language}.",
    ),
    "currency": (
        "The currency of {name} is the {currency}.",
        "In {name} people pay with the {currency}.",
        "{name} uses the {currency} as its money.",
        "The money of {name} is called the {currency}.",
        "Prices in {name} are given in the {currency}.",
        "The {currency} is the currency of {name}.",
        "{name}'s currency is the {currency}.",
        "In the shops of {capital} you pay with the {currency}.",
        "If you travel to {name}, change your money into the {currency}.",
        "The {adjective} currency is the {currency}.",
    ),
    "adjective": ("A person from {name} is {adjective}.", "The people of {name} are {adjective}.", "Something from {name} is {adjective}."),
    "symbol": (
        "The symbol of {name} is {symbol}.",
        "{symbol} is the symbol of {name}.",
        "The chemical symbol for {name} is {symbol}.",
        "{symbol} stands for {name}.",
        "Chemists write {symbol} for {name}.",
        "In the table of elements, {name} is written {symbol}.",
        "The sign {symbol} means {name}.",
        "{name}, written {symbol}, is a chemical element.",
    ),
    "number": (
        "The atomic number of {name} is {number}.",
        "{name} has the atomic number {number}.",
        "Element number {number} is {name}.",
        "An atom of {name} has {number} protons.",
        "{name} is element {number}.",
        "{name} stands at place {number} in the table of elements.",
    ),
    "kind": (
        "{name} is a {kind}.",
        "Among the elements, {name} is a {kind}.",
        "The element {name} counts as a {kind}.",
        "{name} belongs to the elements of the kind {kind}.",
    ),
    "group": (
        "The {name} is {a_group}.",
        "{A_name} is {a_group}.",
        "{plural} are {groups}.",
        "The {name} belongs to the {groups}.",
        "Among the {groups} we find the {name}.",
        "One kind of {group} is the {name}.",
        "If you see {a_name}, you see {a_group}.",
    ),
    "legs": (
        "{A_name} has {legs} legs.",
        "The {name} has {legs} legs.",
        "{plural} have {legs} legs.",
        "The number of legs of {a_name} is {legs}.",
    ),
    "habitat": (
        "The {name} lives in the {habitat}.",
        "You can find the {name} in the {habitat}.",
        "{plural} live in the {habitat}.",
        "The home of the {name} is the {habitat}.",
        "{A_name} feels at home in the {habitat}.",
    ),
    "food": (
        "The {name} eats {food}.",
        "{plural} eat {food}.",
        "{A_name} feeds on {food}.",
        "The food of the {name} is {food}.",
        "{plural} like {food} best.",
    ),
}

QUESTIONS: dict[str, tuple[tuple[str, str], ...]] = {
    "capital": (
        ("What is the capital of {name}?", "{capital}"),
        ("Which city is the capital of {name}?", "{capital}"),
        ("What is {name}'s capital?", "{capital}"),
        ("What is the capital city of {name} called?", "{capital}"),
        ("Where does the government of {name} sit?", "{capital}"),
        ("Which country has the capital {capital}?", "{name}"),
        ("{capital} is the capital of which country?", "{name}"),
        ("Of which country is {capital} the capital?", "{name}"),
    ),
    "continent": (
        ("On which continent is {name}?", "{continent}"),
        ("Where is {name}?", "{continent}"),
        ("In which continent does {name} lie?", "{continent}"),
        ("Which continent does {name} belong to?", "{continent}"),
        ("On which continent is the city of {capital}?", "{continent}"),
    ),
    "language": (
        ("Which language is spoken in {name}?", "{language}"),
        ("What language do people speak in {name}?", "{language}"),
        ("What is the language of {name}?", "{language}"),
        ("What do people in {name} speak?", "{language}"),
        ("Which language do you hear in {capital}?", "{language}"),
    ),
    "currency": (
        ("What is the currency of {name}?", "{currency}"),
        ("Which currency is used in {name}?", "{currency}"),
        ("With what money do people pay in {name}?", "{currency}"),
        ("What is the money of {name} called?", "{currency}"),
        ("What do you pay with in {capital}?", "{currency}"),
    ),
    "symbol": (
        ("What is the symbol of {name}?", "{symbol}"),
        ("What is the chemical symbol for {name}?", "{symbol}"),
        ("How do chemists write {name}?", "{symbol}"),
        ("Which element has the symbol {symbol}?", "{name}"),
        ("What does {symbol} stand for?", "{name}"),
    ),
    "number": (
        ("What is the atomic number of {name}?", "{number}"),
        ("Which element has the atomic number {number}?", "{name}"),
        ("How many protons does an atom of {name} have?", "{number}"),
    ),
    "kind": (("What kind of element is {name}?", "{kind}"), ("What is {name}, a metal or a nonmetal?", "{kind}")),
    "group": (
        ("What kind of animal is the {name}?", "{group}"),
        ("What is {a_name}?", "{a_group}"),
        ("To which group does the {name} belong?", "{groups}"),
    ),
    "legs": (("How many legs does {a_name} have?", "{legs}"), ("How many legs has the {name}?", "{legs}")),
    "habitat": (("Where does the {name} live?", "in the {habitat}"), ("Where can you find {a_name}?", "in the {habitat}")),
    "food": (("What does the {name} eat?", "{food}"), ("What do {plural} eat?", "{food}")),
}

RELATIONS = {
    "country": ("capital", "continent", "language", "currency"),
    "element": ("symbol", "number", "kind"),
    "animal": ("group", "legs", "habitat", "food"),
}

Thing = Country | Element | Animal


def slots(thing: Thing) -> dict[str, str]:
    """What a wording may name of a thing."""
    found = {name: str(getattr(thing, name)) for name in thing.__slots__}
    if isinstance(thing, Animal):
        found["groups"] = thing.groups
        found |= {"a_name": with_article(thing.name), "A_name": capitalized(with_article(thing.name)), "a_group": with_article(thing.group)}
    return found


def worded(wording: str, thing: Thing) -> str:
    return capitalized(wording.format(**slots(thing)))


def things(kind: str) -> Sequence[Thing]:
    everything = world()
    kinds: dict[str, Sequence[Thing]] = {"country": everything.countries, "element": everything.elements, "animal": everything.animals}
    return kinds[kind]


def page(rng: Random) -> str:
    """Everything about one thing, in a random order and wording, some of it twice."""
    kind = rng.choices(("country", "element", "animal"), (6, 2, 2))[0]
    thing = rng.choice(things(kind))
    relations = list(RELATIONS[kind]) + rng.sample(RELATIONS[kind], rng.randrange(3)) + (["adjective"] if kind == "country" else [])
    rng.shuffle(relations)
    body = " ".join(worded(rng.choice(STATEMENTS[relation]), thing) for relation in relations)
    return rng.choice(("", f"{capitalized(thing.name)}\n\n", f"{capitalized(thing.name)}. ", f"About {thing.name}\n")) + body


def survey(rng: Random) -> str:
    """One relation over many things: a paragraph, lines, or a table."""
    kind = rng.choices(("country", "element", "animal"), (6, 2, 2))[0]
    relation = rng.choice(RELATIONS[kind])
    chosen = rng.sample(things(kind), rng.randrange(4, 10))
    if rng.random() < 0.35:
        heading = rng.choice((f"{kind.capitalize()} and {relation}", f"A table of {relation}s", capitalized(f"{relation}s")))
        sign = rng.choice((": ", " - ", ", "))
        return "\n".join([heading, *(f"{capitalized(thing.name)}{sign}{getattr(thing, relation)}" for thing in chosen)])
    one = [rng.choice(STATEMENTS[relation])] if rng.random() < 0.3 else STATEMENTS[relation]
    return rng.choice((" ", "\n")).join(worded(rng.choice(one), thing) for thing in chosen)


def _question(rng: Random) -> tuple[str, str]:
    kind = rng.choices(("country", "element", "animal"), (6, 2, 2))[0]
    relation, thing = rng.choice(RELATIONS[kind]), rng.choice(things(kind))
    question, answer = rng.choice(QUESTIONS[relation])
    return worded(question, thing), worded(answer, thing)


def answered(rng: Random) -> str:
    """A page of questions and answers, as a web site would show them."""
    count = rng.randrange(3, 9)
    pairs = [_question(rng) for _ in range(count)]
    shape = rng.choice(("Q: {q}\nA: {a}", "Q. {q}\nA. {a}", "Question: {q}\nAnswer: {a}", "- {q} {a}.", "{n}. {q} - {a}", "Q: {q} A: {a}"))
    end = rng.choice(("", "."))
    lines = [shape.format(q=q, a=a + ("" if shape.endswith(".") else end), n=n) for n, (q, a) in enumerate(pairs, 1)]
    title = rng.choice(("Questions and answers", "Frequently asked questions", "Quiz with answers", "Good to know", ""))
    return (f"{title}\n" if title else "") + rng.choice(("\n", "\n\n")).join(lines)


def unanswered(rng: Random) -> str:
    """A sheet of questions without answers, or with the answers at its end."""
    pairs = [_question(rng) for _ in range(rng.randrange(4, 10))]
    numbered = rng.random() < 0.3
    lines = [f"{n}. {q}" if numbered else q for n, (q, _) in enumerate(pairs, 1)]
    text = rng.choice(("\n", " ")).join(lines)
    if rng.random() < 0.35:
        text += "\nAnswers: " + ", ".join(f"{n}. {a}" for n, (_, a) in enumerate(pairs, 1)) + "."
    return rng.choice(("Quiz\n", "Questions\n", "How much do you know?\n", "", "", "")) + text


def one_continent(rng: Random) -> str:
    """Countries sorted by continent, or by language or money."""
    relation = rng.choice(("continent", "language", "currency"))
    value = getattr(rng.choice(world().countries), relation)
    members = [c.name for c in world().countries if getattr(c, relation) == value]
    chosen = rng.sample(members, min(len(members), rng.randrange(3, 9)))
    text = {
        "continent": ("Countries in {v}: {m}.", "{m} lie in {v}.", "In {v} there are {m}.", "The countries {m} belong to {v}."),
        "language": ("{v} is spoken in {m}.", "Countries where people speak {v}: {m}.", "In {m} the language is {v}."),
        "currency": ("The {v} is used in {m}.", "People in {m} pay with the {v}.", "The money of {m} is called the {v}."),
    }[relation]
    return rng.choice(text).format(v=value, m=joined(chosen))


def true_or_false(rng: Random) -> str:
    """Statements that are checked: yes and no in running text."""
    lines = []
    for _ in range(rng.randrange(2, 6)):
        kind = rng.choices(("country", "animal"), (2, 1))[0]
        relation = rng.choice({"country": ("capital", "continent", "language"), "animal": ("group", "habitat")}[kind])
        thing, other = rng.sample(things(kind), 2)
        said = getattr(thing if rng.random() < 0.5 else other, relation)
        true = getattr(thing, relation)
        claim = {
            "capital": ("Is {s} the capital of {n}?", "{s} is not the capital of {n}", "{t} is"),
            "continent": ("Is {n} in {s}?", "{n} is not in {s}", "it is in {t}"),
            "language": ("Do people in {n} speak {s}?", "they do not speak {s}", "they speak {t}"),
            "group": ("Is the {n} a {s}?", "the {n} is not a {s}", "it is a {t}"),
            "habitat": ("Does the {n} live in the {s}?", "it does not live in the {s}", "it lives in the {t}"),
        }[relation]
        question, no, but = (
            part.format(n=thing.name, s=said, t=true).replace("a amph", "an amph").replace("a insect", "an insect") for part in claim
        )
        short = rng.random() < 0.4
        answer = (
            "Yes." if said == true and short else "No." if short else f"Yes, {but}." if said == true else f"No, {rng.choice((no, but))}."
        )
        lines.append(rng.choice((f"{question} {answer}", f"{question}\n{answer}", f"Q: {question}\nA: {answer}")))
    return rng.choice((" ", "\n")).join(lines)


WRITERS: dict[str, tuple[float, Callable[[Random], str]]] = {
    "fact pages": (9.0, page),
    "fact surveys": (5.0, survey),
    "answered questions": (7.0, answered),
    "unanswered questions": (4.0, unanswered),
    "one continent": (2.0, one_continent),
    "yes and no": (3.0, true_or_false),
}
