"""The bytes that every token of a tokenizer stands for, taken from its own decoder."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from joyctl.data.overlap.stream import torn
from joyctl.data.overlap.words import words
from joyctl.data.tokenizers import load
from joyctl.errors import Missing

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_KNOWN = {"ByteLevel", "Metaspace", "Replace", "ByteFallback", "Fuse", "Strip", "WordPiece", "BPEDecoder"}


def _byte_level() -> dict[str, int]:
    """Which byte a character of a byte-level vocabulary stands for: printable ones for themselves."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in set(shown)]
    return {chr(byte): byte for byte in shown} | {chr(256 + i): byte for i, byte in enumerate(hidden)}


class Vocabulary:
    """Token ids as bytes; `pieces[i]` is None where id i ends a text: special tokens, and ids that no token has."""

    def __init__(self, tokenizer: Any, name: str) -> None:
        """Raises Missing for a decoder whose tokens cannot be told apart."""
        self._tokenizer = tokenizer
        self._name = name
        about = json.loads(tokenizer.to_str())
        self._steps = _steps(about.get("decoder"), name)
        special = {int(each["id"]) for each in about.get("added_tokens", ()) if each["special"]}
        unknown = about["model"].get("unk_token")
        self._unknown = tokenizer.token_to_id(unknown) if unknown else about["model"].get("unk_id")
        entries = tokenizer.get_vocab(with_added_tokens=True)
        self.pieces: list[bytes | None] = [None] * (max(entries.values(), default=-1) + 1)
        letters = _byte_level()
        for token, i in entries.items():
            if i == self._unknown:
                self.pieces[i] = b" "  # a word that is not known: the text goes on
            elif i not in special:
                self.pieces[i] = self._bytes_of(token, letters)

    def _bytes_of(self, token: str, letters: Mapping[str, int]) -> bytes:
        kinds = [step["type"] for step in self._steps]
        if "ByteLevel" in kinds:
            if all(letter in letters for letter in token):
                return bytes(letters[letter] for letter in token)
            return token.encode("utf-8", "surrogatepass")
        if "ByteFallback" in kinds and (byte := _BYTE.fullmatch(token)):
            return bytes([int(byte[1], 16)])
        if not kinds:  # tokens are joined by blanks
            return f" {token}".encode()
        for step in self._steps:
            if step["type"] == "WordPiece":
                prefix = step["prefix"]
                token = token.removeprefix(prefix) if token.startswith(prefix) else f" {token}"
            elif step["type"] == "Metaspace":
                token = token.replace(step["replacement"], " ")
            elif step["type"] == "BPEDecoder":
                token = token.replace(step["suffix"], " ")
            elif step["type"] == "Replace":
                pattern, content = step["pattern"], step["content"]
                if "String" in pattern:
                    token = token.replace(pattern["String"], content)
                else:
                    token = re.sub(pattern["Regex"], content, token)
        return token.encode("utf-8", "surrogatepass")

    def text(self, ids: Sequence[int]) -> str:
        """The text of ids; a blank for every one that ends a text."""
        known = len(self.pieces)
        parts = [(self.pieces[i] if 0 <= i < known else None) or b" " for i in ids]
        return b"".join(parts).decode("utf-8", "replace")

    def seen_by_training(self, text: str) -> str:
        """What is left of a text in token ids: tokenizers may change case or accents, or know some words only."""
        if self._tokenizer.normalizer is None and self._unknown is None:
            return text
        return self.text(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def check(self, ids: Sequence[int], where: str) -> None:
        """Raise Missing unless these ids have the same words by the tokenizer's own decoder and by `text`.

        They begin where a text does. A character that is cut at their end is left out: decoders differ in what they
        make of that.
        """
        stretch: list[int] = []
        whole = list(ids)
        while whole and 0 <= whole[-1] < len(self.pieces) and torn(self.pieces[whole[-1]] or b"") != (0, 0):
            whole.pop()
        for i in [*whole, -1]:
            if 0 <= i < len(self.pieces) and self.pieces[i] is not None and i != self._unknown:
                stretch.append(i)
                continue
            own = self._tokenizer.decode(stretch, skip_special_tokens=False)
            if words(own) != words(self.text(stretch)):
                raise Missing(
                    f"overlap cannot be looked for in {where}: tokens of {self._name} do not decode one by one",
                    hint="Its decoder is of a kind that joyctl cannot take apart; please report it.",
                )
            stretch = []


def _steps(decoder: Mapping[str, Any] | None, name: str) -> list[Mapping[str, Any]]:
    if decoder is None:
        return []
    steps = decoder["decoders"] if decoder["type"] == "Sequence" else [decoder]
    strange = sorted({step["type"] for step in steps} - _KNOWN)
    if strange:
        raise Missing(
            f"overlap cannot be looked for in tokens of {name}: it decodes by {', '.join(strange)}",
            hint=f"Decoders that can be taken apart: {', '.join(sorted(_KNOWN))}.",
        )
    return list(steps)


def read_vocabulary(folder: Path) -> Vocabulary:
    """The vocabulary of a data folder's tokenizer. Raises Missing where it cannot be read or taken apart."""
    where = folder / "tokenizer"
    return Vocabulary(load(where), str(where))
