"""Whether token files are of the recipe's tokenizer, and which of its tokens begins or ends a text."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from joyctl.data import remote
from joyctl.data.formats import datatrove
from joyctl.data.formats.names import format_of
from joyctl.errors import Missing, Refused
from joyctl.recipe.sources import Tokenised
from joyctl.store.files import sha256_file

TOKENIZER, CONFIG = "tokenizer.json", "tokenizer_config.json"


def token_that(folder: Path, what: Literal["bos", "eos"]) -> int | None:
    """The id of the token that begins or ends a text, as tokenizer_config.json names it; None where it names none."""
    try:
        named = json.loads((folder / CONFIG).read_bytes()).get(f"{what}_token")
        content = named.get("content") if isinstance(named, dict) else named
        whole = json.loads((folder / TOKENIZER).read_bytes()) if content else {}
    except (FileNotFoundError, ValueError):
        return None
    ids = {token["content"]: int(token["id"]) for token in whole.get("added_tokens", ())}
    vocabulary = whole.get("model", {}).get("vocab", {})
    found = ids.get(content, vocabulary.get(content) if isinstance(vocabulary, dict) else None)
    return None if found is None else int(found)


def require_tokenizer(
    spec: Tokenised, files: Sequence[str], tokenizer: str, folder: Path, resolve: Callable[[str], Path]
) -> None:
    """Refuse token files that another tokenizer made than the recipe's `tokenizer`, which lies in `folder`.

    `resolve` gives the folder of a tokenizer by its name. What `spec.tokenizer` says counts; else datatrove's files
    tell a name, which is compared where both are names on the hub. Raises Refused, or Missing where metadata cannot be
    read.
    """
    if spec.tokenizer is not None:
        if spec.tokenizer == tokenizer:
            return
        said = resolve(spec.tokenizer)
        if (said / TOKENIZER).is_file() and sha256_file(said / TOKENIZER) == sha256_file(folder / TOKENIZER):
            return
        raise Refused(
            f"{files[0]} is of tokenizer {spec.tokenizer}, the recipe's is {tokenizer}: their {TOKENIZER} differ",
            hint="A model reads ids of one tokenizer: tokenise the texts anew, or set data.tokenizer to this one.",
        )
    for path in files:
        named = _named_in(path) if format_of(path, spec) == "datatrove" else None
        name = tokenizer.partition("@")[0]  # the metadata tell no revision
        if named is not None and _is_name(named) and _is_name(name) and named.lower() != name.lower():
            raise Refused(
                f"{path} is of tokenizer {named}, as its metadata say; the recipe's is {tokenizer}",
                hint=f"Set data.tokenizer to {named}; or, where both are one, tokenised.tokenizer to {tokenizer}.",
            )


def _named_in(path: str) -> str | None:
    where = f"{path}.metadata"
    if remote.is_url(path):
        return datatrove.read_metadata(remote.read_text(where), where).tokenizer if remote.exists(where) else None
    metadata = datatrove.metadata_of(Path(path))
    try:
        return datatrove.read_metadata(metadata.read_text(encoding="utf-8", errors="replace"), where).tokenizer
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Missing(f"{where} cannot be read: {error}") from error


def _is_name(tokenizer: str) -> bool:
    """Whether it is a name on the hub (`gpt2`, `org/name`) and no path."""
    return not tokenizer.startswith(("/", ".", "~")) and tokenizer.count("/") <= 1 and not Path(tokenizer).exists()
