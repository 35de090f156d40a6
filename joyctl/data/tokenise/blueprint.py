"""What a build is to make: its settings, tokenizer and parts, written down for all processes that take part."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from joyctl.data import tokenizers
from joyctl.data.folder import MARKER
from joyctl.data.formats import expand
from joyctl.data.remote import is_url
from joyctl.data.sidecar import SIDECAR
from joyctl.data.tokenise.inputs import Piece, Planned, plan_source
from joyctl.data.tokenise.taken import inputs_digest, take
from joyctl.data.tokenizer_files import require_tokenizer
from joyctl.errors import Missing
from joyctl.recipe.types import Heldout, Recipe, Source
from joyctl.store.files import sha256_file, write_json

FILE = "BUILD.json"
VERSION = 1
"""Raised when equal settings give other bytes."""


@dataclass(frozen=True)
class Blueprint:
    """All that a process needs in order to do a part."""

    path: str
    """Where the finished folder will stand."""
    settings: dict[str, Any]
    sources: dict[str, Source]
    heldout: Heldout
    vocab_size: int
    dtype: str
    special: tokenizers.Special
    parts: tuple[Planned, ...]
    cache: str | None = None
    """Where copies of remote files go, if not into the folder itself."""
    taken: dict[str, str] = field(default_factory=dict)
    """Sources that are there already, with no parts, and the finished folders that they come from."""


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """All in a recipe that determines its data folder: no more, so that other changes find the same folder.

    A tokenizer of a folder counts by its digest, one of the hub by its name; nothing is asked of the network.
    """
    assert recipe.data.tokenizer is not None
    return {
        "version": VERSION,
        "tokenizer": tokenizers.described(recipe.data.tokenizer),
        "heldout": recipe.data.heldout.model_dump(mode="json"),
        "sources": {name: origin(source) for name, source in recipe.sources.items()},
    }


def origin(source: Source) -> dict[str, Any]:
    """Where a source's tokens come from."""
    return source.model_dump(mode="json", include={"text", "tokenised"}, exclude_none=True)


def draw(recipe: Recipe, final: Path, folder: Path) -> Blueprint:
    """Look at the tokenizer and all inputs, cut them into parts and write that down in `folder`.

    What parts were done for inputs that have not changed stays done. Raises Missing for inputs that are not there,
    Refused for tokens of another tokenizer.
    """
    assert recipe.data.tokenizer is not None
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob("sources/*/.*"):  # half a shard, of a process that was killed; nobody is at work now
        left.unlink(missing_ok=True)
    tokenizers.place_files(recipe.data.tokenizer, folder / "tokenizer")
    vocab_size = tokenizers.vocabulary(tokenizers.load(folder / "tokenizer"))
    digest = sha256_file(folder / "tokenizer" / tokenizers.TOKENIZER)
    special = tokenizers.special(folder / "tokenizer")
    heldout = recipe.data.heldout
    parts: list[Planned] = []
    taken: dict[str, str] = {}
    for name, source in recipe.sources.items():
        if source.tokenised is not None:
            files = expand(source.tokenised)
            require_tokenizer(source.tokenised, files, recipe.data.tokenizer, folder / "tokenizer", tokenizers.resolve)
        planned = plan_source(name, source, _determining(digest, special, recipe, source))
        if planned and (other := take(planned, folder, final.parent)) is not None:
            taken[name] = other
        else:
            parts += planned
    blueprint = Blueprint(
        path=str(final),
        settings=settings_of(recipe),
        sources=dict(recipe.sources),
        heldout=heldout,
        vocab_size=vocab_size,
        dtype="uint16" if vocab_size <= 1 << 16 else "uint32",
        special=special,
        parts=tuple(parts),
        cache=recipe.data.cache,
        taken=taken,
    )
    write_json(folder / FILE, {**asdict(blueprint), **_dumped(blueprint)})
    return blueprint


def changed_inputs(recipe: Recipe, folder: Path) -> list[str]:
    """Sources whose files, or the tokens around a document, are not those that finished data folder `folder` was built
    of; what is not on this machine is taken to be as it was."""
    if json.loads((folder / MARKER).read_bytes())["settings"] != settings_of(recipe):
        return []  # its own folder, built elsewhere
    found: list[str] = []
    built = folder / "tokenizer"
    given = Path(recipe.data.tokenizer or "").expanduser()
    digest = sha256_file(built / tokenizers.TOKENIZER)
    try:
        special = tokenizers.special(given)
    except Missing:  # of the hub, or no longer here
        special = tokenizers.special(built)
    for name, source in recipe.sources.items():
        if not _is_local(source):
            continue
        try:
            now = inputs_digest(plan_source(name, source, _determining(digest, special, recipe, source)))
            then = json.loads((folder / "sources" / name / SIDECAR).read_bytes()).get("inputs")
        except (Missing, OSError, ValueError):
            continue
        if then is not None and then != now:
            found.append(name)
    return found


def _is_local(source: Source) -> bool:
    """Whether all that it is made of lies in files that can be asked at once, without a network."""
    if source.tokenised is not None:
        return not any(map(is_url, source.tokenised.files))
    assert source.text is not None  # the recipe's own check
    return source.text.dataset is None and not any(map(is_url, source.text.files or ()))


def _determining(tokenizer_sha256: str, special: tokenizers.Special, recipe: Recipe, source: Source) -> list[object]:
    """All but its files that determines a source's tokens."""
    heldout = recipe.data.heldout.model_dump(mode="json")
    return [VERSION, tokenizer_sha256, asdict(special), heldout, origin(source)]


def read(folder: Path) -> Blueprint:
    """The blueprint in a folder. Raises Missing where there is none."""
    file = folder / FILE
    try:
        text = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        hint = "Begin it: joyctl data build RECIPE"
        raise Missing(f"{folder} is no data folder that is being built", hint=hint) from error
    parts = [Planned(**{**part, "pieces": tuple(Piece(**piece) for piece in part["pieces"])}) for part in text["parts"]]
    return Blueprint(
        **{
            **text,
            "sources": {name: Source.model_validate(source) for name, source in text["sources"].items()},
            "heldout": Heldout.model_validate(text["heldout"]),
            "special": tokenizers.Special(**text["special"]),
            "parts": tuple(parts),
        }
    )


def _dumped(blueprint: Blueprint) -> Mapping[str, Any]:
    return {
        "sources": {name: source.model_dump(mode="json") for name, source in blueprint.sources.items()},
        "heldout": blueprint.heldout.model_dump(mode="json"),
    }
