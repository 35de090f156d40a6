"""The source `math` and its benchmark: small sums in words, in GSM8K's format (`#### N`)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from joyctl.data.world.grammar import words
from joyctl.data.world.stream import Stream, rank_key

NAMES = words("Tom Mia Sam Ana Leo Eva Max Zoe")
ITEMS = words("apples books coins pens cards eggs")
ANSWERS = range(2, 12)
"""The answers; in the benchmark each comes equally often, so that a constant answer scores 1 in 10."""

HELD_OUT_EACH = 20
"""Test-only problems of each answer, of 36 to 70."""

# A step is (words before, left, operator, right); `r` is the last step's result, `s` is a + b.
_Step = tuple[str, str, str, str]
_ADD: tuple[_Step, ...] = (("{n} has", "a", "+", "b"),)
_SUB: tuple[_Step, ...] = (("{n} has", "s", "-", "b"),)
_BOTH: tuple[_Step, ...] = (("They have", "a", "+", "b"),)
_ADD_ADD: tuple[_Step, ...] = (("First", "a", "+", "b"), ("Then", "r", "+", "c"))
_SUB_ADD: tuple[_Step, ...] = (("First", "s", "-", "b"), ("Then", "r", "+", "c"))

TEMPLATES: tuple[tuple[str, tuple[_Step, ...]], ...] = (
    ("{n} has {a} {i} and buys {b} more. How many {i} does {n} have?", _ADD),
    ("{n} has {a} {i}. {m} gives {n} {b} {i}. How many {i} does {n} have?", _ADD),
    ("{n} has {s} {i} and loses {b}. How many {i} are left?", _SUB),
    ("{n} has {s} {i} and gives {m} {b} of them. How many {i} does {n} have?", _SUB),
    ("{n} finds {a} {i} and then {b} more. How many {i} does {n} have?", _ADD),
    ("{n} has {s} {i} and sells {b}. How many {i} are left?", _SUB),
    ("{n} has {a} {i}. {m} has {b} {i}. How many {i} do they have in total?", _BOTH),
    ("{n} has {a} {i}, finds {b} and then {c} more. How many {i} does {n} have?", _ADD_ADD),
    ("{n} has {s} {i}, sells {b} and buys {c}. How many {i} does {n} have?", _SUB_ADD),
)


@dataclass(frozen=True)
class Problem:
    """What is computed, without names and items: a template and its operands (c is 0 where it is not used)."""

    template: int
    a: int
    b: int
    c: int

    @property
    def key(self) -> str:
        """`template-a-b-c`: what train and test are split by, and what standard errors cluster by."""
        return f"{self.template}-{self.a}-{self.b}-{self.c}"

    def results(self) -> list[int]:
        """The result of every step; the last one is the answer."""
        values = {"a": self.a, "b": self.b, "c": self.c, "s": self.a + self.b}
        out: list[int] = []
        for _, left, operator, right in TEMPLATES[self.template][1]:
            x, y = values[left], values[right]
            values["r"] = x + y if operator == "+" else x - y
            out.append(values["r"])
        return out


def _all_problems(answer: int) -> list[Problem]:
    """Every problem with this answer whose operands have one digit, and none starts from more than 12."""
    out = []
    for t, (question, steps) in enumerate(TEMPLATES):
        subtracts, three = steps[0][2] == "-", "{c}" in question
        for b in range(1, 6 if three else 10):
            for c in range(1, 4) if three else range(1):
                a = answer - c if subtracts else answer - b - c
                if 1 <= a <= 9 and (not subtracts or a + b <= 12):
                    out.append(Problem(t, a, b, c))
    return out


@lru_cache(maxsize=8)
def split(seed: int) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    """(problems to train on, problems only to test on); of every answer `HELD_OUT_EACH` are test-only."""
    train: list[Problem] = []
    test: list[Problem] = []
    for answer in ANSWERS:
        ranked = sorted(_all_problems(answer), key=lambda p: rank_key(seed, "math", p.key))
        test += ranked[:HELD_OUT_EACH]
        train += ranked[HELD_OUT_EACH:]
    return tuple(train), tuple(test)


def dress(problem: Problem, stream: Stream) -> dict[str, str]:
    """A problem in words: `question` and `answer` (steps, then `#### N`), with random names and items."""
    question, steps = TEMPLATES[problem.template]
    n, m = stream.sample(NAMES, 2)
    values: dict[str, object] = {
        "n": n, "m": m, "i": stream.choice(ITEMS),
        "a": problem.a, "b": problem.b, "c": problem.c, "s": problem.a + problem.b,
    }  # fmt: skip
    lines = []
    for (lead, left, operator, right), result in zip(steps, problem.results(), strict=True):
        said = lead.format(**values)
        lines.append(f"{said} {values[left]} {operator} {values[right]} = {result} {values['i']}.")
        values["r"] = result
    return {"question": question.format(**values), "answer": "\n".join([*lines, f"#### {values['r']}"])}


def document(train: Sequence[Sequence[Problem]], stream: Stream) -> str:
    """One training document; `train` holds the training problems by template."""
    words = dress(stream.choice(stream.choice(train)), stream)
    return f"Question: {words['question']}\nAnswer: {words['answer']}"


def by_template(problems: Sequence[Problem]) -> list[list[Problem]]:
    """The same problems, grouped by template."""
    return [[p for p in problems if p.template == t] for t in range(len(TEMPLATES))]


def benchmark(seed: int, items: int) -> list[dict[str, object]]:
    """`items` test questions in GSM8K's columns, equally many for every answer; all questions distinct.

    A problem comes as often as it must, each time with other names and items.
    """
    stream = Stream(seed, "benchmark", "math")
    each, rest = divmod(items, len(ANSWERS))
    if rest:
        raise ValueError(f"{items} items are not the same number for each of {len(ANSWERS)} answers")
    asked: dict[str, dict[str, object]] = {}
    for answer in ANSWERS:
        test = [p for p in split(seed)[1] if p.results()[-1] == answer]
        for problem in itertools.islice(itertools.cycle(test), each):
            words = dress(problem, stream)
            while words["question"] in asked:
                words = dress(problem, stream)
            asked[words["question"]] = {**words, "cluster": problem.key}
    return stream.shuffle(list(asked.values()))
