"""The source `code` and its benchmark: one-line list functions in HumanEval's format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from joyctl.data.world.grammar import words
from joyctl.data.world.stream import Stream, rank_key

CONSTANTS = range(1, 10)
HELD_OUT_EACH = 5
"""Test-only constants of every (aggregate, selection)."""

ARGUMENTS = words("xs nums items data")

# name: (docstring, expression, the same as a function)
_AGGREGATES: dict[str, tuple[str, str, Callable[[Iterable[int]], object]]] = {
    "list": ("Return the list of", "[{}]", list),
    "sum": ("Return the sum of", "sum([{}])", sum),
    "max": ("Return the largest of", "max([{}])", max),
    "min": ("Return the smallest of", "min([{}])", min),
    "count": ("Return how many there are of", "len([{}])", lambda v: len(list(v))),
    "sort": ("Return in order", "sorted([{}])", sorted),
}
_SELECTIONS: dict[str, tuple[str, str, Callable[[Sequence[int], int], Iterable[int]]]] = {
    "above": ("greater than {k}", "v for v in {x} if v > {k}", lambda x, k: (v for v in x if v > k)),
    "below": ("less than {k}", "v for v in {x} if v < {k}", lambda x, k: (v for v in x if v < k)),
    "not": ("not equal to {k}", "v for v in {x} if v != {k}", lambda x, k: (v for v in x if v != k)),
    "plus": ("plus {k}", "v + {k} for v in {x}", lambda x, k: (v + k for v in x)),
    "minus": ("minus {k}", "v - {k} for v in {x}", lambda x, k: (v - k for v in x)),
    "times": ("times {k}", "v * {k} for v in {x}", lambda x, k: (v * k for v in x)),
}


@dataclass(frozen=True)
class Function:
    """What a function does, whatever its argument is called."""

    aggregate: str
    selection: str
    constant: int

    @property
    def name(self) -> str:
        """`sum_above`."""
        return f"{self.aggregate}_{self.selection}"

    @property
    def key(self) -> str:
        """`sum-above-7`: what train and test are split by, and what standard errors cluster by."""
        return f"{self.aggregate}-{self.selection}-{self.constant}"

    def write(self, argument: str) -> tuple[str, str]:
        """(prompt: signature and docstring, canonical solution: the body)."""
        what, expression, _ = _AGGREGATES[self.aggregate]
        which, loop, _ = _SELECTIONS[self.selection]
        said = which.format(k=self.constant)
        prompt = f'def {self.name}({argument}):\n    """{what} the items of {argument} {said}."""\n'
        inner = loop.format(x=argument, k=self.constant)
        return prompt, f"    return {expression.format(inner)}\n"

    def result(self, numbers: Sequence[int]) -> object:
        """What a right solution returns for `numbers`."""
        chosen = _SELECTIONS[self.selection][2](numbers, self.constant)
        return _AGGREGATES[self.aggregate][2](chosen)


@lru_cache(maxsize=8)
def split(seed: int) -> tuple[tuple[Function, ...], tuple[Function, ...]]:
    """(functions to train on, functions only to test on)."""
    train: list[Function] = []
    test: list[Function] = []
    for aggregate in _AGGREGATES:
        for selection in _SELECTIONS:
            every = [Function(aggregate, selection, k) for k in CONSTANTS]
            ranked = sorted(every, key=lambda f: rank_key(seed, "code", f.key))
            test += ranked[:HELD_OUT_EACH]
            train += ranked[HELD_OUT_EACH:]
    return tuple(train), tuple(test)


def document(train: Sequence[Function], stream: Stream) -> str:
    """One training document: a list function."""
    prompt, body = stream.choice(train).write(stream.choice(ARGUMENTS))
    return prompt + body


def benchmark(seed: int, items: int) -> list[dict[str, object]]:
    """`items` test functions in HumanEval's columns, all distinct, spread over aggregates and selections."""
    stream = Stream(seed, "benchmark", "code")
    chosen = stream.sample(split(seed)[1], items)
    rows: list[dict[str, object]] = []
    for i, function in enumerate(chosen):
        prompt, body = function.write(stream.choice(ARGUMENTS))
        rows.append(
            {
                "task_id": f"Micro/{i}",
                "prompt": prompt,
                "canonical_solution": body,
                "entry_point": function.name,
                "test": _test(function),
                "cluster": function.key,
            }
        )
    return rows


def _test(function: Function) -> str:
    k = function.constant
    cases = [[k - 1, k, k + 1, k + 4], [k + 2, 0, k + 7], [9, 3, k, 1, 25, k - 3]]
    asserts = "".join(f"    assert candidate({case}) == {function.result(case)!r}\n" for case in cases)
    return f"def check(candidate):\n{asserts}"
