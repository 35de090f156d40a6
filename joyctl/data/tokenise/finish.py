"""From the parts of a build to a finished data folder: sidecars, held-out texts, marker, and its name last."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from joyctl.data.folder import MARKER, SourceFacts, digest, tasks_digest, tokenizer_digest
from joyctl.data.heldouttasks import refresh_heldout
from joyctl.data.sidecar import SIDECAR, Boundary, Shard, describe, source_digest
from joyctl.data.tokenise import heldout
from joyctl.data.tokenise.blueprint import FILE
from joyctl.data.tokenise.inputs import Planned
from joyctl.errors import Missing
from joyctl.store.files import fsync_folder, sha256_file, write_json, write_text

if TYPE_CHECKING:
    from joyctl.data.tokenise.work import Made, Tokenising

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
    from joyctl.data.tokenise.work import DONE

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
    parts = [part for part in work.blueprint.parts if part.source == name]
    made = {part: found for part in parts if (found := work.made(part)) is not None}
    shards = [each.shard for each in made.values() if each.shard is not None]
    place = work.folder / "sources" / name
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
    heldout_facts = _held_out(work, parts, made, place) if parts[0].kind != "tokenised" else None
    about = describe(
        name,
        shards,
        tokenizer_sha256=tokenizer_sha256,
        boundary=_boundary(work, parts),
        heldout=heldout_facts,
        cache=work.blueprint.cache,
    )
    place.mkdir(parents=True, exist_ok=True)
    _clean(place, shards, held_out=heldout_facts is not None and heldout_facts["documents"] != 0)
    write_json(place / SIDECAR, {**about, "empty": sum(each.empty for each in made.values())})
    return facts


def _boundary(work: Tokenising, parts: Sequence[Planned]) -> Boundary:
    special = work.blueprint.special
    if special.bos is not None and parts[0].kind != "tokenised":
        return Boundary(special.bos, begins=True)
    return Boundary(special.eos, begins=False)  # of tokens made elsewhere: what the tokenizer would say


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
