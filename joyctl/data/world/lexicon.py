"""The words of the world: English lists in rough order of frequency, and invented names with a long tail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from joyctl.data.world.grammar import words
from joyctl.data.world.stream import Stream

ENGLISH: Mapping[str, Sequence[str]] = {
    name: words(text)
    for name, text in {
        "person": "man woman child boy girl farmer teacher baker doctor sailor neighbour miller smith"
        " traveller merchant widow student captain cook painter guard priest tailor weaver"
        " hunter fisherman clerk nurse carpenter shepherd singer poet judge thief soldier"
        " gardener printer potter mayor stranger",
        "kin": "mother father sister brother uncle aunt cousin grandmother grandfather daughter son"
        " wife husband friend nephew niece",
        "animal": "dog cat horse cow goat hen sheep pig mouse bird owl fox crow hare duck donkey bee frog",
        "place": "house garden market field kitchen bridge church school barn hill yard street mill"
        " harbour inn shop stable cellar tower square orchard road path well gate meadow"
        " workshop station library hall",
        "thing": "letter door table lamp cup basket key knife coat blanket chair box rope boat hat"
        " candle plate mirror ring clock spoon ladder bag stone wheel shoe window bottle"
        " hammer drum map pipe bell jar picture kettle bench cart net needle broom",
        "food": "bread soup milk cheese butter honey onions beans potatoes flour rice pears plums"
        " nuts cabbage eggs oil pepper mushrooms garlic barley carrots lentils berries"
        " turnips cream herbs lemons",
        "material": "wood clay leather stone cloth wool tin straw glass copper wax bone linen brick",
        "weather": "rain snow wind fog sun frost hail thunder mist drizzle",
        "adj": "old small long little good new quiet big dark cold warm heavy broken empty strange"
        " narrow white tired young bright soft poor tall wet clean rich thin sweet slow deep"
        " sharp plain dusty loud round rough gentle bitter steep pale crooked hollow faded",
        "feeling": "happy tired angry glad sad afraid proud hungry calm curious lonely worried patient ashamed",
        "colour": "white red brown green grey blue black yellow golden silver pink purple",
        "number": "2 3 5 4 7 6 8 9 10 12 11 15 14 20 13 18 16 17 19 24 21 23 22",
        "adverb": "slowly quietly again soon often quickly carefully never always suddenly gladly still"
        " rarely softly badly together alone early late",
        "part": "the roof|the door|the wall|the floor|the left side|the corner|the window|the front"
        "|the edge|the top|the back|the middle",
        "went": "walked went ran came rode hurried climbed wandered drove crept sailed marched",
        "saw": "saw found heard took carried kept lost bought sold wanted remembered brought mended"
        " hid opened sold painted cleaned washed broke forgot watched counted held lifted"
        " burned followed dropped borrowed",
        "said": "said asked answered whispered shouted thought cried laughed sighed called",
        "time": "in the morning|at night|in the evening|after the rain|last summer|before dinner"
        "|one day|that winter|at noon|in the spring|every autumn|on the second day|long ago"
        "|before sunrise|on market day|late at night|during the storm|after the harvest"
        "|at midnight|on the last day of the year",
        "why": "because it was cold|because nobody else would|although the wind was strong"
        "|while the others slept|so that everyone could rest|until the bells rang"
        "|as if nothing had happened|because the road was closed|although it was late"
        "|before anyone could speak|since there was no other way|to please {kin_of}"
        "|without a word|in spite of the {weather}|as the {kin} had asked"
        "|for the sake of the {animal}",
        "kin_of": "her {kin}|his {kin}|their {kin}|my {kin}|our {kin}|the {person}",
        "where": "in the {place}|near the {place}|behind the {place}|under the {adj} {thing}"
        "|by the {adj} {place}|in {town}|on the road to {town}|at the {place} of {town}"
        "|between the {place} and the {place}|not far from {town}|beyond the {place}"
        "|in the {place} by the {place}",
        "whom": "the {person}|the {adj} {person}|{name}|{kin_of}|the {person} from {town}"
        "|{a:adj} {person}|{name} the {person}|the {kin} of {name}",
        "what": "the {thing}|{number} {animal}s|{a:adj} {thing}|the {adj} {thing}|a {coined}|the {thing} of {whom}"
        "|the {material} {thing}|{number} {adj} {coined}s|some {food}|the {adj} {animal}"
        "|a {colour} {thing}|the {coined}",
        "job": "mend the {thing}|feed the {animal}s|clean the {place}|carry the {thing} home"
        "|wait for {whom}|go to {town}|look for the {animal}|cook some {food}|write to {whom}"
        "|sleep in the {place}|sell the {thing}|close the {place}|bring more {food}"
        "|paint the {thing} {colour}|learn to make {coined}s",
        "verb": "cut wash boil dry fold press stir peel grind heat shake rub soak tie split turn salt"
        " smoke fill scrape polish bend stack clean weigh",
        "tool": "knife spoon hammer brush needle file saw wheel press oven kettle loom comb stick cloth pot",
        "while": "an hour|a day|a night|a week|some minutes|half a day|a month|the whole winter|a short time",
        "season": "spring summer autumn winter",
        "wind": "north south east west north-west south-east north-east south-west",
        "land": "valley coast hills mountains plain islands forest lowlands moor marsh",
        "book": "The {adj} {place}|{name} and the {animal}|A {season} in {town}|The {thing} of {name}"
        "|{coined}s and {food}|The {person} from {town}|Letters to {a:adj} {person}"
        "|Under the {adj} {place}",
        "praise": "worth reading|far too long|the best of its kind|hard to follow|full of good sense"
        "|rather dull|written with care|loved by children|better than the last one",
        "wise": "the early {person} finds the {place} empty|no {animal} ever mended {a:thing}"
        "|{a:adj} {thing} needs {a:adj} {person}|where there is {weather} there is mud"
        "|the {person} who laughs last has not heard the news"
        "|{food} today is better than {food} tomorrow"
        "|{a:adj} {kin} is worth {number} {adj} {thing}s"
        "|do not sell the {animal} before the {season}",
    }.items()
}
"""Slot name to words; a word may hold slots itself. `name`, `town` and `coined` are invented, see `invented`."""

_ONSETS = words("b br c ch d dr f fl g gr h j k kl l m n p pr r s sh sk st t th tr v w y z")
_VOWELS = words("a e i o u a e i o ai ea ou")
_CODAS = words("n r l s m t nd rk lt sh ck x ng")


def invented(seed: int, kind: str, count: int, taken: set[str], *, capital: bool) -> tuple[str, ...]:
    """`count` pronounceable words of two or three syllables that are not in `taken`; adds them to it.

    Compared without regard to case, so that no name of one part of the world is a word of another.
    """
    stream = Stream(seed, "lexicon", kind)
    out: list[str] = []
    while len(out) < count:
        word = "".join(stream.choice(_ONSETS) + stream.choice(_VOWELS) for _ in range(stream.between(1, 2)))
        word += stream.choice(_ONSETS) + stream.choice(_VOWELS) + stream.choice(_CODAS)
        if word not in taken:
            taken.add(word)
            out.append(word.capitalize() if capital else word)
    return tuple(out)


def english_words() -> set[str]:
    """Every single word of the English lists, in lower case."""
    entries = " ".join(entry for group in ENGLISH.values() for entry in group)
    return {word.lower() for word in entries.split() if word.isalpha()}
