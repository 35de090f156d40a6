"""What must hold between the keys of a recipe that say where its data lies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from joyctl.recipe.rules import Finding

if TYPE_CHECKING:
    from joyctl.recipe.sources import Data, Source, Text, Tokenised


def check_data(data: Data) -> Iterator[Finding]:
    """One of `world`, `tokenizer` and `folder`; the last two may stand together. Folders are of file systems."""
    if data.world is None and data.tokenizer is None and data.folder is None:
        message = (
            "no data; give 'world' (generate the micro-world), 'tokenizer' (build it from the sources) or 'folder'"
            " (tokenised data)"
        )
        yield Finding((), message, (("world",), ("tokenizer",), ("folder",)))
    elif data.world is not None and data.folder is not None:
        message = "'world' and 'folder' are both given; keep one and set the other to null"
        yield Finding(("folder",), message, (("world",), ()))
    elif data.world is not None and data.tokenizer is not None:
        message = "'world' and 'tokenizer' are both given, but the micro-world has its own; set one of them to null"
        yield Finding(("tokenizer",), message, (("world",), ()))
    for key in ("folder", "cache"):
        if "://" in (getattr(data, key) or ""):
            yield Finding((key,), "is a URL; give a folder of this machine, or of a disk that machines share")


def check_text(text: Text) -> Iterator[Finding]:
    """Files or a dataset, and nothing that only the other has."""
    if (text.files is None) == (text.dataset is None):
        message = "give either 'files' (paths, globs or URLs) or 'dataset' (of the Hugging Face hub, or a local folder)"
        yield Finding((), message, (("files",), ("dataset",)))
    elif text.dataset is None:
        for key in ("config", "revision"):
            if getattr(text, key) is not None:
                yield Finding((key,), "is of a 'dataset'; files have none", ((key,), ("files",)))
    yield from _check_globs(text.files or ())


def check_tokenised(tokens: Tokenised) -> Iterator[Finding]:
    """Globs that can be looked for."""
    yield from _check_globs(tokens.files)


def _check_globs(files: Sequence[str]) -> Iterator[Finding]:
    """`**` stands for folders and is a whole name: what looks for files knows no other."""
    for i, pattern in enumerate(files):
        if any("**" in name and name != "**" for name in pattern.split("/")):
            message = f"'{pattern}': '**' has to stand alone between slashes, as in '**/*.jsonl'"
            yield Finding(("files", i), message)


def check_source(source: Source) -> Iterator[Finding]:
    """Text or tokens, not both."""
    if source.text is not None and source.tokenised is not None:
        message = "'text' and 'tokenised' are both given; keep one"
        yield Finding(("tokenised",), message, (("text",), ()))


def check_origins(data: Data, sources: Mapping[str, Source]) -> Iterator[Finding]:
    """Where data is to be built, every source says what from; elsewhere none does."""
    for name, source in sources.items():
        given = "text" if source.text is not None else "tokenised" if source.tokenised is not None else None
        if data.tokenizer is not None and given is None:
            message = f"'{name}' says neither 'text' nor 'tokenised', and data.tokenizer is to build it"
            yield Finding(("sources", name), message, (("data", "tokenizer"),))
        elif data.tokenizer is None and given is not None:
            message = f"needs data.tokenizer, which is not given; name the tokenizer, or leave '{given}' out"
            yield Finding(("sources", name, given), message, (("data",),))
