"""What a model has answered to a task so far: a file that only grows, so that no answer is computed twice.

The first line says to what the answers are, each further line holds the answers to one unit with a checksum. A torn
or damaged line counts as not there.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from joyctl.store.files import write_text

ANSWERS = "answers.jsonl"
Key = tuple[int, int, int, int]
Value = tuple[float, bool] | str


@dataclass(frozen=True)
class Header:
    """To what the answers are, and by whom."""

    task: str
    protocol: str
    protocol_parts: Mapping[str, Any]
    """All that determines the scores of the task, given the model."""
    model: str
    """Digest of the model that answers."""
    prompts_sha256: str
    """Digest of the requests' texts."""
    truncated: int
    """Items whose prompt lost its beginning because it is longer than the model accepts."""


class Journal:
    """The answers file of one task."""

    def __init__(self, folder: Path, header: Header) -> None:
        """Read the file in a task's folder; it is begun anew, with the first answer, where it answers something else
        or is damaged at its head, and lines that are torn or damaged are taken out then.
        """
        self.path = folder / ANSWERS
        self.header = header
        found = read_answers(folder)
        self.answers: dict[Key, Value] = dict(found[1]) if found and found[0] == header else {}
        self._begun = found is not None and found[0] == header and not found[2]
        self._file: BinaryIO | None = None

    def add(self, answers: Iterable[tuple[Any, ...]]) -> None:
        """Write the answers to one unit; killed right after, they are there."""
        kept: dict[Key, Value] = {key: value[0] if len(value) == 1 else (value[0], value[1]) for key, *value in answers}
        file = self._open()
        file.write(_line({"answers": [_entry(key, value) for key, value in kept.items()]}).encode())
        file.flush()
        self.answers.update(kept)

    def close(self) -> None:
        """Make it last."""
        file = self._open()
        os.fsync(file.fileno())
        file.close()

    def _open(self) -> BinaryIO:
        if self._file is None:
            if not self._begun:
                lines = [_line({"header": vars(self.header)})]
                lines += [_line({"answers": [_entry(key, value)]}) for key, value in self.answers.items()]
                write_text(self.path, "".join(lines))
            self._file = self.path.open("ab")
        return self._file


def read_answers(folder: Path) -> tuple[Header, dict[Key, Value], bool] | None:
    """Header and answers of a task's folder, and whether lines had to be left out; None where there is no header."""
    try:
        lines = (folder / ANSWERS).read_bytes().splitlines(keepends=True)
    except OSError:
        return None
    parsed = [_parsed(line) for line in lines]
    try:
        header = Header(**(parsed[0] or {})["header"])
        entries = [entry for one in parsed[1:] if one for entry in one["answers"]]
        return header, dict(map(_answer, entries)), None in parsed
    except (IndexError, KeyError, TypeError, ValueError):
        return None


def _entry(key: Key, value: Value) -> list[Any]:
    return [*key, value] if isinstance(value, str) else [*key, *value]


def _answer(entry: Sequence[Any]) -> tuple[Key, Value]:
    leaf, doc, index, number, *value = entry
    return (leaf, doc, index, number), value[0] if len(value) == 1 else (float(value[0]), bool(value[1]))


def _line(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, ensure_ascii=True)
    return f"{zlib.crc32(text.encode()):08x} {text}\n"


def _parsed(line: bytes) -> dict[str, Any] | None:
    """What a line holds; None when it is not whole."""
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != f"{zlib.crc32(text):08x}".encode():
        return None
    content: dict[str, Any] = json.loads(text)
    return content
