"""Glossaries, grammar pages, spelling and capital letters: what there is to say about words."""

from collections.abc import Callable, Sequence
from random import Random

from instil.pocket.world import (
    COLORS,
    DAYS,
    LANGUAGES,
    MONTHS,
    Adjective,
    Noun,
    Verb,
    article,
    capitalized,
    doings,
    joined,
    translations,
    with_article,
    world,
)

Word = Noun | Verb | Adjective


def any_word(rng: Random) -> Word:
    kind = rng.choices(("nouns", "verbs", "adjectives"), (6, 2, 1))[0]
    pool: Sequence[Word] = getattr(world(), kind)
    return rng.choice(pool)


def glossary(rng: Random) -> str:
    """A word list in one foreign language, one line a word."""
    language = rng.choice(LANGUAGES)
    words = [any_word(rng) for _ in range(rng.randrange(6, 14))]
    line = rng.choice(("{e} - {f}", "{e}: {f}", "{e} = {f}", "{f} - {e}", "{f}: {e}", "{e}, {f}"))
    title = rng.choice(("{l} words", "A small {l} dictionary", "English - {l}", "Learn {l}: new words", "{l} for beginners")).format(
        l=language
    )
    if line.startswith("{f}"):
        title = rng.choice((f"{language} - English", f"{language} words and what they mean"))
    return "\n".join([title, *(line.format(e=word.word, f=translations(word)[language]) for word in words)])


TRANSLATED = (
    "The {l} word for {e} is {f}.",
    "In {l}, {e} is {f}.",
    "{E} in {l} is {f}.",
    "{F} is {l} for {e}.",
    "{F} is the {l} word for {e}.",
    "The {l} for {e} is {f}.",
    "{F} means {e} in {l}.",
    "In {l}, {f} means {e}.",
    "The {l} word {f} means {e}.",
    "In English, the {l} word {f} is {e}.",
    "People who speak {l} say {f} for {e}.",
    "If you want to say {e} in {l}, you say {f}.",
    "Translated into {l}, {e} becomes {f}.",
    "Translated into English, the {l} word {f} becomes {e}.",
    "The {l} translation of {e} is {f}.",
    "The English translation of the {l} word {f} is {e}.",
)


def translated(rng: Random) -> str:
    """Sentences about translations; one language over many words, or one word over all languages."""
    sentences = []
    for _ in range(rng.randrange(3, 7)):
        word = any_word(rng)
        languages = LANGUAGES if rng.random() < 0.3 else [rng.choice(LANGUAGES)]
        for language in languages:
            foreign = translations(word)[language]
            values = {"l": language, "e": word.word, "E": capitalized(word.word), "f": foreign, "F": capitalized(foreign)}
            sentences.append(rng.choice(TRANSLATED).format(**values))
    return rng.choice((" ", " ", "\n")).join(sentences)


def language_questions(rng: Random) -> str:
    """Questions and answers about translations."""
    lines: list[str] = []
    while len(lines) < 5:
        word, language = any_word(rng), rng.choice(LANGUAGES)
        foreign = translations(word)[language]
        question, answer = rng.choice(
            (
                ("What is the {l} word for {e}?", "{f}"),
                ("How do you say {e} in {l}?", "{f}"),
                ("What is {e} in {l}?", "{f}"),
                ("What does the {l} word {f} mean?", "{e}"),
                ("What does {f} mean in English?", "{e}"),
            )
        )
        values = {"l": language, "e": word.word, "f": foreign}
        shape = rng.choice(("Q: {}\nA: {}", "Question: {}\nAnswer: {}", "- {} {}.", "{} - {}"))
        lines.append(shape.format(question.format(**values), answer.format(**values)))
    return "\n".join(lines)


PLURALS = (
    "The plural of {e} is {p}.",
    "One {e}, two {p}.",
    "We say one {e} but many {p}.",
    "More than one {e} are {p}.",
    "{P} is the plural of {e}.",
    "The singular of {p} is {e}.",
    "{A} is one thing; {p} are many.",
    "One {e} and one more {e} make two {p}.",
    "There was {a}, then there were three {p}.",
)
PASTS = (
    "The past of {v} is {p}.",
    "The past tense of {v} is {p}.",
    "Today they {v}, yesterday they {p}.",
    "Today we {v}; last week we {p}.",
    "{P} is the past tense of {v}.",
    "I {v} now. I {p} before. I have {pp} often.",
    "To {v}: {v}, {p}, {pp}.",
    "She will {v} tomorrow because she {p} yesterday.",
    "He {t} today. Yesterday he {p}.",
    "The verb {v} has the past {p} and the participle {pp}.",
    "They are {i} now, as they {p} a year ago.",
    "The ing form of {v} is {i}.",
    "To {v} is what you do when you are {i}.",
    "I {v}, she {t}.",
)
OPPOSITES = (
    "The opposite of {a} is {o}.",
    "{A} is the opposite of {o}.",
    "{A} and {o} are opposites.",
    "What is not {a} is {o}.",
    "Something {a} is not {o}.",
    "One was {a}, the other was {o}.",
    "Not {a} but {o}: that is the opposite.",
    "{A}, {c}, {s}.",
    "The comparative of {a} is {c}.",
    "The superlative of {a} is {s}.",
    "This one is {a}, that one is {c}, and the last one is the {s}.",
    "If it is more {a}, it is {c}.",
)


def _grammar_line(rng: Random, kind: str) -> str:
    if kind == "plural":
        if rng.random() < 0.2:
            animal = rng.choice(world().animals)
            word, plural = animal.name, animal.plural
        else:
            noun = rng.choice(world().nouns)
            word, plural = noun.word, noun.plural
        return rng.choice(PLURALS).format(e=word, p=plural, P=capitalized(plural), a=with_article(word), A=capitalized(with_article(word)))
    if kind == "past":
        verb = rng.choice(world().verbs)
        return rng.choice(PASTS).format(v=verb.word, p=verb.past, P=capitalized(verb.past), pp=verb.participle, t=verb.third, i=verb.ing)
    quality = rng.choice(world().adjectives)
    forms = {"o": quality.opposite, "c": quality.comparative, "s": quality.superlative}
    values = {"a": quality.word, "A": capitalized(quality.word), **forms}
    return rng.choice(OPPOSITES).format(**values)


def grammar(rng: Random) -> str:
    """A grammar page: plurals, tenses, opposites."""
    kind = rng.choices(("plural", "past", "opposite"), (4, 3, 2))[0]
    mixed = rng.random() < 0.3
    kinds = [rng.choice(("plural", "past", "opposite")) if mixed else kind for _ in range(rng.randrange(4, 10))]
    if rng.random() < 0.25:
        return _grammar_table(rng, kind)
    return rng.choice((" ", "\n")).join(_grammar_line(rng, kind) for kind in kinds)


def _grammar_table(rng: Random, kind: str) -> str:
    count = rng.randrange(5, 12)
    if kind == "plural":
        lines = [f"{noun.word} - {noun.plural}" for noun in rng.sample(world().nouns, count)]
        return "\n".join([rng.choice(("One and many", "Plurals", "Singular - plural")), *lines])
    if kind == "past":
        lines = [f"{verb.word} - {verb.past} - {verb.participle}" for verb in rng.sample(world().verbs, count)]
        return "\n".join([rng.choice(("Verbs", "Verb forms", "Present, past and participle")), *lines])
    lines = [f"{word.word} - {word.opposite}" for word in rng.sample(world().adjectives, count)]
    return "\n".join([rng.choice(("Opposites", "Words and their opposites")), *lines])


def anything(rng: Random) -> str:
    """Any word or name of the world, once."""
    everything = world()
    kind = rng.choices(
        ("noun", "plural", "person", "country", "capital", "animal", "adjective", "verb", "color", "element"),
        (8, 3, 4, 3, 3, 4, 2, 2, 1, 1),
    )[0]
    return {
        "noun": lambda: rng.choice(everything.nouns).word,
        "plural": lambda: rng.choice(everything.nouns).plural,
        "person": lambda: rng.choice(everything.people).name,
        "country": lambda: rng.choice(everything.countries).name,
        "capital": lambda: rng.choice(everything.countries).capital,
        "animal": lambda: rng.choice(everything.animals).name,
        "adjective": lambda: rng.choice(everything.adjectives).word,
        "verb": lambda: rng.choice(everything.verbs).word,
        "color": lambda: rng.choice(COLORS),
        "element": lambda: rng.choice(everything.elements).name,
    }[kind]()


def phrase(rng: Random) -> str:
    """Two to five words that could stand on a sign."""
    noun, other = rng.sample(world().nouns, 2)
    adjective, color = rng.choice(world().adjectives).word, rng.choice(COLORS)
    person = rng.choice(world().people).name
    verb = rng.choice(doings())
    return rng.choice(
        (
            f"{adjective} {noun.word}",
            f"{color} {noun.plural}",
            f"the {noun.word} and the {other.word}",
            f"the {adjective} {noun.word}",
            f"{noun.plural} for sale",
            f"do not {verb.word} the {noun.word}",
            f"{person} {verb.past} the {noun.word}",
            f"{noun.plural} and {other.plural}",
            f"{person} and the {color} {noun.word}",
            f"welcome to {rng.choice(world().countries).capital}",
        )
    )


def capitals(rng: Random) -> str:
    """Signs, headings and remarks in which the same words stand in small and in capital letters."""
    lines = []
    for _ in range(rng.randrange(3, 7)):
        small = rng.choice((anything, phrase))(rng)
        wording = rng.choice(
            (
                "In capital letters, {s} is {b}.",
                "The sign said {b}. It meant {s}.",
                "{b}\nThis page is about {s}.",
                "Written large, {s} becomes {b}.",
                "{b} is {s} in capital letters.",
                "{s}: {b}",
                "{s} - {b}",
                "Someone had painted {b} on the wall, in capital letters: {s}.",
                "In upper case, {s} is {b}. In lower case, {b} is {s}.",
                "The word on the door was {b}, which is {s} in small letters.",
                "With capital letters {s} turns into {b}.",
                "“{b}!” he shouted. “{s},” she said quietly.",
            )
        )
        lines.append(
            capitalized(wording.format(s=small, b=small.upper())) if wording[0] == "I" else wording.format(s=small, b=small.upper())
        )
    return rng.choice((" ", "\n", "\n")).join(lines)


def spelling(rng: Random) -> str:
    """How words are spelled, where they begin and end, how long they are."""
    lines = []
    for _ in range(rng.randrange(3, 7)):
        word = anything(rng)
        if " " in word:
            continue
        values = {
            "w": word,
            "d": "-".join(word.lower()),
            "D": "-".join(word.upper()),
            "n": len(word),
            "f": word[0].lower(),
            "l": word[-1].lower(),
        }
        lines.append(
            rng.choice(
                (
                    "The word {w} is spelled {d}.",
                    "{w} is spelled {d}.",
                    "{D}: that spells {w}.",
                    "You write {w} like this: {d}.",
                    "{w} has {n} letters: {d}.",
                    "The word {w} begins with {f} and ends with {l}.",
                    "The first letter of {w} is {f}.",
                    "The last letter of {w} is {l}.",
                    "{w} starts with the letter {f}.",
                    "There are {n} letters in {w}.",
                    "The letters of {w} are {d}. The first is {f}, the last is {l}.",
                )
            ).format(**values)
        )
    return rng.choice((" ", "\n")).join(lines)


def sorts(rng: Random) -> str:
    """What things are: the category of a noun, the kind of an animal."""
    names = {
        "kitchen": "kitchen thing",
        "clothing": "piece of clothing",
        "body": "part of the body",
        "house": "part of a house",
        "instrument": "musical instrument",
        "school": "school thing",
        "landscape": "part of the landscape",
        "weather": "weather word",
        "furniture": "piece of furniture",
        "food": "kind of food",
        "time": "time word",
    }
    lines = []
    for _ in range(rng.randrange(3, 8)):
        noun = rng.choice(world().nouns)
        kind = names.get(noun.category, noun.category)
        values = {
            "A": capitalized(with_article(noun.word)),
            "k": with_article(kind),
            "c": noun.category,
            "w": noun.word,
            "p": capitalized(noun.plural),
        }
        wording = (
            "{A} is {k}.",
            "{A} belongs under {c}.",
            "Look for {w} under {c}.",
            "{p} go under {c}.",
            "The word {w} belongs to the group {c}.",
            "{w}: {c}",
        )
        lines.append(rng.choice(wording).format(**values))
    if rng.random() < 0.3:
        category = rng.choice(world().nouns).category
        members = [noun for noun in world().nouns if noun.category == category]
        chosen = rng.sample(members, rng.randrange(4, 9))
        lines = [
            rng.choice(("{c}: {m}.", "Under {c} we find {m}.", "Words of the group {c} are {m}.")).format(
                c=category, m=joined(n.word for n in chosen)
            )
        ]
        lines.append(f"{capitalized(with_article(chosen[0].word))} is also {article(category)} {category} word.")
    return rng.choice((" ", "\n")).join(lines)


def calendar(rng: Random) -> str:
    """Months and days, in order."""
    names = rng.choice((MONTHS, DAYS))
    kind = "month" if names is MONTHS else "day"
    lines = []
    for _ in range(rng.randrange(2, 5)):
        place = rng.randrange(len(names))
        before, here, after = names[place - 1], names[place], names[(place + 1) % len(names)]
        wording = (
            "After {h} comes {a}.",
            "Before {h} comes {b}.",
            "{h} comes after {b} and before {a}.",
            "The {k} after {h} is {a}.",
            "The {k} before {h} is {b}.",
            "{b}, {h}, {a}.",
            "Between {b} and {a} lies {h}.",
            "{h} is followed by {a}.",
        )
        lines.append(rng.choice(wording).format(h=here, a=after, b=before, k=kind))
    return " ".join(lines)


WRITERS: dict[str, tuple[float, Callable[[Random], str]]] = {
    "glossaries": (6.0, glossary),
    "translations": (7.0, translated),
    "language questions": (2.5, language_questions),
    "grammar": (8.0, grammar),
    "capital letters": (5.0, capitals),
    "spelling": (3.0, spelling),
    "sorts": (4.0, sorts),
    "calendar": (0.7, calendar),
}
