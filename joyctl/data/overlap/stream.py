"""Token ids as hashes of words, without decoding: every token is a few pieces of words, looked up by its id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from joyctl.data.overlap.words import NO_WORD, Hashes, Int64, finished, folded, hash_pieces, powers

_ENDS_WORD, _ENDS_TEXT, _SPLITS = np.uint8(1), np.uint8(2), np.uint8(4)
_JOINED = 1 << 18
"""So many pairs of tokens that share a character are remembered."""
_ROUNDS = 8
"""A character has at most four bytes, so at most four tokens share one."""
Flags = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class WordStream:
    """Words of a stretch of token ids."""

    hashes: Hashes
    """[words]; NO_WORD where a text ends."""
    _pieces: Int64
    _ends: Int64
    _places: Int64 | None

    def start(self, word: int) -> int:
        """Place in the stretch of the token that a word begins in."""
        return self._place(int(np.searchsorted(self._ends, self._pieces[word], "right")))

    def starts(self, chosen: Int64) -> Int64:
        """`start` of every chosen word."""
        tokens = np.searchsorted(self._ends, self._pieces[chosen], "right")
        return tokens if self._places is None else self._places[tokens]

    def stop(self, word: int) -> int:
        """Place behind the last token that a word has a piece of."""
        after = int(self._pieces[word + 1]) if word + 1 < len(self._pieces) else int(self._ends[-1])
        token = int(np.searchsorted(self._ends, after - 1, "right"))
        return self._place(token + 1)

    def _place(self, token: int) -> int:
        if self._places is None:
            return token
        return int(self._places[token]) if token < len(self._places) else int(self._places[-1]) + 1


class TokenWords:
    """What every token id contributes to words; turns stretches of ids into word streams."""

    def __init__(self, pieces: Sequence[bytes | None]) -> None:
        """`pieces` are the bytes of every id; None where it ends a text, as all ids beyond them do."""
        self._number = len(pieces)
        self._base = [*pieces, None]  # the last stands for ids beyond, and for ends of text that no token marks
        self._forget()

    def _forget(self) -> None:
        """Back to the tokenizer's own tokens."""
        self._bytes: list[bytes | None] = list(self._base)
        self._pairs: dict[tuple[int, int], int] = {}
        self._flags = np.empty(0, np.uint8)
        self._counts = np.empty(0, np.int64)
        self._hashes, self._lengths = np.empty(0, np.uint64), np.empty(0, np.int64)
        self._begins = np.empty(0, bool)
        self._lead, self._open = np.empty(0, np.int64), np.empty(0, np.int64)
        self._learn(self._bytes)

    def _learn(self, tokens: Sequence[bytes | None]) -> None:
        """Append the tokens to the tables."""
        flags, counts, begins, cut, lead, opened = [], [], [], list[bytes](), [], []
        for token in tokens:
            if token is None:
                flags.append(_ENDS_WORD | _ENDS_TEXT)
                counts.append(1)
                begins.append(True)
                cut.append(b"")
                lead.append(0)
                opened.append(0)
                continue
            text = folded(token.decode("utf-8", "replace"))
            found = text.split()
            counts.append(len(found))
            cut += [word.encode("utf-8", "surrogatepass") for word in found]
            begins += [text[0] == " ", *[True] * (len(found) - 1)] if found else []
            before, after = torn(token)
            lead.append(before)
            opened.append(after)
            splits = _SPLITS if before or after else np.uint8(0)
            flags.append((_ENDS_WORD if not found or text[-1] == " " else np.uint8(0)) | splits)
        lengths = np.array([len(piece) for piece in cut], np.int64)
        hashes = np.full(len(cut), NO_WORD, np.uint64)
        whole = np.flatnonzero(lengths)
        hashes[whole] = hash_pieces([cut[i] for i in whole])
        self._flags = np.concatenate([self._flags, np.array(flags, np.uint8)])
        self._counts = np.concatenate([self._counts, np.array(counts, np.int64)])
        self._first = np.cumsum(self._counts) - self._counts
        self._hashes = np.concatenate([self._hashes, hashes])
        self._lengths = np.concatenate([self._lengths, lengths])
        self._begins = np.concatenate([self._begins, np.array(begins, bool)])
        self._lead = np.concatenate([self._lead, np.array(lead, np.int64)])
        self._open = np.concatenate([self._open, np.array(opened, np.int64)])

    def known(self, ids: npt.NDArray[np.integer]) -> Int64:
        """Ids as rows of the tables."""
        rows = ids.astype(np.int64)
        if len(rows) and (int(rows.max()) >= self._number or int(rows.min()) < 0):
            rows[(rows >= self._number) | (rows < 0)] = self._number
        return rows

    def ends_text(self, rows: Int64) -> npt.NDArray[np.bool_]:
        """Where a token is no part of a text: it begins or ends one."""
        ends: npt.NDArray[np.bool_] = (self._flags[rows] & _ENDS_TEXT) != 0
        return ends

    def stream(self, rows: Int64, text_starts: Int64) -> WordStream:
        """Words of a stretch; `text_starts` are places at which a text begins that no token before it ends."""
        places: Int64 | None = None
        if len(text_starts):
            places = np.insert(np.arange(len(rows)), text_starts, text_starts)
            rows = np.insert(rows, text_starts, self._number)
        rows, places = self._join(rows, places)
        counts, flags = self._counts[rows], self._flags[rows]
        ends = np.cumsum(counts)
        total = int(ends[-1]) if len(ends) else 0
        starts = ends - counts
        piece = np.repeat(self._first[rows] - starts, counts) + np.arange(total)
        begins = self._begins[piece]
        some = np.flatnonzero(counts[1:]) + 1
        begins[starts[some]] |= (flags[some - 1] & _ENDS_WORD) != 0
        if total:
            begins[0] = True
        first = np.flatnonzero(begins)
        hashes = self._hashes[piece]
        ended = hashes[first] == NO_WORD
        if len(first) < total:
            lengths = self._lengths[piece]
            before = np.cumsum(lengths) - lengths
            inside = before - np.repeat(before[first], np.diff(first, append=total))
            hashes = np.add.reduceat(hashes * powers(int(inside.max()))[inside], first)
        else:
            hashes = hashes[first]
        hashes = finished(hashes)
        hashes[ended] = NO_WORD
        return WordStream(hashes, first, ends, places)

    def _join(self, rows: Int64, places: Int64 | None) -> tuple[Int64, Int64 | None]:
        """Put tokens together that share a character, so that it is known whether it belongs to a word."""
        if len(rows) < 2 or not (self._flags[rows] & _SPLITS).any():
            return rows, places
        if len(self._pairs) > _JOINED:
            self._forget()  # the rows of this stretch are the tokenizer's own: nothing is joined yet
        for _ in range(_ROUNDS):
            shares = (self._open[rows[:-1]] > 0) & (self._lead[rows[1:]] > 0)
            left = np.flatnonzero(shares)
            if not len(left):
                break
            # Of neighbours every other one: a token joins one way at a time.
            run = np.flatnonzero(np.diff(left, prepend=-2) != 1)
            left = left[(np.arange(len(left)) - np.repeat(run, np.diff(run, append=len(left)))) % 2 == 0]
            if places is None:
                places = np.arange(len(rows))
            rows = rows.copy()
            rows[left] = self._pair(rows[left], rows[left + 1])
            rows, places = np.delete(rows, left + 1), np.delete(places, left + 1)
        return rows, places

    def _pair(self, left: Int64, right: Int64) -> Int64:
        made, new = [], list[bytes | None]()
        for pair in zip(left.tolist(), right.tolist(), strict=True):
            row = self._pairs.get(pair)
            if row is None:
                one, other = self._bytes[pair[0]], self._bytes[pair[1]]
                assert one is not None and other is not None  # what ends a text shares no character
                row = self._pairs[pair] = len(self._bytes)
                self._bytes.append(one + other)
                new.append(one + other)
            made.append(row)
        if new:
            self._learn(new)
        return np.array(made, np.int64)


def torn(token: bytes) -> tuple[int, int]:
    """How many bytes of a character begun before a token has, and how many the one that it ends in still lacks."""
    lead = next((i for i, byte in enumerate(token) if byte & 0xC0 != 0x80), len(token))
    if lead == len(token):
        return lead, 0
    for back, byte in enumerate(reversed(token[-3:]), 1):
        if byte & 0xC0 == 0xC0:
            size = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return lead, max(0, size - back)
        if byte & 0xC0 != 0x80:
            break
    return lead, 0
