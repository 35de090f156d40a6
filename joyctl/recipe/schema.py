"""JSON Schemas of recipe, cluster and suite files, for editors and for our own messages."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel

from joyctl.recipe.cluster import LocalCluster, SlurmCluster
from joyctl.recipe.types import Recipe, Suite

Schema = dict[str, Any]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_DEFAULTS = {
    "description": "Files to start from, as in Hydra; `_self_` stands for this file, and a later one wins.",
    "type": "array",
    "items": {"type": ["string", "object"]},
}


def recipe_schema() -> Schema:
    """JSON Schema (2020-12) of a recipe file."""
    return {"$schema": _DIALECT, "title": "Recipe", **_for_files(Recipe)}


def cluster_schema() -> Schema:
    """JSON Schema (2020-12) of a cluster file: its `kind` says which keys there are."""
    kinds: dict[str, type[BaseModel]] = {"local": LocalCluster, "slurm": SlurmCluster}
    definitions: Schema = {}
    for model in kinds.values():
        bare = _for_files(model)
        definitions |= {**bare.pop("$defs", {}), model.__name__: bare}
    sections = {kind: {"$ref": f"#/$defs/{model.__name__}"} for kind, model in kinds.items()}
    about = "Where jobs run: `local` are processes on this machine, `slurm` are jobs submitted with sbatch."
    return {
        "$schema": _DIALECT,
        "title": "Cluster",
        "description": "Where and how jobs run; never part of a result's identity.",
        "type": "object",
        "properties": {"kind": {"description": about, "enum": list(kinds)}},
        "allOf": [
            *(
                {"if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]}, "then": section}
                for kind, section in sections.items()
            ),
            # A file that starts from another one may leave its kind to that.
            {"if": {"not": {"required": ["kind"]}}, "then": {"anyOf": list(sections.values())}},
        ],
        "$defs": definitions,
    }


def suite_schema() -> Schema:
    """JSON Schema (2020-12) of a suite file, which stands alone: it starts from no other one."""
    return {"$schema": _DIALECT, **type_schema(Suite)}


def _for_files(model: type[BaseModel]) -> Schema:
    """The schema of a file rather than of the composed whole.

    A file may begin from another one (`defaults`), so no key is required of the file alone: an editor that
    says so would be wrong. `joyctl plan` reports what is missing from the whole.
    """
    bare: Schema = _without(type_schema(model), frozenset({"required", "title"}))
    bare["properties"]["defaults"] = _DEFAULTS
    return bare


@cache
def type_schema(model: type[BaseModel]) -> Schema:
    """The schema of the composed whole, as pydantic writes it; not to be changed."""
    return model.model_json_schema()


def _without(node: Any, keywords: frozenset[str], names_are_keys: bool = False) -> Any:
    """A copy without some keywords; the names below `properties` and `$defs` are no keywords."""
    if isinstance(node, list):
        return [_without(item, keywords) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: _without(value, keywords, not names_are_keys and key in {"properties", "$defs"})
        for key, value in node.items()
        if names_are_keys or key not in keywords
    }


def at(schema: Schema, loc: tuple[str | int, ...]) -> Schema:
    """The part of a schema that describes the value at `loc`; {} where the schema knows nothing of it."""
    node = _resolve(schema, schema)
    for part in loc:
        node = _resolve(schema, _child(node, part))
    return node


def _child(node: Schema, part: str | int) -> Schema:
    found: Any = None
    if isinstance(part, int):
        positions = node.get("prefixItems", [])
        found = positions[part] if part < len(positions) else node.get("items")
    elif part in node.get("properties", {}):
        found = node["properties"][part]
    elif "patternProperties" in node:
        found = next(iter(node["patternProperties"].values()))
    else:
        found = node.get("additionalProperties")
    return found if isinstance(found, dict) else {}


def _resolve(schema: Schema, node: Schema) -> Schema:
    """Follow a reference, also of a list's items, keeping the description beside it; of choices take the first that is
    not null, with the `items` of one that is a list."""
    if "anyOf" in node:
        first, *others = [choice for choice in _choices(node) if choice.get("type") != "null"]
        several: Schema = next(({"items": c["items"]} for c in others if c.get("type") == "array"), {})
        node = {**several, **first, **{key: node[key] for key in ("description",) if key in node}}
    if "$ref" in node:
        target = schema["$defs"][node["$ref"].rpartition("/")[2]]
        node = {**target, **{key: node[key] for key in ("description",) if key in node}}
    if "$ref" in node.get("items", {}):
        node = {**node, "items": _resolve(schema, node["items"])}
    return node


def _choices(node: Schema) -> list[Schema]:
    return [choice for inner in node["anyOf"] for choice in (_choices(inner) if "anyOf" in inner else [inner])]


def keys(schema: Schema, above: str = "") -> list[str]:
    """All fixed dotted keys that a schema knows, sections before what is in them."""
    found = []
    node = at(schema, tuple(above.split("."))) if above else at(schema, ())
    for key in node.get("properties", {}):
        name = f"{above}.{key}" if above else key
        found += [name, *keys(schema, name)]
    return found
