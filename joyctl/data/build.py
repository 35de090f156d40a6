"""`joyctl data build`: makes a recipe's tokenised data folder, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from joyctl.data.folder import (
    DTYPE,
    MARKER,
    DataFolder,
    SourceFacts,
    digest,
    open_folder,
    tasks_digest,
    tokenizer_digest,
)
from joyctl.data.world import corpus as micro_world
from joyctl.data.world import tokenizer as bpe
from joyctl.data.world.tasks import refresh_tasks
from joyctl.errors import Problem, RecipeError, Refused
from joyctl.recipe.types import Recipe
from joyctl.store.files import fsync_folder, sha256_file
from joyctl.store.fingerprint import fingerprint

TOKENIZER_SAMPLE = {"web": 4000, "math": 1500, "code": 2500, "facts": 1500}
"""Training documents of each source that the world's tokenizer is learned from."""


def _silent(_: str) -> None:
    return None


def data_folder_for(recipe: Recipe, root: Path) -> Path:
    """Where a recipe's data lies: its own `data.folder`, or `root`/micro-world-<8 hex of what determines it>."""
    if recipe.data.folder is not None:
        return Path(recipe.data.folder)
    return root / f"micro-world-{fingerprint(_settings(recipe))[:8]}"


def build(recipe: Recipe, root: Path, progress: Callable[[str], None] = _silent) -> DataFolder:
    """Make the recipe's data folder below `root`, or open it when it is already there.

    It is built beside its final name and renamed at the very end, so a build that was killed leaves nothing
    that could be taken for data; of two builds at once the second waits and finds it done. Raises
    RecipeError for a source that has no data, Missing for a `data.folder` that is not there, and Refused
    when something else stands under the final name.
    """
    path = data_folder_for(recipe, root)
    if recipe.data.folder is not None:
        return open_folder(path, recipe=recipe)
    if (path / MARKER).is_file():
        return open_folder(path, recipe=recipe)
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / f".{path.name}.lock"):
        if not (path / MARKER).is_file():
            if path.exists():
                raise Refused(f"{path} is in the way: no finished data folder", hint="Move or remove it.")
            _build_world(_settings(recipe), path, progress)
    folder = open_folder(path, recipe=recipe)
    progress(f"data {path.name}: {sum(s.tokens for s in folder.sources.values()):,} tokens")
    return folder


def _settings(recipe: Recipe) -> dict[str, object]:
    """All that determines the generated data."""
    if recipe.data.world is None:
        where = f"recipe {recipe.name}"
        problem = Problem(where, "data", "needs either `world` (generated) or `folder` (tokenised data)")
        raise RecipeError([problem], hint="For the micro-world: data.world.seed=1")
    return {"world": {"version": micro_world.VERSION, "seed": recipe.data.world.seed}}


def _build_world(settings: dict[str, Any], path: Path, progress: Callable[[str], None]) -> None:
    """Build under a temporary name, make everything durable, rename. The caller holds the lock."""
    partial = path.with_name(f".{path.name}.partial")
    if partial.exists():  # of a build that was killed: whoever made it no longer holds the lock
        shutil.rmtree(partial)
    seed = settings["world"]["seed"]
    progress(f"writing the micro-world of seed {seed}")
    world = micro_world.generate(seed)
    progress("training the tokenizer")
    sample = [text for name, n in TOKENIZER_SAMPLE.items() for text in world.train[name][:n]]
    tokenizer = bpe.train(sample, world.names)
    bpe.save(tokenizer, partial / "tokenizer")
    tokenizer_sha256 = tokenizer_digest(partial)
    sources = {}
    for name in micro_world.SOURCES:
        progress(f"tokenising {name}: {len(world.train[name]):,} documents")
        sources[name] = _write_source(partial, name, world, tokenizer, tokenizer_sha256)
    items = {f"mc_{subject}": rows for subject, rows in world.mc.items()}
    items |= {f"general_{name}": rows for name, rows in world.general.items()}
    for name, rows in {**items, "math": world.math, "code": world.code}.items():
        _write_lines(partial / "tasks" / f"{name}.jsonl", rows)
    refresh_tasks(partial, at=path)
    tasks_sha256 = tasks_digest(partial)
    vocab_size = tokenizer.get_vocab_size()
    marker = {
        "settings": settings,
        "sources": {name: vars(facts) for name, facts in sources.items()},
        "tokenizer_sha256": tokenizer_sha256,
        "vocab_size": vocab_size,
        "tasks_sha256": tasks_sha256,
        "sha256": digest(sources, tokenizer_sha256, vocab_size, tasks_sha256),
    }
    (partial / MARKER).write_text(json.dumps(marker, indent=1) + "\n", encoding="utf-8")
    _make_durable(partial)
    partial.rename(path)
    fsync_folder(path.parent)


def _write_source(
    folder: Path, name: str, world: micro_world.Corpus, tokenizer: Any, tokenizer_sha256: str
) -> SourceFacts:
    """One source's files: every training document as BOS, its tokens, EOS."""
    place = folder / "sources" / name
    place.mkdir(parents=True)
    bos, eos = tokenizer.token_to_id(bpe.BOS), tokenizer.token_to_id(bpe.EOS)
    encoded = bpe.encode(tokenizer, world.train[name])
    ids = np.array([i for document in encoded for i in (bos, *document, eos)], DTYPE)
    ids.tofile(place / "train.bin")
    _write_lines(place / "heldout.jsonl", [{"text": text} for text in world.heldout[name]])
    facts = SourceFacts(tokens=len(ids), documents=len(encoded), sha256=sha256_file(place / "train.bin"))
    heldout = {
        "documents": len(world.heldout[name]),
        "bytes": sum(len(text.encode()) for text in world.heldout[name]),
        "sha256": sha256_file(place / "heldout.jsonl"),
    }
    about = {
        "name": name,
        "dtype": "uint16",
        **vars(facts),
        "tokenizer_sha256": tokenizer_sha256,
        "boundary": {"token": bos, "begins": True},
        "heldout": heldout,
    }
    (place / "source.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return facts


def _write_lines(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _make_durable(folder: Path) -> None:
    """Bring every file and name below `folder` to the disk, so that the rename cannot overtake them."""
    for here, _, files in os.walk(folder):
        for file in files:
            with (Path(here) / file).open("rb") as f:
                os.fsync(f.fileno())
        fsync_folder(Path(here))
