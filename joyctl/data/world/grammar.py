"""Expanding templates: `{noun}` draws a word, `{hero=person}` draws one and keeps it, `{hero}` says it again.

`{a:noun}` sets the article before it, `{Noun}` writes it with a capital, and a drawn word may itself hold
slots.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from joyctl.data.world.stream import Stream

RECURRING_PERCENT = 65

_SLOT = re.compile(r"\{(?:(a|A):)?(?:(\w+)=)?(\w+)\}")


@dataclass(frozen=True)
class Grammar:
    """Word lists by slot name; words early in a list come more often (Zipf's law)."""

    words: Mapping[str, Sequence[str]]
    """Every word list; a capital in a slot asks for the same list."""
    recurring: frozenset[str] = frozenset()
    """Slots that mostly speak of something this document has named already, as a text keeps to its people."""

    def say(self, stream: Stream, template: str, kept: dict[str, str] | None = None) -> str:
        """Fill a template's slots; `kept` holds (and gains) the words that were named in this document."""
        kept = {} if kept is None else kept
        out: list[str] = []
        for literal, article, name, slot in _parse(template):
            out.append(literal)
            if slot:
                word = self._word(stream, name, slot, kept)
                out.append(_with_article(article, word) if article else word)
        return "".join(out)

    def _word(self, stream: Stream, name: str, slot: str, kept: dict[str, str]) -> str:
        lower = slot[0].lower() + slot[1:]
        if not name and lower in kept:
            word = kept[lower]
        else:
            word = self._draw(stream, lower, kept)
            if name:
                kept[name] = word
        return word if lower == slot else word[0].upper() + word[1:]

    def _draw(self, stream: Stream, slot: str, kept: dict[str, str]) -> str:
        if slot not in self.recurring:
            word = stream.zipf(self.words[slot])
            return self.say(stream, word, kept) if "{" in word else word
        named = kept.get(_named(slot), "").split()
        if named and stream.chance(RECURRING_PERCENT):
            return stream.choice(named)
        word = stream.zipf(self.words[slot])
        if word not in named:
            kept[_named(slot)] = " ".join([*named, word])
        return word


def _named(slot: str) -> str:
    """Where `kept` lists what a recurring slot has named; no slot is called so."""
    return f"all {slot}"


def _with_article(article: str, word: str) -> str:
    return f"{article}{'n' if word[0] in 'aeiou' else ''} {word}"


def words(text: str) -> tuple[str, ...]:
    """The words of a text; where it has bars, what stands between them."""
    return tuple(text.split("|" if "|" in text else None))


@lru_cache(maxsize=4096)
def _parse(template: str) -> tuple[tuple[str, str, str, str], ...]:
    """(text before, article, name to keep, slot) for every slot; the last one has no slot."""
    parts, at = [], 0
    for m in _SLOT.finditer(template):
        parts.append((template[at : m.start()], m[1] or "", m[2] or "", m[3]))
        at = m.end()
    return (*parts, (template[at:], "", "", ""))
