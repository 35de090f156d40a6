"""Looks through a stretch of a source's tokens for passages that stand in test items."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from joyctl.data.overlap.grams import LONG, SHARE, ItemGrams
from joyctl.data.overlap.stream import TokenWords, WordStream
from joyctl.data.overlap.words import Int64, hash_grams
from joyctl.data.shards import SourceTokens

BLOCK = 1 << 18
"""Tokens looked at in one go: their arrays fit into a processor's cache."""
_BEFORE, _AFTER, _MOST_AFTER = 64, 1024, 1 << 22
"""Tokens read before a block, and behind it: more where they hold few words, but not without end."""


@dataclass(frozen=True)
class Passage:
    """Tokens start..stop-1 of one document that have something in common with a text of an item."""

    text: int
    """Number of the text."""
    document: int
    """Number of the document, counted from the stretch's first; -1 for one that begins before it."""
    start: int
    stop: int
    covered: int
    """Bit i: word i of the text stands in an n-gram that counts."""
    longest: int
    """Words of the longest run in common."""
    at: tuple[int, int]
    """Tokens of that run."""
    words: tuple[int, int]
    """Its words in the items' words."""

    def near(self, other: Passage, items: ItemGrams) -> bool:
        """Whether `other`, of the same text and behind this one, belongs to the same passage."""
        length = int(items.first[self.text + 1] - items.first[self.text])
        return other.document == self.document and other.start - self.stop <= 4 * length + 200

    def joined(self, other: Passage) -> Passage:
        """Both as one."""
        best = other if other.longest > self.longest else self
        start, stop = min(self.start, other.start), max(self.stop, other.stop)
        return replace(best, start=start, stop=stop, covered=self.covered | other.covered)

    def share(self, items: ItemGrams) -> float:
        """Share of the text's words that count."""
        return self.covered.bit_count() / int(items.countable[self.text])

    def found(self, items: ItemGrams) -> bool:
        """Whether it is enough to say that the item stands here."""
        return self.longest >= LONG or self.share(items) >= SHARE

    def rank(self, items: ItemGrams) -> tuple[bool, float, int]:
        """What makes one passage worth showing before another."""
        return self.longest >= LONG, self.share(items), self.longest


@dataclass
class Found:
    """What stands in a stretch, by text: how many passages, and the best of them."""

    hits: dict[int, int] = field(default_factory=dict)
    best: dict[int, Passage] = field(default_factory=dict)

    def add(self, passage: Passage, items: ItemGrams) -> None:
        """Count a passage that is whole, if it is enough."""
        if not passage.found(items):
            return
        text = passage.text
        self.hits[text] = self.hits.get(text, 0) + 1
        kept = self.best.get(text)
        if kept is None or passage.rank(items) > kept.rank(items):
            self.best[text] = passage


@dataclass(frozen=True)
class Scanned:
    """All about one stretch."""

    found: Found
    opening: dict[int, Passage]
    """First passages of texts, where they may go on from the stretch before."""
    closing: dict[int, Passage]
    """Last passages of texts, where they may go on in the next stretch."""
    documents: int
    """How many begin in it."""


def scan(
    tokens: SourceTokens,
    start: int,
    stop: int,
    vocabulary: TokenWords,
    items: ItemGrams,
    progress: Callable[[int], None] = lambda tokens: None,
    block: int = BLOCK,
) -> Scanned:
    """Find passages whose n-grams begin in tokens start..stop-1; reads a little beyond both ends.

    Memory: some arrays of `block` numbers, and a passage for every text that has any.
    """
    looking = _Looking(items, start, stop, len(tokens))
    for a in range(start, stop, block):
        b = min(a + block, stop)
        looking.look(_stretch(tokens, a, b, vocabulary))
        progress(b - a)
    return looking.result()


@dataclass(frozen=True, eq=False)
class _Stretch:
    """A block as words."""

    stream: WordStream
    base: int
    """Position of its first token in the source."""
    own: tuple[int, int]
    """Words that begin in the block itself."""
    usable: int
    """Words before this one are whole."""
    text_starts: Int64
    """Positions in the block's own tokens at which documents begin."""


def _stretch(tokens: SourceTokens, a: int, b: int, vocabulary: TokenWords) -> _Stretch:
    base, after = max(0, a - _BEFORE), _AFTER
    while True:
        end = min(len(tokens), b + after)
        rows = vocabulary.known(tokens.read(base, end))
        ends = vocabulary.ends_text(rows)
        starts = _starts(tokens, base, end, ends)
        marked = ends[starts - base] | ((starts > base) & ends[np.maximum(starts - base - 1, 0)])
        stream = vocabulary.stream(rows, (starts - base)[~marked])
        usable = len(stream.hashes) - (end < len(tokens))
        edges = np.array([a - base, b - base])
        first, last = (_word_at(stream, int(edge)) for edge in edges)
        # The last n-gram has to be whole, and so much beyond it that a run of LONG words is seen to be one.
        if last + LONG <= usable or end == len(tokens) or after > _MOST_AFTER:
            own = starts[(starts >= a) & (starts < b)]
            return _Stretch(stream, base, (first, last), usable, own)
        after *= 4


def _starts(tokens: SourceTokens, start: int, stop: int, ends: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Int64:
    """Where documents begin, as the source tells, or else as tokens that end texts do."""
    try:
        return tokens.document_starts(start, stop)
    except ValueError:
        before = np.concatenate([[start == 0], ends[:-1]])
        return np.flatnonzero(before & ~ends).astype(np.int64) + start


def _word_at(stream: WordStream, place: int) -> int:
    """The first word that begins at or after a place."""
    low, high = 0, len(stream.hashes)
    while low < high:
        middle = (low + high) // 2
        if stream.start(middle) < place:
            low = middle + 1
        else:
            high = middle
    return low


class _Looking:
    """Collects passages while blocks come in order."""

    def __init__(self, items: ItemGrams, start: int, stop: int, whole: int) -> None:
        self._items, self._start, self._stop, self._whole = items, start, stop, whole
        self._found = Found()
        self._open: dict[int, Passage] = {}
        self._opening: dict[int, Passage] = {}
        self._documents = 0

    def look(self, stretch: _Stretch) -> None:
        """Take in the next block."""
        for lookup in self._items.lookups:
            first, last = stretch.own
            hashes = stretch.stream.hashes[first : min(stretch.usable, last + lookup.n - 1)]
            grams = hash_grams(hashes, lookup.n)
            at, places = lookup.meet(grams, lookup.candidates(grams))
            if len(at):
                self._take(stretch, lookup.n, at + first, places)
        self._documents += len(stretch.text_starts)

    def _take(self, stretch: _Stretch, n: int, at: Int64, places: Int64) -> None:
        own, theirs = stretch.stream.hashes, self._items.words
        same = np.ones(len(at), bool)
        for i in range(n):  # the words themselves, since different n-grams may have one hash
            same &= own[at + i] == theirs[places + i]
        at, places = at[same], places[same]
        order = np.lexsort((at, places - at))
        at, places = at[order], places[order]
        text = np.searchsorted(self._items.first, places, "right") - 1
        new = np.ones(len(at), bool)
        new[1:] = (np.diff(at) != 1) | (np.diff(places) != 1) | (text[1:] != text[:-1])
        begin = np.flatnonzero(new)
        if not len(begin):
            return
        last = np.append(begin[1:], len(at)) - 1
        low, high = at[begin], at[last] + n
        passages = [
            self._passage(stretch, *run)
            for run in zip(*(each.tolist() for each in (text[begin], low, high, places[begin])), strict=True)
        ]
        for passage in sorted(passages, key=lambda each: each.start):
            self._add(passage)

    def _passage(self, stretch: _Stretch, text: int, low: int, high: int, place: int) -> Passage:
        """The run of words low..high-1 that are the text's from `place` on, made as long as it goes."""
        items, own = self._items, stretch.stream.hashes
        begin, end = int(items.first[text]), int(items.first[text + 1])
        covered = ((1 << (high - low)) - 1) << (place - begin)
        offset = place - low
        # Words around that are in common too, though n-grams with them are the task's.
        while low > 0 and low + offset > begin and own[low - 1] == items.words[low + offset - 1]:
            low -= 1
        while high < stretch.usable and high + offset < end and own[high] == items.words[high + offset]:
            high += 1
        start, stop = stretch.base + stretch.stream.start(low), stretch.base + stretch.stream.stop(high - 1)
        anchor = stretch.base + stretch.stream.start(place - offset)
        document = self._documents + int(np.searchsorted(stretch.text_starts, anchor, "right")) - 1
        return Passage(text, document, start, stop, covered, high - low, (start, stop), (low + offset, high + offset))

    def _add(self, passage: Passage) -> None:
        before = self._open.get(passage.text)
        if before is not None and before.near(passage, self._items):
            self._open[passage.text] = before.joined(passage)
            return
        if before is not None:
            self._close(before)
        self._open[passage.text] = passage

    def _close(self, passage: Passage) -> None:
        goes_on = self._start > 0 and passage.document == -1
        if goes_on and passage.text not in self._opening:
            self._opening[passage.text] = passage
        else:
            self._found.add(passage, self._items)

    def result(self) -> Scanned:
        """All that was found."""
        closing = {}
        for text, passage in self._open.items():
            if self._stop < self._whole and passage.document == self._documents - 1:
                closing[text] = passage
            else:
                self._close(passage)
        return Scanned(self._found, self._opening, closing, self._documents)


def together(stretches: Iterator[Scanned], items: ItemGrams) -> Found:
    """What stands in stretches that follow each other, with documents counted from the first one's."""
    whole, carried = Found(), dict[int, Passage]()
    documents = 0

    def going_on(text: int, passage: Passage) -> Passage:
        """The passage in its place, with what the stretches before left open of it."""
        moved = replace(passage, document=passage.document + documents)
        before = carried.pop(text, None)
        if before is not None and before.near(moved, items):
            return before.joined(moved)
        if before is not None:
            whole.add(before, items)
        return moved

    for each in stretches:
        here: dict[int, Passage] = {}
        for text, passage in each.opening.items():
            whole.add(going_on(text, passage), items)
        for text, number in each.found.hits.items():
            best = each.found.best[text]
            moved = replace(best, document=best.document + documents)
            whole.add(moved, items)
            whole.hits[text] += number - 1
        for text, passage in each.closing.items():
            here[text] = going_on(text, passage)
        for passage in carried.values():
            whole.add(passage, items)
        carried = here
        documents += each.documents
    for passage in carried.values():
        whole.add(passage, items)
    return whole
