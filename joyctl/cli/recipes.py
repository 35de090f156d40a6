"""`joyctl show` and `joyctl schema`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from joyctl.cli.words import Json, Words, split_words


def show(words: Words = None, as_json: Json = False) -> None:
    """Print a recipe with all its defaults and changes resolved."""
    from joyctl.recipe.load import dump_recipe, load_recipe

    recipe = load_recipe(*split_words(words))
    typer.echo(recipe.model_dump_json(indent=1) if as_json else dump_recipe(recipe), nl=as_json)


def schema(
    kind: Annotated[str, typer.Argument(help="recipe or cluster", metavar="[recipe|cluster]")] = "recipe",
) -> None:
    """Print the JSON Schema that editors use to complete and check recipe or cluster files."""
    from joyctl.recipe.schema import cluster_schema, recipe_schema

    if kind not in ("recipe", "cluster"):
        raise typer.BadParameter(f"'{kind}' has no schema; give recipe or cluster")
    typer.echo(json.dumps(recipe_schema() if kind == "recipe" else cluster_schema(), indent=1))
