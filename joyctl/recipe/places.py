"""Where a recipe's texts, tokens and tokenizer lie: paths are made absolute; URLs and names on the hub stay."""

from __future__ import annotations

from collections.abc import Mapping
from glob import escape, has_magic
from pathlib import Path
from typing import Any

from joyctl.recipe.references import is_folder
from joyctl.recipe.types import Recipe, Source

__all__ = ["place_data"]


def place_data(recipe: Recipe, beside: Path) -> Recipe:
    """The recipe with the paths under `data` and `sources` absolute, whether anything is there or not.

    A relative one is looked for in `beside`, the recipe's folder, then in the current one. A tokenizer or a dataset
    that does not begin like a path is a folder where there is one, and else a name on the hub. `data.folder` stays.
    """
    given = {"tokenizer": recipe.data.tokenizer and _folder_or_name(recipe.data.tokenizer, beside)}
    if recipe.data.cache is not None:
        given["cache"] = str((beside / Path(recipe.data.cache).expanduser()).absolute())
    sources = {name: placed for name, source in recipe.sources.items() if (placed := _source(source, beside))}
    changed: dict[str, Any] = {}
    if any(value is not None for value in given.values()):
        changed["data"] = recipe.data.model_copy(update=given)
    if sources:
        changed["sources"] = {**recipe.sources, **sources}
    return recipe.model_copy(update=changed) if changed else recipe


def _source(source: Source, beside: Path) -> Source | None:
    """The source with its paths in place; None where it has none."""
    changed: dict[str, Any] = {}
    if (text := source.text) is not None:
        given: Mapping[str, Any] = (
            {"files": tuple(_file(file, beside) for file in text.files)}
            if text.files is not None
            else {"dataset": text.dataset and _folder_or_name(text.dataset, beside)}
        )
        changed["text"] = text.model_copy(update=given)
    if (tokens := source.tokenised) is not None:
        given = {
            "files": tuple(_file(file, beside) for file in tokens.files),
            "tokenizer": tokens.tokenizer and _folder_or_name(tokens.tokenizer, beside),
        }
        changed["tokenised"] = tokens.model_copy(update=given)
    return source.model_copy(update=changed) if changed else None


def _file(pattern: str, beside: Path) -> str:
    """A path or glob, absolute: below the first of the two folders where it names a file."""
    if "://" in pattern:
        return pattern
    path, folders = Path(pattern).expanduser(), [beside.absolute(), Path.cwd()]
    places = [folder / path for folder in folders]
    if (found := next((place for place in places if place.exists()), None)) is None and has_magic(pattern):
        places = [Path(escape(str(folder))) / path for folder in folders]  # a folder's own name is no glob
        found = next((place for place in places if _matches(place)), None)
    return str(found or places[0])


def _matches(place: Path) -> bool:
    return any(Path(place.anchor).glob(str(place.relative_to(place.anchor))))


def _folder_or_name(given: str, beside: Path) -> str:
    path = Path(given).expanduser()
    places = [folder.absolute() / path for folder in (beside, Path.cwd())]
    found = next((place for place in places if place.is_dir()), None)
    if found is None and not is_folder(given):
        return given
    return str((found or places[0]).resolve())
