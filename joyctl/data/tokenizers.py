"""A recipe's tokenizer: where its files lie, its digest, the tokens that begin and end a document."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joyctl.data.remote import failures
from joyctl.errors import Missing
from joyctl.recipe.references import is_folder
from joyctl.store.files import sha256_file, write_text

TOKENIZER, CONFIG, SPECIAL = "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"
_HINT = "data.tokenizer is a folder with tokenizer.json and tokenizer_config.json, or org/name[@revision] on the hub."


@dataclass(frozen=True)
class Special:
    """What encloses a document."""

    bos: int | None
    """None where the tokenizer has none, or the same as `eos`: that one ends a document, and nothing begins it."""
    eos: int


def resolve(tokenizer: str) -> Path:
    """The folder with the files of a tokenizer: itself, or a name's in this machine's cache of the hub.

    What the cache lacks is downloaded. Raises Missing where there is no tokenizer.json.
    """
    folder = Path(tokenizer).expanduser()
    if is_folder(tokenizer) or folder.is_dir():
        if not (folder / TOKENIZER).is_file():
            raise Missing(f"tokenizer {tokenizer} is no folder with {TOKENIZER}", hint=_HINT)
        return folder
    from huggingface_hub import snapshot_download

    name, _, revision = tokenizer.partition("@")
    try:
        found = Path(snapshot_download(name, revision=revision or None, allow_patterns=[TOKENIZER, CONFIG, SPECIAL]))
    except failures() as error:
        why = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise Missing(f"tokenizer {tokenizer} is no folder, and the hub did not give it: {why}", hint=_HINT) from error
    if not (found / TOKENIZER).is_file():
        raise Missing(f"tokenizer {tokenizer}: the hub has no {TOKENIZER} under that name", hint=_HINT)
    return found


def described(tokenizer: str) -> dict[str, str]:
    """What says which tokenizer it is, without asking the network: a folder's digest, or a name on the hub."""
    file = Path(tokenizer).expanduser() / TOKENIZER
    if file.is_file():
        return {"sha256": sha256_file(file)}
    return {"name": tokenizer}


def place_files(tokenizer: str, folder: Path) -> None:
    """Put a tokenizer's files into `folder`; its configuration names the tokens that begin and end a text.

    Raises Missing as `resolve` and `special` do.
    """
    found = resolve(tokenizer)
    special(found)
    names = {f"{kind}_token": name for kind in ("bos", "eos", "pad") if (name := _named(found, kind))}
    config = json.dumps({**_json(found / CONFIG), **names}, indent=1, ensure_ascii=False) + "\n"
    for name, text in ((TOKENIZER, (found / TOKENIZER).read_text(encoding="utf-8")), (CONFIG, config)):
        file = folder / name
        if not file.is_file() or file.read_text(encoding="utf-8") != text:  # others may be reading it
            write_text(file, text)


def special(folder: Path) -> Special:
    """The ids that enclose documents. Raises Missing for a tokenizer that cannot be read or has no end of text."""
    tokenizer = load(folder)
    names = {kind: _named(folder, kind) for kind in ("bos", "eos")}
    ids = {kind: tokenizer.token_to_id(name) if name else None for kind, name in names.items()}
    if ids["eos"] is None:
        named = f"'{names['eos']}', which it does not have" if names["eos"] else "none"
        raise Missing(
            f"tokenizer {folder} has no token that ends a document: {CONFIG} names {named} as eos_token",
            hint="Name one there: without it documents run into each other.",
        )
    return Special(bos=None if ids["bos"] == ids["eos"] else ids["bos"], eos=ids["eos"])


def load(folder: Path) -> Any:
    """The `tokenizers.Tokenizer` of a folder, which neither cuts nor fills up. Raises Missing where it is damaged."""
    from tokenizers import Tokenizer

    file = folder / TOKENIZER
    try:
        tokenizer = Tokenizer.from_str(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise Missing(f"{file} does not exist", hint=_HINT) from error
    except UnicodeDecodeError as error:
        raise Missing(f"{file} is damaged: {error}", hint=_HINT) from error
    except Exception as error:  # the library raises nothing narrower
        if type(error) is not Exception:
            raise
        raise Missing(f"{file} is damaged: {error}", hint=_HINT) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def vocabulary(tokenizer: Any) -> int:
    """One more than the largest id."""
    return int(max(tokenizer.get_vocab(with_added_tokens=True).values())) + 1


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep the library from starting threads: it forbids a later fork of this process to use it quietly."""
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TOKENIZERS_PARALLELISM"]
        else:
            os.environ["TOKENIZERS_PARALLELISM"] = before


def _named(folder: Path, kind: str) -> str | None:
    """The token of a kind, as the configuration has it, else the map of special tokens."""
    for file in (CONFIG, SPECIAL):
        token = _json(folder / file).get(f"{kind}_token")
        token = token.get("content") if isinstance(token, dict) else token
        if isinstance(token, str):
            return token
    return None


def _json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Missing(f"{file} is not JSON: {error}", hint=_HINT) from error
    return value if isinstance(value, dict) else {}
