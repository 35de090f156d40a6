"""Passages found in token ids are those that a plain search in the decoded text finds."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from joyctl.data.overlap.grams import index_items
from joyctl.data.overlap.items import TaskItems
from joyctl.data.overlap.scan import scan, together
from joyctl.data.overlap.stream import TokenWords
from joyctl.data.overlap.words import words
from joyctl.data.shards import SourceTokens
from joyctl.data.sidecar import Boundary

PIECES = [b" a", b" b", b" ", b"c", b"A", b".\n", b" x y", b"\xce", b"\xb1", None]
"""A tokenizer of ten tokens: blanks, parts of words, two words in one, a torn letter, an end of text."""
TABLE = TokenWords(PIECES)


def text_of(ids: list[int]) -> str:
    return b"".join(PIECES[i] or b"" for i in ids).decode("utf-8", "replace")


def documents(ids: list[int]) -> list[list[str]]:
    """Words of every document, empty ones left out."""
    found, stretch = [], []
    for i in [*ids, 9]:
        if PIECES[i] is None:
            found.append(words(text_of(stretch)))
            stretch = []
        else:
            stretch.append(i)
    return found


def plain(ids: list[int], items: list[str]) -> dict[int, tuple[set[int], bool]]:
    """By item: its words that stand in 8-grams of the documents, and whether 13 in a row do.

    8-grams that more than two items have do not count.
    """
    texts = [words(item) for item in items]
    sizes = [8 if len(text) >= 8 else len(text) for text in texts]
    grams = [
        [tuple(text[i : i + n]) for i in range(len(text) - n + 1)] if n >= 5 else []
        for text, n in zip(texts, sizes, strict=True)
    ]
    shared = Counter(gram for each in grams for gram in set(each))
    known: dict[int, set[tuple[str, ...]]] = {
        n: {tuple(d[i : i + n]) for d in documents(ids) for i in range(len(d) - n + 1)} for n in (5, 6, 7, 8, 13)
    }
    found = {}
    for number, (text, each, n) in enumerate(zip(texts, grams, sizes, strict=True)):
        counts = [i for i, gram in enumerate(each) if shared[gram] <= 2]
        hit = [i for i in counts if each[i] in known[n]]
        long = {i for i in range(len(text) - 12) if tuple(text[i : i + 13]) in known[13]}
        is_long = any(j in long for i in hit for j in range(i - 5, i + 1))
        if hit:
            found[number] = ({i + k for i in hit for k in range(n)}, is_long)
    return found


ids_of = st.lists(st.integers(0, 9) | st.integers(0, 1), min_size=1, max_size=120)


@settings(max_examples=300, deadline=None)
@given(
    ids=ids_of,
    slices=st.lists(st.tuples(st.integers(0, 100), st.integers(1, 60)), min_size=1, max_size=5),
    others=st.lists(ids_of, max_size=2),
    block=st.integers(1, 50),
    cut=st.integers(0, 120),
)
def test_the_engine_finds_what_a_plain_search_finds(ids, slices, others, block, cut):
    """Whatever the blocks and parts: items are pieces of the corpus itself, and other texts of few words."""
    items = [text_of([i for i in ids[a : a + n] if i != 9]) for a, n in slices]
    items += [text_of([i for i in each if i != 9]) for each in others]
    task = TaskItems("", tuple((item,) for item in items))
    index = index_items({"t": task})
    source = SourceTokens([np.array(ids, np.uint16)], boundary=Boundary(9, begins=False))
    cut = min(cut, len(ids))
    stretches = [(0, cut), (cut, len(ids))] if 0 < cut < len(ids) else [(0, len(ids))]
    seen = {}

    scanned = [scan(source, a, b, TABLE, index, block=block) for a, b in stretches]
    found = together(iter(scanned), index)
    expected = plain(ids, items)
    for text, owner in enumerate(index.texts):
        if index.countable[text] == 0:
            continue
        covered, is_long = expected.get(owner.item, (set(), False))
        enough = is_long or len(covered) / int(index.countable[text]) >= 0.7
        seen[owner.item] = text in found.best
        if is_long:
            assert seen[owner.item] and found.best[text].longest >= 13
        if len(documents(ids)) == 1:
            assert seen[owner.item] == enough
        elif seen[owner.item]:
            assert enough, "what is enough in one document is enough in all"
    assert index.too_short("t") == [i for i in range(len(items)) if not seen.get(i) and i not in seen]


LEAK = "c c a c x y a b c x y b c a x y c"
"""Seventeen words of the tokenizer above."""


def encoded(text: str) -> list[int]:
    """Ids of a text of blanks and letters, whole words where there are any."""
    ids, rest = [], f" {text}".encode()
    while rest:
        i = next(i for i in (6, 0, 1, 2, 3) if rest.startswith(PIECES[i]))
        ids.append(i)
        rest = rest[len(PIECES[i]) :]
    return ids


def scanned(source: SourceTokens) -> dict[int, tuple[int, int]]:
    """By item: the words of the longest run, and the document's number."""
    index = index_items({"t": TaskItems("", ((LEAK,),))})
    found = together(iter([scan(source, 0, len(source), TABLE, index, block=16)]), index)
    return {text: (each.longest, each.document) for text, each in found.best.items()}


def test_ngrams_do_not_cross_documents_however_the_source_tells_them():
    ids = np.array(encoded(LEAK), np.uint16)
    assert text_of(ids.tolist()).split() == LEAK.split()
    assert scanned(SourceTokens([ids])) == {0: (17, 0)}, "nothing tells documents: one text"
    middle = next(i for i in range(len(ids)) if len(text_of(ids[:i].tolist()).split()) == 12)
    with_end = np.insert(ids, middle, 9)
    assert scanned(SourceTokens([ids], ends=[np.array([len(ids)])])) == {0: (17, 0)}
    halves = SourceTokens([ids], ends=[np.array([middle, len(ids)])])
    assert (
        scanned(halves)
        == scanned(SourceTokens([with_end]))
        == {0: (12, 0)}
        == scanned(SourceTokens([with_end], boundary=Boundary(9, begins=False)))
    ), "twelve words here and five there do not make 13 in a row"


def test_documents_are_counted_through_shards_and_ids_beyond_the_vocabulary_end_texts():
    ids = np.array(encoded(LEAK), np.uint16)
    other = np.array(encoded("a a a"), np.uint16)
    shards = SourceTokens([other, np.concatenate([other, ids])], ends=[np.array([1, 3]), np.array([3, 3 + len(ids)])])
    assert scanned(shards) == {0: (17, 3)}
    strange = np.array([*encoded("a a"), 60_000, *ids.tolist(), 10], np.int64)
    assert scanned(SourceTokens([strange])) == {0: (17, 1)}
