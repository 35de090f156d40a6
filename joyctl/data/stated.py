"""Sizes in the recipe's own words, for planning where its data is not."""

from __future__ import annotations

from pathlib import Path

from joyctl.data.build import data_folder_for
from joyctl.data.folder import MARKER, DataFolder, SourceFacts
from joyctl.errors import Missing
from joyctl.recipe.types import Recipe

UNKNOWN = "unknown"
"""Stands for every digest of data that nobody here has seen."""


def lacks_data(recipe: Recipe, root: Path) -> bool:
    """Whether the recipe's data is not on this machine and has first to be tokenised, here or elsewhere."""
    if recipe.data.tokenizer is not None:
        return not (data_folder_for(recipe, root) / MARKER).is_file()
    return recipe.data.folder is not None and not data_folder_for(recipe, root).exists()


def stated_folder(recipe: Recipe, root: Path) -> DataFolder:
    """The folder that the recipe names, as its `sources.*.tokens` describe it. Raises Missing where one lacks them."""
    path = data_folder_for(recipe, root)
    unsaid = [name for name, source in recipe.sources.items() if source.tokens is None]
    if unsaid and recipe.data.tokenizer is not None:
        raise Missing(
            f"data folder {path} is not built, and the recipe does not say how large {', '.join(unsaid)} is",
            hint=f"Build it: joyctl data build RECIPE, or give sources.{unsaid[0]}.tokens to plan without it.",
        )
    if unsaid:
        raise Missing(
            f"data folder {path} does not exist, and the recipe does not say how large {', '.join(unsaid)} is",
            hint=f"Give sources.{unsaid[0]}.tokens to plan without the data; to train, tokenise it into that folder.",
        )
    return DataFolder(
        path=path.absolute(),
        sources={name: SourceFacts(source.tokens or 0, 0, UNKNOWN) for name, source in recipe.sources.items()},
        tokenizer_sha256=UNKNOWN,
        vocab_size=recipe.model.vocab_size,
        tasks_sha256=UNKNOWN,
        sha256=UNKNOWN,
        stated=True,
    )


def nothing_to_train_on(recipe: Recipe, root: Path, cluster: str | None = None) -> Missing:
    """Why nothing can be trained: the data folder is not here, and a recipe's words are no tokens.

    `cluster` is the one that would train, where it could build the folder as well.
    """
    path = data_folder_for(recipe, root)
    if recipe.data.tokenizer is not None:
        again = f"joyctl data build RECIPE --cluster {cluster}" if cluster else "joyctl data build RECIPE"
        return Missing(
            f"data folder {path} is not built; only plan and --dry-run can do without it", hint=f"Build it: {again}"
        )
    datasets = [f"{name} ({source.dataset})" for name, source in recipe.sources.items() if source.dataset]
    return Missing(
        f"data folder {path} does not exist; only plan and --dry-run can do without it",
        hint=(
            f"Tokenise the recipe's sources into it{': ' + ', '.join(datasets) if datasets else ''}"
            " (docs/design.md, 'On disk'), or name the folder that has them: data.folder=DIR"
        ),
    )
