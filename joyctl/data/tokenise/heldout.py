"""Which documents are held out: by the hash of their text, so that copies fall on the same side whoever reads them."""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Iterable, Iterator
from pathlib import Path


def text_hash(text: str) -> int:
    """64 bits of a document's UTF-8 (BLAKE2b), uniform; the same everywhere and always."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def bound(share: float) -> int:
    """Hashes below it are held out: `share` of all."""
    return int(share * 2.0**64)


class Smallest:
    """The documents with the smallest hashes, copies once, in bounded memory."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._heap: list[tuple[int, str]] = []  # the largest first: hashes negated
        self._there: set[int] = set()

    def add(self, number: int, text: str) -> None:
        """Keep the document if it is among the smallest so far."""
        if number in self._there or self._most == 0:
            return
        if len(self._heap) == self._most:
            if number >= -self._heap[0][0]:
                return
            self._there.discard(-heapq.heappop(self._heap)[0])
        heapq.heappush(self._heap, (-number, text))
        self._there.add(number)

    def __iter__(self) -> Iterator[tuple[int, str]]:
        """Hash and text, by hash."""
        return iter(sorted((-number, text) for number, text in self._heap))


def to_lines(chosen: Iterable[tuple[int, str]]) -> str:
    """As lines of {"text": ...}."""
    return "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for _, text in chosen)


def merged(files: Iterable[Path], most: int) -> Smallest:
    """The smallest of those that parts have kept."""
    smallest = Smallest(most)
    for file in files:
        with file.open(encoding="utf-8", newline="\n") as lines:
            for line in lines:
                text = json.loads(line)["text"]
                smallest.add(text_hash(text), text)
    return smallest
