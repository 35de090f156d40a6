"""From the parts of a build to a finished data folder: sidecars, held-out texts, marker, and its name last."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from joyctl.data.folder import MARKER, SourceFacts, digest, tasks_digest, tokenizer_digest
from joyctl.data.heldouttasks import refresh_heldout
from joyctl.data.sidecar import SIDECAR, Shard, describe, source_digest
from joyctl.data.tokenise import heldout
from joyctl.data.tokenise.blueprint import FILE
from joyctl.data.tokenise.inputs import Planned
from joyctl.data.tokenise.taken import inputs_digest
from joyctl.data.tokenise.work import DONE, Made, Tokenising, boundary
from joyctl.errors import Missing
from joyctl.store.files import fsync_folder, sha256_file, write_json, write_text

_HELDOUT = "heldout.jsonl"


def finish(work: Tokenising) -> None:
    """Write what puts the parts together, and give the folder its name. All parts are done; again is harmless.

    Raises Missing for a source that no part has tokens of.
    """
    folder, drawn = work.folder, work.blueprint
    tokenizer_sha256 = tokenizer_digest(folder)
    for other in {path.name for path in (folder / "sources").glob("*")} - set(drawn.sources):
        shutil.rmtree(folder / "sources" / other)
    sources = {name: _source(work, name, tokenizer_sha256) for name in drawn.sources}
    (folder / "tasks").mkdir(exist_ok=True)
    refresh_heldout(folder, at=Path(drawn.path))
    tasks_sha256 = tasks_digest(folder)
    marker = {
        "settings": drawn.settings,
        "sources": {name: vars(facts) for name, facts in sources.items()},
        "tokenizer_sha256": tokenizer_sha256,
        "vocab_size": drawn.vocab_size,
        "tasks_sha256": tasks_sha256,
        "sha256": digest(sources, tokenizer_sha256, drawn.vocab_size, tasks_sha256),
    }
    write_json(folder / MARKER, marker)
    hand_over(folder, Path(drawn.path))


def hand_over(folder: Path, final: Path) -> None:
    """Take away what only the build needed and rename; everything else is on the disk by now."""
    shutil.rmtree(folder / DONE, ignore_errors=True)
    (folder / FILE).unlink(missing_ok=True)
    for here, _, files in os.walk(folder):
        for file in files:
            if file.startswith("."):  # a temporary name: whoever wrote to it was killed
                (Path(here) / file).unlink()
        fsync_folder(Path(here))
    folder.rename(final)
    fsync_folder(final.parent)


def _source(work: Tokenising, name: str, tokenizer_sha256: str) -> SourceFacts:
    place = work.folder / "sources" / name
    if name in work.blueprint.taken:
        about = {**json.loads((place / SIDECAR).read_bytes()), "tokenizer_sha256": tokenizer_sha256}
        write_json(place / SIDECAR, about)
        return SourceFacts(about["tokens"], about["documents"], about["sha256"])
    parts = [part for part in work.blueprint.parts if part.source == name]
    made = {part: found for part in parts if (found := work.made(part)) is not None}
    shards = [each.shard for each in made.values() if each.shard is not None]
    if not shards:
        where = next((piece.path for part in parts for piece in part.pieces), "its files")
        held = sum(each.heldout for each in made.values())
        why = f"all {held:,} documents are held out" if held else "no documents"
        raise Missing(
            f"source '{name}' has no tokens: {why} in {where}{' and the rest' if len(parts) > 1 else ''}",
            hint="Give it documents, or leave it out of the recipe.",
        )
    facts = SourceFacts(
        tokens=sum(shard.tokens for shard in shards),
        documents=sum(shard.documents for shard in shards),
        sha256=source_digest(shards),
    )
    text = parts[0].kind != "tokenised"
    held_out = _held_out(work, parts, made, place) if text else None
    place.mkdir(parents=True, exist_ok=True)
    _clean(place, shards, held_out=bool(held_out and held_out["documents"]))
    about = describe(
        name,
        shards,
        tokenizer_sha256=tokenizer_sha256,
        boundary=boundary(work.blueprint, parts[0].kind),
        heldout=held_out,
        cache=work.blueprint.cache,
    )
    about["inputs"] = inputs_digest(parts)
    if text:
        about["empty"] = sum(each.empty for each in made.values())
    write_json(place / SIDECAR, about)
    return facts


def _held_out(work: Tokenising, parts: Sequence[Planned], made: dict[Planned, Made], place: Path) -> dict[str, object]:
    """Write the source's held-out texts, by hash; none is no file. `of` counts all that are not trained on."""
    kept = list(heldout.merged((work.kept(part) for part in parts), work.blueprint.heldout.documents))
    file = place / _HELDOUT
    if not kept:
        return {"documents": 0, "bytes": 0, "of": sum(each.heldout for each in made.values())}
    write_text(file, heldout.to_lines(kept))
    return {
        "documents": len(kept),
        "bytes": sum(len(text.encode()) for _, text in kept),
        "sha256": sha256_file(file),
        "of": sum(each.heldout for each in made.values()),
    }


def _clean(place: Path, shards: Sequence[Shard], *, held_out: bool) -> None:
    """Remove what repeated parts or other settings have left, so that equal builds are equal."""
    keep = {name for shard in shards for name in (shard.path, f"{shard.path}.ends")}
    for file in place.iterdir():
        if file.name not in keep | ({_HELDOUT} if held_out else set()):
            file.unlink()
