"""General language ability, as choices in held-out web text: the last word of a sentence, and the next sentence.

What the final phase gives up to gain on its own subjects shows here, as it does in the gauntlet of benchmarks that
real models are put through. No cheap rule finds the answer: its position, how frequent its word is among the words
offered and how long its sentence is among the sentences offered come equally often, by construction.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from joyctl.data.world.grammar import Grammar, words
from joyctl.data.world.stream import Stream

CHOICES = 4
CLOZE_OF_A_KIND, NEXT_ITEMS = 80, 300
"""Most items of a kind of word, and most of `next`; fewer where the held-out text has not enough."""
KINDS: Mapping[str, Sequence[str]] = {
    "noun": words("person kin animal place thing food material weather tool season land"),
    "quality": words("adj feeling colour"),
    "name": words("name town"),
}
"""Word lists whose words fit the same gaps by grammar, though rarely by sense."""
_NEAR = 8
"""A wrong choice is at most so many places away from the right one, in order of frequency or length."""

_SENTENCE_END = re.compile(r'[.?!]"?(?=\s|$)|(?=\n)')
_LAST_WORD = re.compile(r' ([A-Za-z-]+)(?=[.?!]"?(?:\s|$))')
_LEAD = re.compile(r"\n- |\n| ")

Item = dict[str, object]


@dataclass(frozen=True)
class _Gap:
    """A place in a held-out text where the choice of what follows can be asked."""

    document: int
    text: str
    """The document up to there."""
    answer: str
    """What follows, the blank or new line before it included; so have the wrong choices."""
    less: Sequence[str]
    """Wrong choices less frequent, or shorter, than the answer: the nearest ones."""
    more: Sequence[str]
    """Wrong choices more frequent, or longer."""


def benchmark(seed: int, grammar: Grammar, train: Sequence[str], heldout: Sequence[str]) -> dict[str, list[Item]]:
    """Items of `cloze` and `next`: text, choices, answer (place of the right choice), cluster (the document).

    `grammar` has the words that the web was written with; `train` tells how frequent they are. What a training document
    begins with is not asked.
    """
    trained = sorted(train)

    def asked(gaps: Iterator[_Gap]) -> list[_Gap]:
        return [gap for gap in gaps if not begins(trained, gap.text + gap.answer)]

    cloze, following = (Stream(seed, "benchmark", "general", name) for name in ("cloze", "next"))
    counts = Counter(word for text in train for word in re.findall(r"[A-Za-z-]+", text))
    items: list[Item] = []
    for lists in KINDS.values():
        kind = sorted({word for name in lists for word in grammar.words[name]}, key=lambda w: (counts[w], w))
        items += _ask(cloze, asked(_last_words(kind, heldout)), CLOZE_OF_A_KIND, of_a_document=1)
    sentences = _ask(following, asked(_next_sentences(heldout)), NEXT_ITEMS, of_a_document=2)
    return {"cloze": cloze.shuffle(items), "next": following.shuffle(sentences)}


def begins(trained: Sequence[str], text: str) -> bool:
    """Whether one of `trained`, which is sorted, begins with `text`."""
    i = bisect_left(trained, text)
    return i < len(trained) and trained[i].startswith(text)


def _last_words(kind: Sequence[str], heldout: Sequence[str]) -> Iterator[_Gap]:
    """Sentences, but a document's first, that end in a word of `kind`, which is in order of frequency."""
    place = {word: i for i, word in enumerate(kind)}
    for document, text in enumerate(heldout):
        begin = _ends(text)[0]
        for found in _LAST_WORD.finditer(text, begin):
            i = place.get(found[1])
            if i is not None:
                less, more = kind[max(0, i - _NEAR) : i], kind[i + 1 : i + 1 + _NEAR]
                yield _Gap(document, text[: found.start()], found[0], [f" {w}" for w in less], [f" {w}" for w in more])


def _next_sentences(heldout: Sequence[str]) -> Iterator[_Gap]:
    """Sentences or lines, but a document's first, beside those at the same place of other documents."""
    ends = [_ends(text) for text in heldout]
    pieces = [[text[a:b] for a, b in pairwise(e)] for text, e in zip(heldout, ends, strict=True)]
    for document, text in enumerate(heldout):
        for n, answer in enumerate(pieces[document]):
            others = {p[n] for p in pieces if len(p) > n and _lead(p[n]) == _lead(answer) and p[n] not in text}
            less = sorted((o for o in others if len(o) < len(answer)), key=lambda o: (-len(o), o))
            more = sorted((o for o in others if len(o) > len(answer)), key=lambda o: (len(o), o))
            yield _Gap(document, text[: ends[document][n]], answer, less[:_NEAR], more[:_NEAR])


def _ask(stream: Stream, gaps: Sequence[_Gap], most: int, of_a_document: int) -> list[Item]:
    """At most `most` items, every document asked once before any is asked again.

    The answer takes every rank among the choices, by frequency or length, and every position equally often.
    """
    waiting, asked = stream.shuffle(gaps), Counter[int]()
    items: list[Item] = []
    for times in range(1, of_a_document + 1):
        while len(items) < most:
            rank, position = len(items) % CHOICES, len(items) // CHOICES % CHOICES
            usable = (
                gap
                for gap in waiting
                if asked[gap.document] < times and len(gap.less) >= rank and len(gap.more) >= CHOICES - 1 - rank
            )
            gap = next(usable, None)
            if gap is None:
                break
            waiting.remove(gap)
            asked[gap.document] += 1
            wrong = stream.sample(gap.less, rank) + stream.sample(gap.more, CHOICES - 1 - rank)
            choices = stream.shuffle(wrong)
            choices.insert(position, gap.answer)
            items.append({"text": gap.text, "choices": choices, "answer": position, "cluster": f"web-{gap.document}"})
    return items


def _ends(text: str) -> list[int]:
    """Where sentences and lines end, the end of the text included."""
    return sorted({*(match.end() for match in _SENTENCE_END.finditer(text)), len(text)})


def _lead(piece: str) -> str:
    """What a piece begins with: a blank, a new line, or a new line and a dash."""
    found = _LEAD.match(piece)
    return found[0] if found else ""
