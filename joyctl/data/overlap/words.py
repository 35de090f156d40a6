"""What a word is to the overlap check, and its hash.

Words are maximal runs of letters, digits and combining marks, in lower case; all else separates them. So neither white
space nor line breaks, case or punctuation matter, and how a text was cut into tokens does not either.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Int64 = npt.NDArray[np.int64]

NO_WORD = np.uint64(0x9E3779B97F4A7C15)
"""Stands for the end of a document among the hashes of words; no n-gram of an item has it."""
_BASE = np.uint64(0x00000100000001B3)
_MIX = np.uint64(0xD6E8FEB86659FD93)
_GROWN = 64


class _Fold(dict[int, str]):
    """What `str.translate` makes of a character: its lower case, or a blank."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        is_word = character.isalnum() or unicodedata.category(character).startswith("M")
        # Character by character, since a final sigma would depend on what follows.
        self[code] = character.lower() if is_word else " "
        return self[code]


_fold = _Fold()


def folded(text: str) -> str:
    """The text with every character of a word in lower case, and a blank for every other."""
    return text.translate(_fold)


def words(text: str) -> list[str]:
    """The words of a text, in order."""
    return folded(text).split()


class _Powers:
    """Powers of the base, as many as were needed so far."""

    def __init__(self) -> None:
        self._known = self._make(_GROWN)

    @staticmethod
    def _make(number: int) -> Hashes:
        known = np.full(number, _BASE, np.uint64)
        known[0] = 1
        return np.multiply.accumulate(known)

    def up_to(self, number: int) -> Hashes:
        """At least the powers 0..number."""
        if number >= len(self._known):
            self._known = self._make(2 * number + 1)
        return self._known


_powers = _Powers()


def powers(number: int) -> Hashes:
    """Powers of the polynomial's base from 0 on, modulo 2**64, at least to `number`."""
    return _powers.up_to(number)


def hash_pieces(pieces: Sequence[bytes]) -> Hashes:
    """Polynomial hash of every piece of a word: sum of byte i times base**i, modulo 2**64.

    The hash of `a + b` is hash(a) + base**len(a) * hash(b), so words can be put together from pieces of tokens.
    """
    if not pieces:
        return np.empty(0, np.uint64)
    lengths = np.array([len(piece) for piece in pieces], np.int64)
    first = np.cumsum(lengths) - lengths
    flat = np.frombuffer(b"".join(pieces), np.uint8).astype(np.uint64)
    inside = np.arange(len(flat)) - np.repeat(first, lengths)
    return np.add.reduceat(flat * powers(int(lengths.max()))[inside], first)


def finished(hashes: Hashes) -> Hashes:
    """Hashes of whole words from their polynomials: mixed, so that neighbours can be summed up."""
    mixed = (hashes ^ (hashes >> np.uint64(32))) * _MIX
    return mixed ^ (mixed >> np.uint64(29))


def hash_words(found: Sequence[str]) -> Hashes:
    """Hash of every word; distinct ones are hashed once."""
    numbers: dict[str, int] = {}
    places = np.fromiter((numbers.setdefault(word, len(numbers)) for word in found), np.int64, len(found))
    return finished(hash_pieces([word.encode("utf-8", "surrogatepass") for word in numbers]))[places]


def hash_grams(hashes: Hashes, n: int) -> Hashes:
    """Hash of the n words from each on: [words] -> [words - n + 1], none where there are fewer."""
    number = len(hashes) - n + 1
    if number <= 0:
        return np.empty(0, np.uint64)
    if n == 8:  # by halves: three products instead of seven
        made = hashes
        for half in (1, 2, 4):
            made = made[:-half] + _power(half) * made[half:]
        return made
    made = hashes[:number].copy()
    for i in range(1, n):
        made += _power(i) * hashes[i : i + number]
    return made


def _power(exponent: int) -> np.uint64:
    return np.uint64(pow(int(_MIX), exponent, 1 << 64))
