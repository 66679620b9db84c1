"""Stories, letters, notes, recipes and talk: people who do things with things in places, and what can be told again about it."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from instil.pocket.prose.facts import QUESTIONS, RELATIONS, things, worded
from instil.pocket.world import COLORS, DAYS, MONTHS, NUMBERS, Person, capitalized, doings, joined, objects, places, with_article, world


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `sentence` tells all of it."""

    who: str
    pronoun: str
    verb: str
    past: str
    what: str
    """the thing with its color or adjective: `red lamp`"""
    thing: str
    place: str
    day: str

    @property
    def sentence(self) -> str:
        return f"On {self.day} {self.who} {self.past} the {self.what} in the {self.place}."


def event(rng: Random, person: Person | None = None) -> Event:
    everything = world()
    person = person or rng.choice(everything.people)
    verb, thing, place = rng.choice(doings()), rng.choice(objects()).word, rng.choice(places()).word
    quality = rng.choice((rng.choice(COLORS), rng.choice(everything.adjectives).word))
    return Event(person.name, person.pronoun, verb.word, verb.past, f"{quality} {thing}", thing, place, rng.choice(DAYS))


TELLINGS = (
    "{who} {past} the {what} in the {place} on {day}.",
    "On {day} {who} {past} the {what} in the {place}.",
    "In the {place} {who} {past} {a_what}. It was a {day}.",
    "{who} went to the {place} on {day}. There {pronoun} {past} the {what}.",
    "It was {day}. {who} {past} the {what}. {Pronoun} was in the {place}.",
    "{who} was in the {place}. {Pronoun} {past} the {what} on {day}.",
    "“I {past} the {what} in the {place} on {day},” said {who}.",
)
RECAPS = (
    ("Who {past} the {thing}?", "{who}"),
    ("Who {past} the {what}?", "{who}"),
    ("Who was in the {place}?", "{who}"),
    ("What did {who} {verb}?", "the {what}"),
    ("What did {who} {verb} on {day}?", "the {what}"),
    ("Where was {who}?", "in the {place}"),
    ("Where did {who} {verb} the {thing}?", "in the {place}"),
    ("When did {who} {verb} the {thing}?", "on {day}"),
    ("On which day was {who} in the {place}?", "on {day}"),
    ("What was the {thing} like?", "{quality}"),
)
RETELLINGS = (
    "It was {who} who {past} the {thing}.",
    "The one who {past} the {thing} was {who}.",
    "{who} was in the {place}.",
    "The {what} was in the {place}.",
    "That was on {day}.",
    "The thing that {who} {past} was the {what}.",
    "The {thing} was {quality}.",
)
FILLERS = (
    "The weather was fine.",
    "Nobody said a word.",
    "It was very quiet.",
    "Then it began to rain.",
    "Everyone was glad.",
    "It took a long time.",
    "A dog barked.",
    "The sun was shining.",
    "Soon it was dark.",
    "They all laughed.",
    "After that there was tea.",
    "It was a good day.",
)


def slots(happened: Event) -> dict[str, str]:
    """What a wording may name of an event."""
    return {
        "who": happened.who,
        "pronoun": happened.pronoun,
        "Pronoun": happened.pronoun.capitalize(),
        "verb": happened.verb,
        "past": happened.past,
        "what": happened.what,
        "a_what": with_article(happened.what),
        "thing": happened.thing,
        "place": happened.place,
        "day": happened.day,
        "quality": happened.what.split(" ")[0],
    }


def events(rng: Random, count: int) -> list[Event]:
    """Events that differ in everything that can be asked about."""
    people = rng.sample(world().people, count)
    found: list[Event] = []
    while len(found) < count:
        new = event(rng, people[len(found)])
        if all(new.thing != old.thing and new.place != old.place and new.past != old.past and new.day != old.day for old in found):
            found.append(new)
    return found


def tell(rng: Random, happened: list[Event], fillers: bool = True) -> str:
    sentences = []
    for one in happened:
        sentences.append(rng.choice(TELLINGS).format(**slots(one)))
        if fillers and rng.random() < 0.25:
            sentences.append(rng.choice(FILLERS))
    return " ".join(sentences)


def recap(rng: Random, happened: list[Event]) -> tuple[str, str]:
    question, answer = rng.choice(RECAPS)
    values = slots(rng.choice(happened))
    return question.format(**values), answer.format(**values)


UNSAID = ("the story does not say", "not in the passage", "that is not in the text", "we are not told")


def unanswerable(rng: Random, happened: list[Event]) -> tuple[str, str]:
    """A question about someone or something that does not occur."""
    stranger = event(rng)
    while any(stranger.who == one.who or stranger.thing == one.thing or stranger.place == one.place for one in happened):
        stranger = event(rng)
    question, _ = rng.choice(RECAPS[:-1])
    return question.format(**slots(stranger)), rng.choice(UNSAID)


def story(rng: Random) -> str:
    """A few events, sometimes told again or asked about."""
    happened = events(rng, rng.randrange(1, 5))
    text = tell(rng, happened)
    ending = rng.random()
    if ending < 0.3:
        again = [rng.choice(RETELLINGS).format(**slots(rng.choice(happened))) for _ in range(rng.randrange(1, 4))]
        return f"{text} {' '.join(again)}"
    if ending < 0.75:
        return f"{text}\n{_discussion(rng, happened)}"
    return rng.choice((f"{text} The end.", f"One day in {rng.choice(MONTHS)}. {text}", text))


def _discussion(rng: Random, happened: list[Event]) -> str:
    shape = rng.choice(("Q: {q}\nA: {a}", "Question: {q}\nAnswer: {a}", "{q} {a}", "“{q}” “{a}.”", "{q} - {a}"))
    big = rng.random() < 0.3
    lines = []
    for _ in range(rng.randrange(1, 4)):
        question, answer = unanswerable(rng, happened) if rng.random() < 0.2 else recap(rng, happened)
        if shape == "{q} {a}":
            answer = capitalized(answer) + "."
        lines.append(shape.format(q=question, a=capitalized(answer) if big else answer))
    return "\n".join(lines)


def letter(rng: Random) -> str:
    """A letter from a journey, with facts in it."""
    writer, reader = rng.sample(world().people, 2)
    country = rng.choice(world().countries)
    bought = rng.choice(objects())
    facts = [
        f"I am in {country.capital}, the capital of {country.name}.",
        f"People here speak {country.language}.",
        f"I pay with the {country.currency}.",
        f"{country.name} is in {country.continent}.",
        f"Yesterday I bought {with_article(bought.word)}.",
        f"The {country.adjective} {rng.choice(world().nouns).plural} are {rng.choice(world().adjectives).word}.",
        f"I will be home on {rng.choice(DAYS)}.",
        f"I saw {NUMBERS[rng.randrange(2, 12)]} {rng.choice(world().animals).plural}.",
        f"It is {rng.choice(MONTHS)} and the weather is {rng.choice(('fine', 'cold', 'warm', 'bad'))}.",
    ]
    chosen = facts[:1] + rng.sample(facts[1:], rng.randrange(2, 6))
    end = rng.choice(("Yours", "Love", "Best wishes", "Your friend", "See you soon"))
    return f"{rng.choice(('Dear', 'Hello', 'My dear'))} {reader.name},\n{' '.join(chosen)}\n{end}, {writer.name}"


def note(rng: Random) -> str:
    """A shopping list, a thing lost or for sale, a plan for the week."""
    person = rng.choice(world().people).name
    nouns = rng.sample(objects(), 5)
    kind = rng.randrange(4)
    if kind == 0:
        return f"{rng.choice(('To buy', 'Shopping list', f'{person} needs'))}:\n" + "\n".join(
            f"- {NUMBERS[rng.randrange(2, 10)]} {noun.plural}" for noun in nouns
        )
    if kind == 1:
        text = f"{rng.choice(('Lost', 'Found'))}: {with_article(rng.choice(COLORS) + ' ' + nouns[0].word)}. Please ask for {person}."
        return f"{text} It was last seen in the {rng.choice(('garden', 'market', 'park', 'station'))} on {rng.choice(DAYS)}."
    if kind == 2:
        days = rng.sample(DAYS, 3)
        return "\n".join(
            f"{day}: {verb.word} the {noun.word}" for day, verb, noun in zip(days, rng.sample(doings(), 3), nouns, strict=False)
        )
    return f"For sale: {joined(with_article(noun.word) for noun in nouns[:3])}. {rng.choice(('Call', 'Ask', 'Write to'))} {person}."


def recipe(rng: Random) -> str:
    """A dish, its parts, its steps."""
    foods = [noun for noun in world().nouns if noun.category in ("food", "fruit")]
    dish, *parts = rng.sample(foods, 4)
    tools = rng.sample([noun.word for noun in world().nouns if noun.category == "kitchen"], 2)
    amounts = [NUMBERS[rng.randrange(2, 9)] for _ in parts]
    steps = [
        f"Wash the {parts[0].plural}.",
        f"Cut the {parts[1].plural} with the {tools[0]}.",
        f"Put everything into the {tools[1]}.",
        f"Add the {parts[2].plural}.",
        f"Wait for {NUMBERS[rng.randrange(2, 20)]} minutes.",
        "Serve it warm.",
        "Stir well.",
    ]
    count = rng.randrange(3, 6)
    chosen = [steps[i] for i in sorted(rng.sample(range(len(steps)), count))]
    lines = [f"{n}. {step}" for n, step in enumerate(chosen, 1)] if rng.random() < 0.5 else [" ".join(chosen)]
    needed = joined(f"{amount} {part.plural}" for amount, part in zip(amounts, parts, strict=True))
    return f"{capitalized(dish.word)} with {parts[0].plural}\nYou need {needed}.\n" + "\n".join(lines)


def talk(rng: Random) -> str:
    """Two people talk: one asks, the other knows."""
    one, two = (person.name for person in rng.sample(world().people, 2))
    lines = []
    for _ in range(rng.randrange(2, 5)):
        kind = rng.choices(("country", "element", "animal"), (4, 1, 2))[0]
        relation, thing = rng.choice(RELATIONS[kind]), rng.choice(things(kind))
        question, answer = rng.choice(QUESTIONS[relation])
        lines.append(
            rng.choice(
                (
                    "“{q}” asked {one}. “{a},” said {two}.",
                    "{one} asked: “{q}” {two} said: “{a}.”",
                    "“{q}” - “{a}.”",
                    "{one}: {q}\n{two}: {a}.",
                    "“I wonder,” said {one}. “{q}” “I know,” said {two}. “{a}.”",
                )
            ).format(q=worded(question, thing), a=worded(answer, thing), one=one, two=two)
        )
    greeting = rng.choice(
        ("", f"{one} and {two} met in the {rng.choice(('garden', 'school', 'market', 'street'))}. ", f"“Good morning, {two}!” said {one}. ")
    )
    return greeting + rng.choice((" ", "\n")).join(lines)


def wordy(rng: Random) -> str:
    """Sentences about words in use: what someone did with a thing, small and plain."""
    lines = []
    for _ in range(rng.randrange(3, 7)):
        noun, other = rng.sample(objects(), 2)
        person, adjective = rng.choice(world().people), rng.choice(world().adjectives)
        verb = rng.choice(doings())
        lines.append(
            rng.choice(
                (
                    f"{person.name} {verb.past} {with_article(noun.word)}.",
                    f"{person.name} {verb.third} the {noun.word} every {rng.choice(DAYS)}.",
                    f"The {noun.word} is {adjective.word}, not {adjective.opposite}.",
                    f"There are {NUMBERS[rng.randrange(2, 12)]} {noun.plural} and one {other.word}.",
                    f"{person.name} has {with_article(adjective.word)} {noun.word} and {with_article(rng.choice(COLORS))} {other.word}.",
                    f"The {noun.word} of {person.name} is {rng.choice(COLORS)}.",
                    f"{person.name} likes {noun.plural} but {person.pronoun} does not like {other.plural}.",
                )
            )
        )
    return " ".join(lines)


def records(rng: Random) -> str:
    """Small machine-written records, as they lie about on the web."""
    person, noun = rng.choice(world().people), rng.choice(world().nouns)
    a, b = rng.randrange(2, 100), rng.randrange(2, 100)
    return rng.choice(
        (
            f'{{"name": "{person.name}", "age": {a}, "likes": "{noun.plural}"}}',
            f'{{"item": "{noun.word}", "count": {a}, "price": {b}}}',
            f'{{"name": "sum", "values": [{a}, {b}], "result": {a + b}}}',
            f'{{"expression": "{a} + {b}", "result": {a + b}}}',
            f'{{"expression": "{a} * {b}", "result": {a * b}}}',
            f"name,age,city\n{person.name},{a},{rng.choice(world().countries).capital}",
        )
    )


WRITERS: dict[str, tuple[float, Callable[[Random], str]]] = {
    "stories": (16.0, story),
    "letters": (3.0, letter),
    "notes": (1.5, note),
    "recipes": (1.5, recipe),
    "talk": (3.0, talk),
    "plain sentences": (4.0, wordy),
    "records": (0.7, records),
}
