"""Which sequences share a beginning that is worth computing once (PURE).

Sequences are sorted, so those that share a beginning stand side by side, and longer shared beginnings lie inside
shorter ones like boxes. `groups` opens a box where the boxes inside it together save more tokens than it does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

Ints = np.ndarray[Any, np.dtype[Any]]
OVERHEAD = 32
"""Tokens that one more forward pass is worth: shorter beginnings are not shared."""


@dataclass(frozen=True)
class Group:
    """Sequences that share their first `prefix` tokens; a sequence alone has prefix 0."""

    prefix: int
    members: tuple[int, ...]
    """Indices of sequences."""


def sorted_order(sequences: Sequence[Ints]) -> list[int]:
    """Indices in lexicographic order of the token ids."""
    keys = [np.asarray(each).astype(">u4").tobytes() for each in sequences]
    return sorted(range(len(sequences)), key=keys.__getitem__)


def shared(first: Ints, second: Ints) -> int:
    """Number of leading tokens that two sequences have in common."""
    size = min(len(first), len(second))
    differing = np.flatnonzero(first[:size] != second[:size])
    return int(differing[0]) if len(differing) else size


def groups(sequences: Sequence[Ints], limits: Sequence[int], overhead: int = OVERHEAD) -> list[Group]:
    """Groups of all sequences; `limits[i]` is how much of sequence i may be shared (its scored positions may not)."""
    order = sorted_order(sequences)
    lengths = [0] * len(order)
    for place in range(1, len(order)):
        before, here = order[place - 1], order[place]
        lengths[place] = min(shared(sequences[before], sequences[here]), limits[before], limits[here])
    found: list[Group] = []
    end = 0
    for low, high, prefix in _intervals(lengths, overhead):
        found += [Group(0, (order[place],)) for place in range(end, low)]
        found.append(Group(prefix, tuple(order[low:high])))
        end = high
    return found + [Group(0, (order[place],)) for place in range(end, len(order))]


def fewest_tokens(sequences: Sequence[Ints]) -> int:
    """Tokens that no way of sharing can go below: the number of distinct beginnings (nodes of their trie)."""
    order = sorted_order(sequences)
    total = sum(len(each) for each in sequences)
    return total - sum(shared(sequences[a], sequences[b]) for a, b in pairwise(order))


def _intervals(lengths: Sequence[int], overhead: int) -> Iterator[tuple[int, int, int]]:
    """Disjoint (low, high, prefix) with the greatest saving of tokens; `lengths[i]` is shared by i - 1 and i.

    Neighbours that share at least v tokens form intervals, and those of a greater v lie inside those of a smaller
    one. An interval of n members saves v (n - 1) tokens as one group, or what its inner intervals save together.
    """
    stack: list[tuple[int, int, int, list[tuple[int, int, int]]]] = []
    for place in range(1, len(lengths) + 1):
        value = lengths[place] if place < len(lengths) else 0
        left, saving = place - 1, 0
        inside: list[tuple[int, int, int]] = []
        while stack and stack[-1][0] > value:
            prefix, left, saved, chosen = stack.pop()
            saving, inside = saved + saving, chosen + inside
            alone = prefix * (place - left - 1) - overhead
            if alone > saving:
                saving, inside = alone, [(left, place, prefix)]
        if stack and stack[-1][0] == value:
            prefix, left, saved, chosen = stack.pop()
            saving, inside = saved + saving, chosen + inside
        stack.append((value, left, saving, inside))
    yield from stack[-1][3] if stack else ()
