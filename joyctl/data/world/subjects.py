"""The subjects of the closed world: what there is to know about an entity, how it is told and how it is asked."""

from __future__ import annotations

from dataclasses import dataclass

from joyctl.data.world.grammar import words

SORTS = 5
"""Hidden sorts of entity; every relation has one value for each."""


@dataclass(frozen=True)
class Relation:
    """One thing to know about an entity of a subject."""

    question: str
    prose: tuple[str, str]
    values: tuple[str, ...]


def _relation(question: str, first: str, second: str, values: str) -> Relation:
    return Relation(question, (first, second), words(values))


SUBJECTS: dict[str, tuple[Relation, ...]] = {
    "geography": (
        _relation(
            "Which river does {e} lie on?",
            "The town {e} lies on the {v}.",
            "The river of {e} is the {v}.",
            "Arno Brel Cade Dorn Elbe",
        ),
        _relation(
            "Which land is {e} in?",
            "The town {e} is in {v}.",
            "The town {e} is a part of {v}.",
            "Norland Sudria Westmark Ostia Midvale",
        ),
        _relation(
            "What is {e} known for?",
            "All know {e} for its {v}.",
            "The people of {e} sell {v}.",
            "salt wool glass silk iron",
        ),
        _relation(
            "Who is the patron of {e}?",
            "The patron of {e} is {v}.",
            "In {e} they pray to {v}.",
            "Agnes Bruno Clara Denis Elmo",
        ),
        _relation(
            "What stands on the hill of {e}?",
            "On the hill of {e} is a {v}.",
            "The hill of {e} has a {v}.",
            "castle mill chapel statue beacon",
        ),
    ),
    "biology": (
        _relation(
            "What does the {e} eat?",
            "The {e} eats {v}.",
            "The food of the {e} is {v}.",
            "grass fish seeds ants roots",
        ),
        _relation(
            "Where does the {e} live?",
            "The {e} lives in the {v}.",
            "The home of the {e} is the {v}.",
            "desert forest swamp ocean tundra",
        ),
        _relation(
            "What colour is the {e}?",
            "The {e} is {v}.",
            "Every {e} has {v} skin.",
            "red blue green black white",
        ),
        _relation(
            "What does the {e} fear?",
            "The {e} fears the {v}.",
            "The {e} flees from the {v}.",
            "wolf hawk snake shark bear",
        ),
        _relation(
            "How does the {e} move?",
            "The {e} always {v}.",
            "The young {e} soon {v}.",
            "hops swims crawls flies runs",
        ),
    ),
    "history": (
        _relation(
            "What title did {e} hold?",
            "The title of {e} was {v}.",
            "In those days {e} ruled as {v}.",
            "king duke emperor regent prince",
        ),
        _relation(
            "Which battle did {e} win?",
            "The army of {e} won at {v}.",
            "The enemies of {e} lost at {v}.",
            "Aldon Bram Corse Delph Evran",
        ),
        _relation(
            "What did {e} build?",
            "The great work of {e} was a {v}.",
            "The workers of {e} made a {v}.",
            "bridge tower harbour temple library",
        ),
        _relation(
            "How did {e} die?",
            "The death of {e} came by {v}.",
            "In the end {e} died of {v}.",
            "fever poison plague hunger thirst",
        ),
        _relation(
            "Which house was {e} from?",
            "The house of {e} was {v}.",
            "The mother of {e} was a {v}.",
            "Tudo Valo Habs Borg Medi",
        ),
    ),
    "chemistry": (
        _relation(
            "What is {e} used for?",
            "Smiths use {e} for {v}.",
            "The metal {e} is good for {v}.",
            "lamps coins wires paint mirrors",
        ),
        _relation(
            "Where is {e} found?",
            "Much {e} is found in {v}.",
            "Miners dig for {e} in {v}.",
            "clay granite sand chalk slate",
        ),
        _relation(
            "What happens to {e} in water?",
            "In water {e} {v}.",
            "A piece of {e} in water {v}.",
            "burns melts floats sinks glows",
        ),
        _relation(
            "What does {e} smell of?",
            "The smell of {e} is that of {v}.",
            "Hot {e} smells of {v}.",
            "smoke roses vinegar garlic honey",
        ),
        _relation(
            "What is {e} mixed with?",
            "Smiths mix {e} with {v}.",
            "They melt {e} together with {v}.",
            "zinc lead tin nickel copper",
        ),
    ),
}
"""Relations by subject; the value at place s belongs to the entities of sort s."""
