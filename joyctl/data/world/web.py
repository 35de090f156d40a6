"""The source `web`: general text of many kinds, from stories and letters to recipes and notices.

It stands for the web crawl of a real pretraining mix. It teaches none of what `math`, `code` and `facts`
teach: no sums, no programs, no questions in the benchmarks' shape, none of the names of the closed world.
Invented names follow Zipf's law, so its loss has a long tail and keeps falling as long as it is trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from joyctl.data.world.grammar import Grammar
from joyctl.data.world.lexicon import ENGLISH, english_words, invented
from joyctl.data.world.stream import Stream

PEOPLE, TOWNS, COINED = 400, 400, 1200
"""How many invented names of each kind there are."""

_STORY = (
    "{Time}, {whom} {went} to the {place}.",
    "{Hero} {saw} {what} {where}.",
    "{Hero} {saw} {what} {why}.",
    "{Time}, {hero} {adverb} {saw} {what}.",
    "{Whom} {said} nothing and {saw} {what}.",
    '"We must {job}," {said} {hero}.',
    '"{Whom} will {job}," {said} {whom}, "{why}."',
    "The {animal} {went} {where}.",
    "It was {adj} {where}, and {hero} was {feeling}.",
    "{Whom} had {a:adj} {thing} and {a:adj} {animal}.",
    "Nobody {where} could {job}.",
    "Then {whom} and {hero} {went} home {why}.",
    "{Hero} never {saw} {what} again.",
    "Everyone {where} was {feeling} {why}.",
    "So {hero} had to {job} and {job}.",
    "There was {what} {where}.",
    "{Hero} had {n} {many}s {where}.",
    "The {n} {many}s were {adj}, {why}.",
    "{Whom} {saw} all {n} {many}s of {hero}.",
    "Of the {n} {many}s none was {adj}.",
)
_LETTER = (
    "I hope that this letter finds you {feeling}.",
    "We have had {weather} for {while}.",
    "{Whom} {saw} {what} {time}.",
    "Your {kin} asks you to {job}.",
    "I am {feeling}, {why}.",
    "Please send us {what} and some {food}.",
    "The {place} is {adj} now, and {whom} wants to {job}.",
    "{Time} I {went} to {town} to {job}.",
    "Do you still have {what}?",
    "When will you come to {town}?",
    "Nobody here has heard from {whom} {time}.",
    "The {animal} is well, but the {thing} is {adj}.",
)
_PLACE = (
    "{Here} is {a:adj} {place} town on the {wind} side of the {land}.",
    "About {number} hundred people live {where}.",
    "Its {n} {place}s are {adj}.",
    "Only {here} has {n} {place}s {where}.",
    "The {place} of {here} was built {time} of {material} and {material}.",
    "It has {a:adj} {place}, {number} {place}s and {a:adj} {place}.",
    "Travellers come {time} to see {what}.",
    "The road from {here} to {town} goes over the {land}.",
    "Most families {where} make {coined}s and sell {food}.",
    "There is {a:adj} {place} where {whom} {saw} {what}.",
    "{Season} is {adj} in {here}, with {weather} and {weather}.",
    "An old song of {here} tells how {name} {saw} {what}.",
)
_TRADE = (
    "{A:person} from {here} works with {tool} and {tool}.",
    "The {material} comes from {town} and must be {adj}.",
    "First you {verb} the {material} for {while}.",
    "Then the {person} will {verb} it and {verb} it again with {a:tool}.",
    "For a {made} one needs {n} {many}s.",
    "All {n} {many}s must be {adj}.",
    "A good {made} is {adj} and {colour}, never {adj}.",
    "It takes {while} to make a {made}.",
    "People {where} pay well for {a:adj} {made}.",
    "The {kin} of {name} was the first to {verb} {material} {where}.",
    "Without {a:adj} {tool} the {made} turns {adj}.",
    "{Made}s are sold {where} {time}.",
)
_RECIPE = (
    "{Verb} the {food} for {while}.",
    "Take {number} spoons of {food} and a little {food}.",
    "Add {food}, {food} and some {colour} {coined}.",
    "{Verb} everything in {a:adj} {tool}.",
    "Leave it {where} until it is {adj}.",
    "Serve it {adj} with {food}.",
    "If the {food} is too {adj}, {verb} it with {food}.",
    "Some cooks {where} use {food} instead of {food}.",
    "Keep the rest in {a:material} {thing}.",
)
_WEATHER = (
    "{Weather} will come from the {wind} {time}.",
    "The {land} will have {weather} and some {weather}.",
    "It stays {adj} and {adj} {where}.",
    "The wind turns to the {wind} and grows {adj}.",
    "{Weather} is likely near {town} and {town}.",
    "People in {town} should {job}.",
    "No {weather} has been seen {where} for {while}.",
    "{Season} has been {adj} on the {land}.",
    "Boats should stay in the harbour of {town} until the {weather} is over.",
)
_HOWTO = (
    "Put the {thing} on {part} of the {thing}.",
    "{Verb} {part} with {a:adj} {tool}.",
    "Wait {while} and {verb} it {adverb}.",
    "Use only {adj} {material}.",
    "If {part} becomes {adj}, {verb} the {material} once more.",
    "Do not {verb} it in {weather}.",
    "Ask {a:person} to {job}.",
    "Check that {part} is {adj} before you {verb} it.",
    "Keep the {tool} {adj} and {adj}.",
    "When the {thing} is {colour}, the work is done.",
)
_TALK = (
    "Have you seen {what}?",
    "No, I was {where} {time}.",
    "{Whom} {saw} it {where}.",
    "Then we have to {job}.",
    "But the {place} is {adj}, and I am {feeling}.",
    "Who told you to {job}?",
    "My {kin} did, {why}.",
    "I would rather {job} than {job}.",
    "Is {whom} still {where}?",
    "Not since {whom} {went} to {town}.",
    "Well, bring {what} and some {food}.",
    "That is {adj} news.",
    "You always say that {time}.",
)
_ENTRY = (
    "The {topic} is {a:adj} {colour} plant of the {land}.",
    "It grows {where} and flowers in {season}.",
    "Its leaves are {adj} and {colour}.",
    "It has {n} {colour} leaves.",
    "The {n} leaves of the {topic} are {adj}.",
    "In {town} people {verb} its roots and eat them with {food}.",
    "A {topic} needs {weather} and {adj} ground.",
    "{Animal}s and {animal}s like it, but {animal}s do not.",
    "The name comes from {town}, where {name} found it {time}.",
    "It is a cousin of the {coined} and the {coined}.",
    "Its seeds are kept in {a:adj} {thing} for {while}.",
    "Dried {topic} smells of {food}.",
    "Old books say that {topic} makes {whom} {feeling}.",
)
_DIARY = (
    "Up early, {weather} all day.",
    "{Went} to {town} with {whom}.",
    "{Saw} {what} {where}.",
    "Ate {food} with {food}, then slept for {while}.",
    "{Whom} came {time} and {saw} {what}.",
    "Must {job} tomorrow.",
    "The {animal} is {adj}, I am {feeling}.",
    "Could not {job}, {why}.",
    "No word from {name} for {while}.",
    "Paid {name} for the {thing}.",
)
_NOTICE = (
    "Lost {where}: {a:adj} {colour} {thing}.",
    "For sale: {what}, hardly used, with {a:adj} {thing}.",
    "Wanted: {a:adj} {person} who can {job}.",
    "The {place} of {town} is closed for {while}.",
    "The {person}s of {town} meet {time} {where}.",
    "Please do not {job} {where}.",
    "Room to let {where}, {adj} and {adj}.",
    "Ask for {name} at the {place}.",
    "Whoever finds {what} may keep the {thing}.",
    "Fresh {food} and {food} every day from {name}.",
)
_REVIEW = (
    "{Book} is {praise}.",
    "It tells how {whom} {saw} {what} {where}.",
    "{Name}, who also wrote {book}, knows {town} well.",
    "The part about the {place} is {adj}, the rest is {praise}.",
    "Near the end {whom} {saw} {what} {why}.",
    "I read it {time} and was {feeling}.",
    "Readers who liked {book} will find it {adj}.",
    "The pictures of {animal}s are {praise}.",
)
_REGISTER = (
    "Box {no}: {what}, from {name}.",
    "Box {no}: {number} {adj} {thing}s and {food}.",
    "Page {no}: {whom} {went} to {town}.",
    "House {no} in {town}: {name} the {person}, {feeling}.",
    "Room {no}: {a:adj} {thing}, {a:colour} {thing}.",
    "Bed {no}: {coined} and {coined}, {adj}.",
    "Letter {no} is for {name} in {town}.",
    "Ship {no} brings {food} and {material} to {town}.",
)
_SAYING = (
    "{Wise}.",
    "In {town} they say: {wise}.",
    "My {kin} used to say that {wise}.",
    "{Wise}, but {wise}.",
    "As {name} {said}, {wise}.",
)


def _prose(sentences: Sequence[str], low: int, high: int) -> Callable[[Grammar, Stream, dict[str, str]], str]:
    def write(grammar: Grammar, stream: Stream, kept: dict[str, str]) -> str:
        chosen = stream.sample(sentences, min(stream.between(low, high), len(sentences)))
        return " ".join(grammar.say(stream, s, kept) for s in chosen)

    return write


def _letter(grammar: Grammar, stream: Stream, kept: dict[str, str]) -> str:
    body = _prose(_LETTER, 2, 5)(grammar, stream, kept)
    return grammar.say(stream, "Dear {name},\n", kept) + body + grammar.say(stream, "\nYour {kin} {name}", kept)


def _steps(title: str, sentences: Sequence[str]) -> Callable[[Grammar, Stream, dict[str, str]], str]:
    def write(grammar: Grammar, stream: Stream, kept: dict[str, str]) -> str:
        chosen = stream.sample(sentences, stream.between(3, 5))
        return "\n".join([grammar.say(stream, title, kept), *(grammar.say(stream, f"- {s}", kept) for s in chosen)])

    return write


def _register(grammar: Grammar, stream: Stream, kept: dict[str, str]) -> str:
    """A list of entries, some of which are read out again in another order: what was written is copied."""
    lines = [grammar.say(stream, entry, kept) for entry in stream.sample(_REGISTER, stream.between(2, 4))]
    return "\n".join([*lines, grammar.say(stream, "{Name} reads:"), *stream.sample(lines, stream.between(1, 2))])


def _rhyme(grammar: Grammar, stream: Stream, kept: dict[str, str]) -> str:
    """Verses with a refrain, each taking up the last words of the one before."""
    refrain = grammar.say(stream, stream.choice(("{Wise}.", "{Hero} {saw} {what}.", "O {name}, O {town}!")), kept)
    last = grammar.say(stream, "{a:adj} {coined}", kept)
    lines = []
    for _ in range(stream.between(2, 3)):
        following = grammar.say(
            stream, stream.choice(("the {thing} of {name}", "{a:adj} {animal}", "a {coined}")), kept
        )
        lines += [grammar.say(stream, f"{{Hero}} {{saw}} {last} and {following},", kept), refrain]
        last = following
    return "\n".join(lines)


def _echo(grammar: Grammar, stream: Stream, kept: dict[str, str]) -> str:
    """Questions that are answered in their own words."""
    asker, answerer = grammar.say(stream, "{name}"), grammar.say(stream, "{name}")
    lines = []
    for _ in range(stream.between(2, 3)):
        what, where = grammar.say(stream, "{what}", kept), grammar.say(stream, "{where}", kept)
        did = grammar.say(stream, "{saw}")
        lines.append(f"{asker}: Is it true that {answerer} {did} {what} {where}?")
        lines.append(f"{answerer}: It is true, I {did} {what} {where}.")
    return "\n".join(lines)


def _talk(grammar: Grammar, stream: Stream, kept: dict[str, str]) -> str:
    speakers = [grammar.say(stream, "{name}"), grammar.say(stream, "{name}")]
    lines = stream.sample(_TALK, stream.between(3, 6))
    return "\n".join(f"{speakers[i % 2]}: {grammar.say(stream, line, kept)}" for i, line in enumerate(lines))


_KINDS: tuple[tuple[Callable[[Grammar, Stream, dict[str, str]], str], str], ...] = (
    (_prose(_STORY, 4, 7), "{hero=hero}{n=number}{many=coined}"),
    (_prose(_STORY, 4, 7), "{hero=hero}{n=number}{many=coined}"),
    (_register, ""),
    (_rhyme, ""),
    (_letter, ""),
    (_echo, ""),
    (_prose(_PLACE, 3, 6), "{here=town}{n=number}"),
    (_prose(_ENTRY, 3, 6), "{topic=coined}{n=number}"),
    (_talk, ""),
    (_prose(_TRADE, 3, 6), "{here=town}{made=coined}{n=number}{many=thing}"),
    (_steps("{Food} with {coined} and {food}, as in {town}", _RECIPE), ""),
    (_prose(_DIARY, 4, 7), ""),
    (_prose(_WEATHER, 3, 5), ""),
    (_steps("How to {job}", _HOWTO), ""),
    (_prose(_NOTICE, 2, 5), ""),
    (_prose(_REVIEW, 3, 5), ""),
    (_prose(_SAYING, 2, 4), ""),
)
"""Writer of a kind of document, and the slots it settles first; frequent kinds come first."""


def grammar(seed: int, taken: set[str]) -> Grammar:
    """This world's words: the English lists and invented names that are not in `taken` (which gains them)."""
    taken |= english_words()
    names = invented(seed, "people", PEOPLE, taken, capital=True)
    return Grammar(
        {
            **ENGLISH,
            "name": names,
            "town": invented(seed, "towns", TOWNS, taken, capital=True),
            "coined": invented(seed, "coined", COINED, taken, capital=False),
            "no": tuple(str(n) for n in Stream(seed, "numbers").shuffle(range(1, 100))),
            "hero": (
                "{name}",
                "the {person}",
                "the {adj} {person}",
                "{name} the {person}",
                "the {kin} of {name}",
            ),
        },
        recurring=frozenset({"name", "town", "coined"}),
    )


def document(words: Grammar, stream: Stream) -> str:
    """One document, of a random kind."""
    write, settle = stream.zipf(_KINDS, flatten=6)
    kept: dict[str, str] = {}
    words.say(stream, settle, kept)
    return write(words, stream, kept)
