"""Reading a folder of tokenised data: its facts, its digests and its tokens."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from joyctl.data.heldouttasks import refresh_heldout
from joyctl.data.shardfiles import check_files
from joyctl.data.shards import Ids, open_source
from joyctl.data.sidecar import SIDECAR, read_sidecar
from joyctl.data.world.tasks import refresh_tasks
from joyctl.errors import Missing, Problem, RecipeError, Refused
from joyctl.recipe.types import Recipe
from joyctl.store.files import sha256_file
from joyctl.store.fingerprint import fingerprint

MARKER = "DATA.json"
DTYPE = "<u2"
"""Token ids in the micro-world's train.bin: little-endian, two bytes."""


@dataclass(frozen=True)
class SourceFacts:
    """One source's training data."""

    tokens: int
    documents: int
    sha256: str
    """Digest of its one file, else of those of all (joyctl.data.sidecar.source_digest)."""


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
    the folder is absent, incomplete or damaged, Refused when a source is of another tokenizer than the folder, and
    RecipeError when `recipe` has a source without data.
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
    _require_one_tokenizer(folder)
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


def tokens(path: Path, source: str) -> Ids:
    """All token ids of a source's training data, shape [tokens], read-only.

    They are mapped where one file has them, else copied into memory: `open_source` reads parts of a large source.
    """
    whole = open_source(path, source)
    return whole.read(0, len(whole))


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
    found = {name: facts for name in folder.sources if (facts := _facts(path, name)) is not None}
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


def _facts(path: Path, name: str) -> SourceFacts | None:
    """A source's facts from its sidecar, if its files are as that says, to the byte."""
    try:
        if check_files(path, name, digests=True) is not None:
            return None
        about = read_sidecar(path, name)
    except (Missing, Refused):
        return None
    return SourceFacts(about.tokens, about.documents, about.sha256)


def _require_one_tokenizer(folder: DataFolder) -> None:
    """Refuse a source whose sidecar says that another tokenizer made it than the folder's."""
    for name in folder.sources:
        if not (folder.path / "sources" / name / SIDECAR).is_file():
            continue
        made_by = read_sidecar(folder.path, name).tokenizer_sha256
        if made_by is not None and made_by != folder.tokenizer_sha256:
            raise Refused(
                f"{folder.path}: source '{name}' was made by another tokenizer ({made_by[:12]}) than the folder's"
                f" ({folder.tokenizer_sha256[:12]})",
                hint="Tokenise it with the folder's tokenizer: joyctl data build RECIPE",
            )


def _again(path: Path) -> str:
    return f"Remove it and build it again: rm -r {path}; joyctl data build RECIPE"
