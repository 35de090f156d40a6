"""Reading a folder of tokenised data: its facts, its digests and its tokens."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from joyctl.data.heldouttasks import refresh_heldout
from joyctl.data.world.tasks import refresh_tasks
from joyctl.errors import Missing, Problem, RecipeError
from joyctl.recipe.types import Recipe
from joyctl.store.files import sha256_file
from joyctl.store.fingerprint import fingerprint

MARKER = "DATA.json"
DTYPE = "<u2"
"""Token ids in train.bin: little-endian, two bytes."""


@dataclass(frozen=True)
class SourceFacts:
    """One source's training data."""

    tokens: int
    documents: int
    sha256: str
    """Digest of train.bin."""


@dataclass(frozen=True)
class DataFolder:
    """A complete folder of tokenised data, as its marker describes it."""

    path: Path
    sources: dict[str, SourceFacts]
    tokenizer_sha256: str
    vocab_size: int
    tasks_sha256: str
    """Digest of all benchmark items and held-out texts."""
    sha256: str
    """Digest of all of the above: equal digests, equal data."""
    stated: bool = False
    """It is not on this machine: sizes are the recipe's own words, and digests are unknown (joyctl.data.stated)."""


def open_folder(path: Path, *, verify: bool = False, recipe: Recipe | None = None) -> DataFolder:
    """Read a folder's marker; with `verify` every digest is computed again from the files.

    Task files that name another place, because the folder was moved, are written anew. Raises Missing when
    the folder is absent, incomplete or damaged, and RecipeError when `recipe` has a source without data.
    """
    marker = path / MARKER
    if not marker.is_file():
        what = "is not complete" if path.exists() else "does not exist"
        raise Missing(f"data folder {path} {what}", hint="Make it: joyctl data build RECIPE")
    try:
        text = json.loads(marker.read_text(encoding="utf-8"))
        sources = {name: SourceFacts(**facts) for name, facts in text["sources"].items()}
        folder = DataFolder(
            path=path.absolute(),
            sources=sources,
            tokenizer_sha256=text["tokenizer_sha256"],
            vocab_size=text["vocab_size"],
            tasks_sha256=text["tasks_sha256"],
            sha256=text["sha256"],
        )
        generated, built = "world" in text["settings"], "tokenizer" in text["settings"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Missing(f"{marker} is damaged: {error!r}", hint=_again(path)) from error
    if verify:
        _verify(folder)
    if recipe is not None:
        check_sources(folder, recipe)
    if generated:
        refresh_tasks(path)
    elif built:
        refresh_heldout(path)
    return folder


def check_sources(folder: DataFolder, recipe: Recipe) -> None:
    """Raise RecipeError for every source of the recipe that the folder has no tokens for."""
    problems = [
        Problem(f"recipe {recipe.name}", f"sources.{name}", f"no data for it in {folder.path}")
        for name in recipe.sources
        if name not in folder.sources
    ]
    if problems:
        have = ", ".join(sorted(folder.sources))
        raise RecipeError(problems, hint=f"The folder has: {have}. Leave the source out or tokenise it.")


def tokens(path: Path, source: str) -> npt.NDArray[np.uint16]:
    """Token ids of a source's training data, shape [tokens], mapped from the file and read-only.

    A plain ndarray view: indexing an `np.memmap` object costs twice as much.
    """
    file = path / "sources" / source / "train.bin"
    if not file.is_file():
        raise Missing(f"{file} does not exist", hint="Make it: joyctl data build RECIPE")
    return np.memmap(file, dtype=DTYPE, mode="r").view(np.ndarray)


def digest(sources: dict[str, SourceFacts], tokenizer_sha256: str, vocab_size: int, tasks_sha256: str) -> str:
    """The digest of a whole folder, from the digests of its parts."""
    return fingerprint(
        {
            "sources": {name: vars(facts) for name, facts in sources.items()},
            "tokenizer": tokenizer_sha256,
            "vocab_size": vocab_size,
            "tasks": tasks_sha256,
        }
    )


def tokenizer_digest(path: Path) -> str:
    """Digest of a folder's tokenizer: tokenizer.json and tokenizer_config.json."""
    return fingerprint(_digests(path, (path / "tokenizer").glob("*.json")))


def tasks_digest(path: Path) -> str:
    """Digest of all benchmark items and held-out texts, by name; not of the YAML files, which hold paths."""
    return fingerprint(_digests(path, [*path.glob("tasks/*.jsonl"), *path.glob("sources/*/heldout.jsonl")]))


def _digests(path: Path, files: Iterable[Path]) -> dict[str, str]:
    return {file.relative_to(path).as_posix(): sha256_file(file) for file in sorted(files)}


def _verify(folder: DataFolder) -> None:
    path = folder.path
    found = {
        name: SourceFacts(facts.tokens, facts.documents, sha256_file(path / "sources" / name / "train.bin"))
        for name, facts in folder.sources.items()
        if (path / "sources" / name / "train.bin").is_file()
    }
    changed = [f"sources/{name}" for name, facts in folder.sources.items() if found.get(name) != facts]
    if tokenizer_digest(path) != folder.tokenizer_sha256:
        changed.append("tokenizer")
    if tasks_digest(path) != folder.tasks_sha256:
        changed.append("benchmark items or held-out texts")
    whole = digest(found, folder.tokenizer_sha256, folder.vocab_size, folder.tasks_sha256)
    if not changed and whole != folder.sha256:
        changed.append(MARKER)
    if changed:
        raise Missing(f"data folder {path} is not as it was built: {', '.join(changed)}", hint=_again(path))


def _again(path: Path) -> str:
    return f"Remove it and build it again: rm -r {path}; joyctl data build RECIPE"
