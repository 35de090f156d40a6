"""A build as parts that any process can do: each leaves its shard, then a file that says the shard is whole."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from joyctl.data import tokenizers
from joyctl.data.shardfiles import REMOTE
from joyctl.data.sidecar import Boundary, Shard
from joyctl.data.tokenise import blueprint, heldout, readers
from joyctl.data.tokenise.encode import encoded
from joyctl.data.tokenise.inputs import Piece, Planned, stat
from joyctl.data.work import Part, Progress
from joyctl.errors import Missing, Refused
from joyctl.store.files import atomic_path, write_json, write_text

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
DONE = "parts"
"""Folder of what says that parts are done; not in a finished folder."""


@dataclass(frozen=True)
class Made:
    """What a part has made."""

    shard: Shard | None
    """None where it holds no tokens."""
    heldout: int = 0
    """Documents that are not trained on."""
    empty: int = 0
    """Documents without any text, which are left out."""


@dataclass(frozen=True)
class Tokenising:
    """The work in a folder that is being built."""

    folder: Path

    @cached_property
    def blueprint(self) -> blueprint.Blueprint:
        """What is to be made."""
        return blueprint.read(self.folder)

    @cached_property
    def _planned(self) -> dict[str, Planned]:
        return {part.name: part for part in self.blueprint.parts}

    def __getstate__(self) -> dict[str, Any]:  # the rest is read again where it is needed
        return {"folder": self.folder}

    def parts(self) -> list[Part]:
        """One or more a source."""
        return [Part(part.name, part.bytes) for part in self.blueprint.parts]

    def done(self, part: Part) -> bool:
        """Whether the part was done from inputs as they are now, and its shard is there in full size."""
        return self.made(self._planned[part.name]) is not None

    def made(self, part: Planned) -> Made | None:
        """What a part has made; None when it is not done."""
        try:
            text = json.loads(self._marker(part).read_bytes())
        except FileNotFoundError:
            return None
        if text["key"] != part.key:
            return None
        made = Made(Shard(**text["shard"]) if text["shard"] else None, text["heldout"], text["empty"])
        if made.shard is None or part.kind == "tokenised":
            return made
        file = self._source(part) / made.shard.path
        return made if file.is_file() and file.stat().st_size == made.shard.bytes else None

    def do(self, part: Part, progress: Progress) -> None:
        """Make the part's shard. Raises Missing for inputs that cannot be read or are not what they should be, and for
        a disk that is full."""
        planned = self._planned[part.name]
        try:
            made = self._index(planned, progress) if planned.kind == "tokenised" else self._tokenise(planned, progress)
            for piece in planned.pieces if planned.kind != "dataset" else ():
                self._same(piece)
            write_json(self._marker(planned), {"key": planned.key, **asdict(made)})
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise Missing(
                f"no space left for the tokens of part {part.name} in {self._source(planned)}: {error.strerror}",
                hint="Make room. What is done is kept; the same command goes on.",
            ) from error

    def finish(self) -> None:
        """Put the parts together to the folder under its final name. Raises Refused while parts are missing."""
        from joyctl.data.tokenise.finish import finish

        missing = [part.name for part in self.blueprint.parts if self.made(part) is None]
        if missing:
            raise Refused(
                f"{len(missing)} of {len(self.blueprint.parts)} parts of {self.folder} are not done: {missing[0]}, ...",
                hint="Do them first: the command that began the build goes on with it.",
            )
        finish(self)

    def kept(self, part: Planned) -> Path:
        """File of the held-out documents that a part has kept."""
        return self.folder / DONE / f"{part.name}.heldout.jsonl"

    def _marker(self, part: Planned) -> Path:
        return self.folder / DONE / f"{part.name}.json"

    def _source(self, part: Planned) -> Path:
        return self.folder / "sources" / part.source

    def _same(self, piece: Piece) -> None:
        now = stat(piece.path)
        if (now.size, now.changed) != (piece.size, piece.changed):
            raise Missing(
                f"{piece.path} has changed since the build began",
                hint="Leave it as it is and give the same command again: it reads the file anew.",
            )

    def _index(self, part: Planned, progress: Progress) -> Made:
        """Facts of a file of tokens, which stays where it is."""
        from joyctl.data.formats import facts_of

        drawn = self.blueprint
        spec = drawn.sources[part.source].tokenised
        assert spec is not None
        cache = self.folder / REMOTE if drawn.cache is None else Path(drawn.cache)
        made = facts_of(
            part.pieces[0].path, spec, drawn.vocab_size, progress, boundary=boundary(drawn, part.kind), cache=cache
        )
        return Made(made)

    def _tokenise(self, part: Planned, progress: Progress) -> Made:
        whole = sum(other.source == part.source for other in self.blueprint.parts) == 1
        name = "train.bin" if whole else f"train-{part.number:05d}.bin"
        texts = _Texts(self.blueprint, part)
        tokenizer = tokenizers.load(self.folder / "tokenizer")
        digest, tokens, documents = hashlib.sha256(), 0, 0
        file = self._source(part) / name
        with (
            atomic_path(file) as ids_file,
            atomic_path(file.with_name(f"{name}.ends")) as ends_file,
            ids_file.open("wb") as ids_out,
            ends_file.open("wb") as ends_out,
        ):
            for ids, lengths in encoded(tokenizer, self.blueprint.special, self.blueprint.dtype, texts):
                content = ids.tobytes()
                digest.update(content)
                ids_out.write(content)
                ends_out.write((tokens + np.cumsum(lengths)).astype("<i8").tobytes())
                tokens, documents = tokens + len(ids), documents + len(lengths)
                progress(len(ids), len(lengths))
        size = tokens * np.dtype(self.blueprint.dtype).itemsize
        write_text(self.kept(part), heldout.to_lines(texts.kept))
        made = Shard(name, "joyctl", self.blueprint.dtype, 0, tokens, documents, size, digest.hexdigest())
        return Made(made if tokens else None, texts.heldout, texts.empty)


def boundary(drawn: blueprint.Blueprint, kind: str) -> Boundary:
    """How ids tell where documents begin: as joyctl encloses them; of tokens made elsewhere, where each has an end."""
    if drawn.special.bos is not None and kind != "tokenised":
        return Boundary(drawn.special.bos, begins=True)
    return Boundary(drawn.special.eos, begins=False)


class _Texts:
    """The documents of a part that are trained on; counts and keeps the others on the way."""

    def __init__(self, drawn: blueprint.Blueprint, part: Planned) -> None:
        self._part = part
        self._text = drawn.sources[part.source].text
        self._bound = heldout.bound(drawn.heldout.share)
        self.kept = heldout.Smallest(drawn.heldout.documents)
        self.heldout = self.empty = 0

    def __iter__(self) -> Iterator[str]:
        for text in self._all():
            if not text:
                self.empty += 1
            elif self._bound and (number := heldout.text_hash(text)) < self._bound:
                self.heldout += 1
                self.kept.add(number, text)
            else:
                yield text

    def _all(self) -> Iterator[str]:
        assert self._text is not None
        for piece in self._part.pieces:
            if self._part.kind == "dataset":
                from joyctl.data.tokenise.hub import documents

                assert piece.changed is not None and piece.stop is not None
                yield from documents(self._text, piece.changed, piece.start, piece.stop)
            else:
                yield from readers.documents(piece, self._text.column)


def open_work(folder: Path) -> Tokenising:
    """The build in a folder. Raises Missing where none was begun."""
    work = Tokenising(folder)
    _ = work.blueprint
    return work
