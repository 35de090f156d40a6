"""`joyctl data build`: makes a recipe's tokenised data folder, whole or not at all."""

from __future__ import annotations

import glob
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

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
from joyctl.data.tokenise.blueprint import draw, settings_of
from joyctl.data.tokenise.finish import hand_over
from joyctl.data.tokenise.work import Tokenising, open_work
from joyctl.data.work import Reached, Watch, Work, run_here
from joyctl.data.world import corpus as micro_world
from joyctl.data.world import tokenizer as bpe
from joyctl.data.world.tasks import refresh_tasks
from joyctl.errors import Missing, Problem, RecipeError, Refused
from joyctl.recipe.types import Recipe
from joyctl.store.files import fsync_folder, sha256_file
from joyctl.store.fingerprint import changed_keys, fingerprint

TOKENIZER_SAMPLE = {"web": 4000, "math": 1500, "code": 2500, "facts": 1500}
"""Training documents of each source that the world's tokenizer is learned from."""


def _silent(_: str) -> None:
    return None


def _unwatched(_: Reached) -> None:
    return None


def data_folder_for(recipe: Recipe, root: Path) -> Path:
    """Where a recipe's data lies: its own `data.folder`, or below `root` under a name that ends in 8 hex of what
    determines it."""
    if recipe.data.folder is not None:
        path = Path(recipe.data.folder).expanduser()
        return path if path.name else path.absolute()  # `.`, beside which nothing can be named
    if recipe.data.tokenizer is not None:
        return root / f"{recipe.name}-{fingerprint(settings_of(recipe))[:8]}"
    return root / f"micro-world-{fingerprint(_settings(recipe))[:8]}"


def build(
    recipe: Recipe,
    root: Path,
    progress: Callable[[str], None] = _silent,
    *,
    processes: int | None = None,
    watch: Watch | None = None,
) -> DataFolder:
    """Make the recipe's data folder below `root`, or open it when it is already there.

    It is built beside its final name and renamed at the very end, so a build that was killed leaves nothing
    that could be taken for data; of two builds at once the second waits and finds it done. Texts are tokenised in
    `processes` processes (as many as there are cores), and a build that was stopped goes on; `watch` hears how far it
    is. Raises RecipeError for a source that has no data, Missing for a `data.folder` that is not there and for inputs
    that cannot be read, and Refused when something else stands under the final name.
    """
    path = data_folder_for(recipe, root)
    tokenised = recipe.data.tokenizer is not None
    if recipe.data.folder is not None and not tokenised:
        if not path.exists():
            hint = (
                "Name one that joyctl data build has made, or give data.tokenizer to build it there from the sources."
            )
            raise Missing(f"data folder {path} does not exist, and data.folder alone is taken as it is", hint=hint)
        return open_folder(path, recipe=recipe)
    if (path / MARKER).is_file():
        return _opened(recipe, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _lock(path, progress):
        if not (path / MARKER).is_file():
            _require_free(path)
            if tokenised:
                work = _begin(recipe, path)
                if work is not None:
                    for name, other in work.blueprint.taken.items():
                        progress(f"{name}: tokens of the same inputs are in {other}; linked")
                    run_here(work, processes or len(os.sched_getaffinity(0)), watch or _unwatched)
                    for said in _without_heldout(recipe, path):
                        progress(said)
            else:
                _build_world(_settings(recipe), path, progress)
    folder = _opened(recipe, path)
    progress(f"data {path.name}: {sum(s.tokens for s in folder.sources.values()):,} tokens")
    return folder


def begin_build(recipe: Recipe, root: Path) -> Work | None:
    """The work of tokenising a recipe's sources, written down so that jobs can share it; None when it is finished.

    Its parts and its end are up to the caller. Raises as `build` does.
    """
    path = data_folder_for(recipe, root)
    if (path / MARKER).is_file():
        _opened(recipe, path)
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    with _lock(path, _silent):
        _require_free(path)
        return _begin(recipe, path)


def _begin(recipe: Recipe, path: Path) -> Tokenising | None:
    """Draw the build beside `path`; None when all that was left of it was its name. The caller holds the lock."""
    partial = partial_of(path)
    if (partial / MARKER).is_file():  # killed at its very end, or while it was put together
        if json.loads((partial / MARKER).read_bytes())["settings"] == settings_of(recipe):
            hand_over(partial, path)
            return None
        (partial / MARKER).unlink()
    draw(recipe, path, partial)
    return open_work(partial)


def partial_of(path: Path) -> Path:
    """Where a data folder is built that will stand at `path`."""
    return path.with_name(f".{path.name}.partial")


@contextmanager
def _lock(path: Path, progress: Callable[[str], None]) -> Iterator[None]:
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress(f"data {path.name} is being built by another process; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _require_free(path: Path) -> None:
    if path.exists():
        raise Refused(f"{path} is in the way: no finished data folder", hint="Move or remove it.")


def _opened(recipe: Recipe, path: Path) -> DataFolder:
    """The finished folder. Raises Refused where the recipe's own `data.folder` was built from other settings."""
    folder = open_folder(path, recipe=recipe)
    if recipe.data.folder is not None and recipe.data.tokenizer is not None:
        built = json.loads((path / MARKER).read_bytes())["settings"]
        if changed := changed_keys(_by_name(built), _by_name(settings_of(recipe))):
            listed = "\n".join(f"  {key}  {old} → {new}" for key, old, new in changed)
            raise Refused(
                f"data folder {path} was built from other settings\n{listed}",
                hint="Name another data.folder, or remove this one and build it again.",
            )
    return folder


def _without_heldout(recipe: Recipe, path: Path) -> Iterator[str]:
    """Says which sources were too small for any of their documents to be held out."""
    if not (recipe.data.heldout.share and recipe.data.heldout.documents):
        return
    for name, source in recipe.sources.items():
        if source.text is not None and not (path / "sources" / name / "heldout.jsonl").exists():
            yield (
                f"{name}: no document is held out, so it has no held-out loss"
                f" (data.heldout.share is {recipe.data.heldout.share:g})"
            )


def _by_name(value: Any) -> Any:
    """Settings without the places of files: a folder may be used where its texts are not, or lie elsewhere. A glob is
    called after the folder that it looks into as well: many a folder's files match the same one."""
    if isinstance(value, dict):
        return {key: _by_name(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_by_name(inner) for inner in value]
    if not isinstance(value, str) or not value.startswith("/"):
        return value
    parts = Path(value).parts
    first = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return "/".join(parts[first - 1 :])


def _settings(recipe: Recipe) -> dict[str, object]:
    """All that determines the generated data."""
    if recipe.data.world is None:
        where = f"recipe {recipe.name}"
        message = "needs `world` (generated), `tokenizer` (built from texts) or `folder` (tokenised data)"
        raise RecipeError([Problem(where, "data", message)], hint="For the micro-world: data.world.seed=1")
    return {"world": {"version": micro_world.VERSION, "seed": recipe.data.world.seed}}


def _build_world(settings: dict[str, Any], path: Path, progress: Callable[[str], None]) -> None:
    """Build under a temporary name, make everything durable, rename. The caller holds the lock."""
    partial = partial_of(path)
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
