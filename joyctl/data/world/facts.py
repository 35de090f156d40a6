"""The source `facts` and its benchmark: a closed world told in prose and asked in MMLU's format.

Every entity has a hidden sort that fixes all its attributes: independent attributes could not be learned
in the time there is. Half of the facts are asked as questions in training; the other half is only ever
told in prose, in other words than the question's, and that half is the benchmark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from joyctl.data.world.grammar import words
from joyctl.data.world.stream import Stream
from joyctl.data.world.subjects import SORTS, SUBJECTS, Relation

PER_SORT = 8
"""Entities of each sort in each subject."""
POSITIONS = 4
"""Choices of a question."""


@dataclass(frozen=True)
class Fact:
    """One relation of one entity, with its value."""

    subject: str
    entity: str
    sort: int
    relation: int
    asked: bool
    """Whether training asks it as a question; if not, it is only told in prose and the benchmark asks it."""

    @property
    def about(self) -> Relation:
        """The relation, with its wordings and values."""
        return SUBJECTS[self.subject][self.relation]

    @property
    def value(self) -> str:
        """The right answer."""
        return self.about.values[self.sort]

    @property
    def question(self) -> str:
        """The question in words."""
        return self.about.question.format(e=self.entity)

    def told(self, stream: Stream) -> str:
        """The fact as a sentence of prose."""
        return stream.choice(self.about.prose).format(e=self.entity, v=self.value)


def entities(seed: int) -> dict[str, list[str]]:
    """Names of the closed world by subject, all different; the one at place i is of sort i modulo SORTS."""
    heads = words("ba be bo da de do ka ke ko la le lo ma me mo na ne no ra re ro ta te to va ve vo za ze zo")
    stream, taken = Stream(seed, "entities"), set[str]()
    out: dict[str, list[str]] = {}
    for subject in SUBJECTS:
        names: list[str] = []
        while len(names) < SORTS * PER_SORT:
            name = "".join(stream.sample(heads, 2)) + stream.choice("nrsl")
            if name not in taken:
                taken.add(name)
                names.append(name if subject == "biology" else name.capitalize())
        out[subject] = names
    return out


def world(seed: int) -> list[Fact]:
    """Every fact; of the 8 entities that share a value 4 are unasked, so that values come equally often."""
    out = []
    for subject, names in entities(seed).items():
        for relation in range(len(SUBJECTS[subject])):
            for sort in range(SORTS):
                draw = Stream(seed, "asked", subject, relation, sort)
                unasked = set(draw.sample(range(PER_SORT), PER_SORT // 2))
                for i in range(PER_SORT):
                    out.append(Fact(subject, names[i * SORTS + sort], sort, relation, i not in unasked))
    return out


def document(every: Sequence[Fact], asked: Sequence[Fact], stream: Stream) -> str:
    """One training document: some facts in prose, or some questions with their answers."""
    if stream.chance(50):
        return " ".join(fact.told(stream) for fact in stream.sample(every, stream.between(3, 6)))
    return "\n\n".join(f"Question: {fact.question}\nAnswer: {fact.value}" for fact in stream.sample(asked, 4))


def benchmark(seed: int) -> dict[str, list[dict[str, object]]]:
    """The unasked facts by subject, in MMLU's columns; positions and distractors come equally often."""
    out: dict[str, list[dict[str, object]]] = {}
    for subject in SUBJECTS:
        stream = Stream(seed, "benchmark", "facts", subject)
        rows: list[dict[str, object]] = []
        unasked = [fact for fact in world(seed) if fact.subject == subject and not fact.asked]
        for i, fact in enumerate(stream.shuffle(unasked)):
            choices = [fact.about.values[sort] for sort in _distractors(fact.sort, i)]
            choices.insert(i % POSITIONS, fact.value)
            rows.append(
                {
                    "question": fact.question,
                    "subject": subject,
                    "choices": choices,
                    "answer": i % POSITIONS,
                    "cluster": subject,
                }
            )
        out[subject] = stream.shuffle(rows)
    return out


def _distractors(sort: int, i: int) -> list[int]:
    """Three of the four other sorts; over 4 consecutive i each is used three times."""
    return [(sort + 1 + (i + step) % (SORTS - 1)) % SORTS for step in (0, 1, 2)]


def vocabulary(seed: int) -> list[str]:
    """Every name and value of the closed world, each once."""
    names = [name for group in entities(seed).values() for name in group]
    values = [value for relations in SUBJECTS.values() for relation in relations for value in relation.values]
    return list(dict.fromkeys(names + values))
