"""The n-grams of test items, ready to be met in a stream of words."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from joyctl.data.overlap.findings import NGRAMS
from joyctl.data.overlap.items import TaskItems
from joyctl.data.overlap.words import Hashes, Int64, hash_grams, hash_words, words

LONG, SHORT = NGRAMS
SHORTEST = 5
"""Words of the long and of the short n-gram; an item of fewer words than the short one is looked for as a whole, down
to the shortest."""
OF_THE_TASK = 2
"""An n-gram that more items of a task share is of the task's making, and does not count."""
SHARE = 0.7
"""An item is found where so much of it stands in one passage, in n-grams of SHORT."""


@dataclass(frozen=True)
class TextOf:
    """Whose text it is."""

    task: str
    split: str
    item: int
    part: int
    """Which of the item's texts."""


@dataclass(frozen=True, eq=False)
class Lookup:
    """n-grams of one length, by hash."""

    n: int
    hashes: Hashes
    """Distinct, rising."""
    first: Int64
    """[hashes + 1] where the places of each begin."""
    places: Int64
    """Places in the items' words at which the n-grams begin."""
    _filter: npt.NDArray[np.uint8]
    _shift: np.uint64

    def candidates(self, grams: Hashes) -> Int64:
        """Indices of the n-grams that may be among these: all that are, and about one in a hundred of the others."""
        bits = grams >> self._shift
        byte = self._filter[(bits >> np.uint64(3)).astype(np.int64)]
        return np.flatnonzero((byte >> (bits & np.uint64(7)).astype(np.uint8)) & np.uint8(1))

    def meet(self, grams: Hashes, at: Int64) -> tuple[Int64, Int64]:
        """Pairs of an index from `at` and a place in the items' words where the n-gram is the same."""
        wanted = grams[at]
        row = np.minimum(np.searchsorted(self.hashes, wanted), len(self.hashes) - 1)
        same = self.hashes[row] == wanted
        at, row = at[same], row[same]
        counts = self.first[row + 1] - self.first[row]
        inside = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(at, counts), self.places[np.repeat(self.first[row], counts) + inside]


@dataclass(frozen=True, eq=False)
class ItemGrams:
    """All items' texts as one sequence of words."""

    texts: tuple[TextOf, ...]
    words: Hashes
    first: Int64
    """[texts + 1] where each text begins in `words`."""
    countable: Int64
    """[texts] words that stand in an n-gram that counts; 0: too short to tell."""
    lookups: tuple[Lookup, ...]

    def too_short(self, task: str) -> list[int]:
        """Items of a task's test split of which nothing can be looked for."""
        can: dict[int, bool] = {}
        for number, text in enumerate(self.texts):
            if (text.task, text.split) == (task, "test"):
                can[text.item] = can.get(text.item, False) or bool(self.countable[number])
        return sorted(item for item, some in can.items() if not some)


def index_items(tasks: Mapping[str, TaskItems], seen: Callable[[str], str] = str) -> ItemGrams:
    """The n-grams of all items; `seen` gives of a text what token ids keep of it."""
    texts: list[TextOf] = []
    counts: list[int] = []
    numbers: dict[str, int] = {}
    flat = array("l")  # a list of so many words would take ten times the memory
    for name, task in sorted(tasks.items()):
        for split, items in (("test", task.test), ("train", task.train)):
            for number, item in enumerate(items):
                found = [words(seen(text)) for text in item]
                longest = max(map(len, found), default=0)
                for part, each in enumerate(found):
                    # A question too short for n-grams is told by the whole item, unless that is as short.
                    if len(each) >= SHORT or len(each) == longest:
                        texts.append(TextOf(name, split, number, part))
                        counts.append(len(each))
                        flat.extend(numbers.setdefault(word, len(numbers)) for word in each)
    hashes = hash_words(list(numbers))[np.array(flat, np.int64)]
    lengths = np.array(counts, np.int64)
    first = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    owners = _owners(texts)
    lookups, counted = [], np.zeros(len(hashes) + 1, np.int64)
    for n in (SHORT, *range(SHORTEST, SHORT)):
        places = _places(first, lengths, n)
        if not len(places):
            continue
        grams = hash_grams(hashes, n)[places]
        order = np.argsort(grams, kind="stable")
        places, grams = places[order], grams[order]
        own = ~_shared(grams, owners, np.searchsorted(first, places, "right") - 1)
        places, grams = places[own], grams[own]
        if len(places):
            np.add.at(counted, places, 1)
            np.add.at(counted, places + n, -1)
            lookups.append(_lookup(n, grams, places))
    covered = np.concatenate([[0], np.cumsum(np.cumsum(counted[:-1]) > 0)])
    return ItemGrams(tuple(texts), hashes, first, covered[first[1:]] - covered[first[:-1]], tuple(lookups))


def _places(first: Int64, lengths: Int64, n: int) -> Int64:
    """Where n-grams begin: all of a text that is long enough; of shorter ones the whole text, if it has n words."""
    fits = lengths >= n if n == SHORT else lengths == n
    starts, numbers = first[:-1][fits], lengths[fits] - n + 1
    inside = np.arange(int(numbers.sum())) - np.repeat(np.cumsum(numbers) - numbers, numbers)
    places: Int64 = np.repeat(starts, numbers) + inside
    return places


def _owners(texts: list[TextOf]) -> Int64:
    """[texts] a number for the item, rising by task and split in its upper half."""
    tasks: dict[tuple[str, str], int] = {}
    rows = [tasks.setdefault((text.task, text.split), len(tasks)) << 32 | text.item for text in texts]
    return np.array(rows, np.int64)


def _shared(grams: Hashes, owners: Int64, text: Int64) -> npt.NDArray[np.bool_]:
    """Which n-grams more than OF_THE_TASK items of their task have; equal ones stand together."""
    repeated = np.zeros(len(grams), bool)  # few are: the rest need no sorting
    repeated[1:] = grams[1:] == grams[:-1]
    repeated[:-1] |= repeated[1:].copy()
    some = np.flatnonzero(repeated)
    shared = np.zeros(len(grams), bool)
    if len(some):
        gram, owner = grams[some], owners[text[some]]
        order = np.lexsort((owner, gram))
        gram, owner = gram[order], owner[order]
        new_group = np.ones(len(some), bool)
        new_group[1:] = (gram[1:] != gram[:-1]) | (owner[1:] >> 32 != owner[:-1] >> 32)
        new_item = new_group.copy()
        new_item[1:] |= owner[1:] != owner[:-1]
        group = np.cumsum(new_group) - 1
        shared[some[order]] = (np.bincount(group, weights=new_item) > OF_THE_TASK)[group]
    return shared


def _lookup(n: int, grams: Hashes, places: Int64) -> Lookup:
    """Of n-grams in order."""
    starts = np.flatnonzero(np.concatenate([[True], grams[1:] != grams[:-1]]))
    distinct = grams[starts]
    bits = min(28, max(13, int(64 * len(distinct) - 1).bit_length()))
    shift = np.uint64(64 - bits)
    members = np.zeros(1 << (bits - 3), np.uint8)
    slots = distinct >> shift
    byte, bit = (slots >> np.uint64(3)).astype(np.int64), (slots & np.uint64(7)).astype(np.uint8)
    np.bitwise_or.at(members, byte, np.uint8(1) << bit)
    return Lookup(n, distinct, np.append(starts, len(grams)), places, members, shift)
