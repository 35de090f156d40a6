"""The overlap check of a data folder as parts that any process can do: stretches of sources."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from joyctl.data.folder import tokenizer_digest
from joyctl.data.overlap.findings import (
    FOLDER,
    VERSION,
    Findings,
    FoundItem,
    Match,
    TaskFindings,
    TrainFindings,
    read_findings,
    write_findings,
)
from joyctl.data.overlap.grams import LONG, OF_THE_TASK, SHARE, SHORT, SHORTEST, ItemGrams, index_items
from joyctl.data.overlap.items import TaskItems, read_items
from joyctl.data.overlap.scan import Found, Passage, Scanned, scan, together
from joyctl.data.overlap.stream import TokenWords
from joyctl.data.overlap.tokenbytes import Vocabulary, read_vocabulary
from joyctl.data.overlap.words import words
from joyctl.data.shards import SourceTokens, open_source
from joyctl.data.sidecar import AGAIN, read_sidecar
from joyctl.data.work import Part, Progress
from joyctl.errors import Missing, Refused
from joyctl.store.files import sha256_file, write_json, write_text
from joyctl.store.fingerprint import fingerprint

ASKED = "asked.json"
PART_TOKENS = 1 << 25
"""A part is so many tokens, or what is left of a source."""
_SHOWN = 400
"""Characters of a passage that are kept."""
_PROBED = 4000
"""Tokens at the start of a source that are also decoded by the tokenizer itself."""


def overlap_folder(data: Path) -> Path:
    """Where a data folder keeps what is known of overlap."""
    return data / FOLDER


@dataclass(frozen=True)
class Stretch:
    """Tokens start..stop-1 of a source."""

    name: str
    """Unique in a check."""
    source: str
    start: int
    stop: int


@dataclass(frozen=True)
class Looking:
    """The check that `folder` (<data folder>/overlap/work/<key>) asks for."""

    folder: Path

    def __getstate__(self) -> dict[str, Any]:  # the rest is read again where it is needed
        return {"folder": self.folder}

    @cached_property
    def asked(self) -> dict[str, Any]:
        """`sources`: digests by name; `items`: name of the file of test items, `items_sha256`: its digest;
        `tokenizer_sha256`; `part_tokens`: how many tokens a part has."""
        try:
            asked: dict[str, Any] = json.loads((self.folder / ASKED).read_bytes())
        except (OSError, ValueError) as error:
            raise Missing(
                f"no overlap check was begun in {self.folder}", hint="Begin one: joyctl data overlap RECIPE"
            ) from error
        return asked

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.folder.parents[2]

    @property
    def result(self) -> Path:
        """Where the findings are to stand."""
        return overlap_folder(self.data) / f"{self.folder.name}.json"

    def finished(self) -> bool:
        """Whether the findings are there."""
        try:
            read_findings(self.result)
        except Missing:
            return False
        return True

    @cached_property
    def tokens(self) -> dict[str, SourceTokens]:
        """The sources. Raises Refused where one is no longer what was asked for, Missing where it is cut short."""
        opened = {}
        for name, digest in self.asked["sources"].items():
            about = read_sidecar(self.data, name)
            if about.sha256 != digest:
                raise Refused(
                    f"source {name} of {self.data} has changed since the overlap check began",
                    hint="Begin it again: joyctl data overlap RECIPE",
                )
            opened[name] = open_source(self.data, name)
            if len(opened[name]) != about.tokens:  # what is found in a part would be kept as if it were all
                raise Missing(
                    f"source {name} of {self.data} has {len(opened[name]):,} tokens, not {about.tokens:,}", hint=AGAIN
                )
        return opened

    @cached_property
    def stretches(self) -> dict[str, Stretch]:
        """All parts by name."""
        size = self.asked["part_tokens"]
        made = [
            Stretch(f"{source}-{start // size:05d}", source, start, min(start + size, len(tokens)))
            for source, tokens in self.tokens.items()
            for start in range(0, len(tokens), size)
        ]
        return {stretch.name: stretch for stretch in made}

    @cached_property
    def items(self) -> dict[str, TaskItems]:
        """The test items. Raises Missing where their file is gone or another one."""
        path = overlap_folder(self.data) / "items" / self.asked["items"]
        if not path.is_file() or sha256_file(path) != self.asked["items_sha256"]:
            raise Missing(
                f"{path} is not what the overlap check began with", hint="Begin again: joyctl data overlap RECIPE"
            )
        return read_items(path)

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return read_vocabulary(self.data)

    @cached_property
    def _token_words(self) -> TokenWords:
        return TokenWords(self._vocabulary.pieces)

    @cached_property
    def _grams(self) -> ItemGrams:
        return index_items(self.items, self._vocabulary.seen_by_training)

    def parts(self) -> list[Part]:
        """Sources in stretches."""
        sizes = {name: tokens.arrays[0].dtype.itemsize if len(tokens) else 0 for name, tokens in self.tokens.items()}
        return [Part(each.name, (each.stop - each.start) * sizes[each.source]) for each in self.stretches.values()]

    def done(self, part: Part) -> bool:
        """Whether the stretch was looked through, for this check or another one of the same items."""
        return self._kept(self.stretches[part.name]).is_file()

    def _kept(self, stretch: Stretch) -> Path:
        depends = {
            "version": VERSION,
            "settings": settings(),
            "items": self.asked["items_sha256"],
            "tokenizer": self.asked["tokenizer_sha256"],
            "source": self.asked["sources"][stretch.source],
            "stretch": [stretch.start, stretch.stop, len(self.tokens[stretch.source])],
        }
        return overlap_folder(self.data) / "parts" / f"{fingerprint(depends)[:24]}.json"

    def do(self, part: Part, progress: Progress) -> None:
        """Look through a stretch. Raises Missing for tokens that cannot be taken apart."""
        stretch = self.stretches[part.name]
        tokens = self.tokens[stretch.source]
        if stretch.start == 0:
            probe = tokens.read(0, min(_PROBED, stretch.stop))
            self._vocabulary.check(probe.tolist(), f"source {stretch.source}")
        made = scan(tokens, stretch.start, stretch.stop, self._token_words, self._grams, progress)
        with _room(self.folder):
            write_text(self._kept(stretch), json.dumps(_as_json(made)))

    def finish(self) -> None:
        """Put the findings of all parts together. Raises Refused while parts are missing."""
        missing = [part.name for part in self.parts() if not self.done(part)]
        if missing:
            raise Refused(
                f"{len(missing)} of {len(self.stretches)} parts of the overlap check are not done: {missing[0]}, ...",
                hint="The same command goes on with them.",
            )
        found = {
            source: together(
                (_from_json(self._kept(each)) for each in self.stretches.values() if each.source == source),
                self._grams,
            )
            for source in self.tokens
        }
        with _room(self.folder):
            write_findings(self.result, self._findings(found))

    def _findings(self, found: Mapping[str, Found]) -> Findings:
        by_item: dict[tuple[str, str, int], dict[str, Match]] = {}
        for source, each in found.items():
            best: dict[tuple[str, str, int], tuple[Passage, int]] = {}
            for text, passage in each.best.items():
                owner = self._grams.texts[text]
                key = (owner.task, owner.split, owner.item)
                if key not in best or passage.rank(self._grams) > best[key][0].rank(self._grams):
                    best[key] = (passage, each.hits[text])
            for key, (passage, hits) in best.items():
                match = self._match(source, passage, hits)
                if match is not None:
                    by_item.setdefault(key, {})[source] = match
        items = {}
        for name, task in sorted(self.items.items()):
            rows = {
                split: tuple(
                    FoundItem(item, split, by_item[key])
                    for item in range(len(every))
                    if (key := (name, split, item)) in by_item
                )
                for split, every in (("test", task.test), ("train", task.train))
            }
            short = tuple(self._grams.too_short(name))
            train = TrainFindings(len(task.train), rows["train"])
            items[name] = TaskFindings(task.hash, len(task.test), rows["test"], short, train)
        return Findings(dict(self.asked["sources"]), items, (LONG, SHORT))

    def _match(self, source: str, passage: Passage, hits: int) -> Match | None:
        """A passage as people read it; None where its text, decoded, is not the item's after all."""
        start, stop = passage.at
        text = self._vocabulary.text(self.tokens[source].read(start, stop).tolist())
        if f" {' '.join(self._words_of(passage))} " not in f" {' '.join(words(text))} ":
            return None
        n = LONG if passage.longest >= LONG else min(passage.longest, SHORT)
        shown = " ".join(text.split())
        shown = shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 1]}…"
        share = round(passage.share(self._grams), 4)
        return Match(n, share, shown, passage.document, start, hits)

    def _words_of(self, passage: Passage) -> list[str]:
        """The words that an item has in common with a passage, from its text."""
        owner, first = self._grams.texts[passage.text], int(self._grams.first[passage.text])
        task = self.items[owner.task]
        text = (task.test if owner.split == "test" else task.train)[owner.item][owner.part]
        low, high = passage.words
        return words(self._vocabulary.seen_by_training(text))[low - first : high - first]


@contextmanager
def _room(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise Missing(
            f"no space left for what was found in {folder}: {error.strerror}",
            hint="Make room. What is done is kept; the same command goes on.",
        ) from error


def settings() -> dict[str, object]:
    """What determines findings besides tokens and items."""
    return {"long": LONG, "short": SHORT, "shortest": SHORTEST, "of_the_task": OF_THE_TASK, "share": SHARE}


def begin(data: Path, sources: Mapping[str, str], items: str, part_tokens: int = PART_TOKENS) -> Looking:
    """The check of a data folder's sources (digests by name) for the items in overlap/items/`items`, done or not."""
    asked: dict[str, Any] = {
        "sources": dict(sorted(sources.items())),
        "items": items,
        "items_sha256": sha256_file(overlap_folder(data) / "items" / items),
        "tokenizer_sha256": tokenizer_digest(data),
    }
    depends = {key: value for key, value in asked.items() if key != "items"}
    key = fingerprint({**depends, "version": VERSION, "settings": settings()})[:16]
    looking = Looking(overlap_folder(data).absolute() / "work" / key)
    asked["part_tokens"] = part_tokens
    try:
        there = looking.asked
    except Missing:  # not begun, or damaged
        there = None
    if there != asked:
        write_json(looking.folder / ASKED, asked)
    return Looking(looking.folder)


def open_work(folder: Path) -> Looking:
    """The check that was begun in `folder`. Raises Missing where none was."""
    looking = Looking(folder.absolute())
    _ = looking.asked
    return looking


def _as_json(scanned: Scanned) -> dict[str, object]:
    return {
        "documents": scanned.documents,
        "hits": [[text, number] for text, number in sorted(scanned.found.hits.items())],
        **{
            name: [_row(passage) for _, passage in sorted(passages.items())]
            for name, passages in (
                ("best", scanned.found.best),
                ("opening", scanned.opening),
                ("closing", scanned.closing),
            )
        },
    }


def _row(passage: Passage) -> dict[str, object]:
    return {**asdict(passage), "covered": f"{passage.covered:x}"}


def _from_json(path: Path) -> Scanned:
    """Raises Missing for a part whose file is damaged."""
    try:
        text = json.loads(path.read_bytes())
        best, opening, closing = (
            {row["text"]: _passage(row) for row in text[k]} for k in ("best", "opening", "closing")
        )
        hits = {int(number): int(count) for number, count in text["hits"]}
        return Scanned(Found(hits, best), opening, closing, int(text["documents"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Missing(f"{path} is damaged: {error!r}", hint="Remove it and give the same command again.") from error


def _passage(row: dict[str, Any]) -> Passage:
    at, within = tuple(row["at"]), tuple(row["words"])
    return Passage(**{**row, "covered": int(row["covered"], 16), "at": at, "words": within})
