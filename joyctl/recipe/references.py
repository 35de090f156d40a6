"""Where a recipe's references and its base lie: folders are made absolute, names on the hub stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from joyctl.errors import Problem, RecipeError
from joyctl.recipe.rules import Finding
from joyctl.recipe.types import Recipe

__all__ = ["is_folder", "place_base", "place_references"]


def is_folder(model: str) -> bool:
    """Whether a reference's `model` is meant as a folder; a name on the hub never begins like a path."""
    return model.startswith(("/", "~", "."))


def place_references(recipe: Recipe, beside: Path, problem: Callable[[Finding], Problem]) -> Recipe:
    """The recipe with the folders among its references absolute, whether they are there or not.

    A relative one is looked for in `beside`, the recipe's folder, then in the current one. `org/name` is a folder where
    there is one, and else a name on the hub. Raises RecipeError for a folder with a revision.
    """
    placed, problems = {}, []
    for name, reference in recipe.references.items():
        model = _placed(reference.model, beside)
        if is_folder(model) and reference.revision is not None:
            message = "only a model on the hub has revisions; this is a folder"
            problems.append(problem(Finding(("references", name, "revision"), message)))
        placed[name] = reference.model_copy(update={"model": model})
    if problems:
        raise RecipeError(problems)
    return recipe.model_copy(update={"references": placed}) if placed else recipe


def place_base(recipe: Recipe, beside: Path) -> Recipe:
    """The recipe with the folders of its base absolute, looked for as those of references are."""
    base = recipe.base
    if base is None:
        return recipe
    placed = {
        "dcp": base.dcp and _folder(base.dcp, beside),
        "hf": base.hf and _placed(base.hf, beside),
        "tokenizer": base.tokenizer and _folder(base.tokenizer, beside),
    }
    return recipe.model_copy(update={"base": base.model_copy(update=placed)})


def _folder(path: str, beside: Path) -> str:
    """What can only be a folder."""
    return _placed(path if is_folder(path) else f"./{path}", beside)


def _placed(model: str, beside: Path) -> str:
    path = Path(model).expanduser()
    places = [folder.absolute() / path for folder in (beside, Path.cwd())]
    found = next((place for place in places if place.is_dir()), None)
    if found is None and not is_folder(model):
        return model
    return str((found or places[0]).resolve())
