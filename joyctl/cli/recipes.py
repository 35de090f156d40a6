"""`joyctl show` and `joyctl schema`."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from joyctl.cli.words import Json, Words, split_words


def show(words: Words = None, as_json: Json = False) -> None:
    """Print a recipe with all its defaults and changes resolved."""
    from joyctl.recipe.load import dump_recipe, load_recipe

    recipe = load_recipe(*split_words(words))
    typer.echo(recipe.model_dump_json(indent=1) if as_json else dump_recipe(recipe), nl=as_json)


def schema(
    kind: Annotated[
        str, typer.Argument(help="recipe, cluster, suite or report", metavar="[recipe|cluster|suite|report]")
    ] = "recipe",
) -> None:
    """Print the JSON Schema of recipe, cluster or suite files, for editors, or of report.json, for scripts."""
    from joyctl.recipe.schema import cluster_schema, recipe_schema, suite_schema

    schemas = {"recipe": recipe_schema, "cluster": cluster_schema, "suite": suite_schema, "report": _report_schema}
    if kind not in schemas:
        raise typer.BadParameter(f"'{kind}' has no schema; give {', '.join(schemas)}")
    typer.echo(json.dumps(schemas[kind](), indent=1))


def _report_schema() -> dict[str, Any]:
    from joyctl.report.jsonschema import report_schema

    return report_schema()
