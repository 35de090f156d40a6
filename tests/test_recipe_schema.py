"""The JSON Schemas that editors use say what joyctl itself accepts."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from joyctl.recipe.cluster import LocalCluster, SlurmCluster
from joyctl.recipe.dump import dump_recipe
from joyctl.recipe.load import load_recipe
from joyctl.recipe.locate import builtin_folder
from joyctl.recipe.schema import cluster_schema, recipe_schema, suite_schema
from joyctl.recipe.types import Recipe


def errors(schema: dict[str, Any], values: object) -> list[str]:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(schema)
    return [error.json_path for error in jsonschema.Draft202012Validator(schema).iter_errors(values)]


def test_the_built_in_files_fit_their_schemas():
    schemas = (("recipe", recipe_schema()), ("cluster", cluster_schema()), ("suite", suite_schema()))
    for kind, schema in schemas:
        files = sorted(builtin_folder(kind).glob("*.yaml"))
        assert files
        for file in files:
            assert errors(schema, yaml.safe_load(re.sub(r"(?<![\d.])(\d+)e-", r"\1.0e-", file.read_text()))) == [], file


def test_a_dumped_recipe_fits():
    assert errors(recipe_schema(), yaml.safe_load(dump_recipe(load_recipe()))) == []


def test_a_file_that_starts_from_another_fits_without_the_keys_it_takes_from_there():
    assert errors(recipe_schema(), {"defaults": ["tiny", "_self_"], "model": {"dim": 64}}) == []


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"eval": {"sweet": "core"}}, "$.eval"),
        ({"phase": {"durations": [1.3]}}, "$.phase.durations[0]"),
        ({"mixes": {"base": {"web": -1}}}, "$.mixes.base.web"),
        ({"sources": {"web": {"category": "large"}}}, "$.sources.web.category"),
        ({"name": "My Own"}, "$.name"),
    ],
)
def test_what_joyctl_refuses_an_editor_marks(values: object, path: str):
    assert errors(recipe_schema(), values) == [path]


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({}, "$"),
        ({"tasks": []}, "$.tasks"),
        ({"tasks": [{"task": "mmlu", "n_shots": 5}]}, "$.tasks[0]"),
        ({"tasks": [{"task": "mmlu", "n_shot": -1}]}, "$.tasks[0].n_shot"),
        ({"tasks": [{"task": "mmlu", "metric": "acc"}]}, "$.tasks[0].metric"),
        ({"tasks": [{"task": "mmlu", "baseline": 25}]}, "$.tasks[0].baseline"),
    ],
)
def test_what_joyctl_refuses_in_a_suite_an_editor_marks(values: object, path: str):
    assert errors(suite_schema(), values) == [path]


@pytest.mark.parametrize("schema", [recipe_schema(), cluster_schema(), suite_schema()])
def test_every_key_is_explained(schema: dict[str, Any]):
    sections = [schema, *schema.get("$defs", {}).values()]
    bare = [
        key
        for section in sections
        for key, node in section["properties"].items()
        if "description" not in node and "description" not in schema["$defs"][node["$ref"].rpartition("/")[2]]
    ]
    assert bare == []


def test_the_schema_knows_every_key_of_the_types():
    assert set(recipe_schema()["properties"]) == {*Recipe.model_fields, "defaults"}
    for kind in (LocalCluster, SlurmCluster):
        section = cluster_schema()["$defs"][kind.__name__]
        assert set(section["properties"]) == {*kind.model_fields, "defaults"}
