"""What is wrong with a value, in plain words made from the JSON Schema of its place."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from pydantic_core import ErrorDetails

from joyctl.recipe import schema as schemas
from joyctl.recipe.document import dotted
from joyctl.recipe.rules import Finding, Loc, did_you_mean
from joyctl.recipe.schema import Schema


def explain(error: ErrorDetails, schema: Schema) -> Finding | None:
    """One of pydantic's errors as a finding; None for an error that only follows from another one."""
    loc, value, kind = error["loc"], error["input"], error["type"]
    if kind == "rule":
        finding: Finding = error["ctx"]["finding"]
        section = loc[: len(loc) - len(finding.loc)]  # the finding's paths count from here
        return Finding(loc, finding.message, tuple((*section, *path) for path in finding.related), finding.at_key)
    if kind == "value_error":  # from a validator of ours, which says it in full
        at_key = loc[-1] == "[key]"
        return Finding(loc[:-1] if at_key else loc, str(error["ctx"]["error"]), at_key=at_key)
    if kind == "too_short" and value:
        return None  # its items are at fault, and each has said so
    if loc and loc[-1] == "[key]":
        names = schemas.at(schema, loc[:-2]).get("propertyNames", {})
        if "enum" in names:
            return Finding(loc[:-1], mismatch(value, names, error["msg"]), at_key=True)
        message, rule = f"'{value}' cannot be a name here", names.get("patternErrorMessage")
        return Finding(loc[:-1], f"{message}; {rule}" if rule else message, at_key=True)
    node = schemas.at(schema, loc)
    inside = tuple((*loc, key) for key in value) if isinstance(value, dict) else ()
    if kind == "extra_forbidden":
        return Finding(loc, unknown_key(loc, schema), inside, at_key=True)
    if kind == "missing" and "const" in node:
        return Finding(loc, f"missing; write '{loc[-1]}: {node['const']}'")
    if kind == "missing":
        about = re.split(r"[.:] ", str(node.get("description", "")))[0].rstrip(".").replace("\n", " ")
        return Finding(loc, f"missing; give {expected(node)}" + (f": {_small(about)}" if about else ""))
    return Finding(loc, mismatch(value, node, error["msg"]), inside)


def unknown_key(loc: Loc, schema: Schema) -> str:
    """Name the key that is likely meant, beside it or anywhere; else say which keys there are."""
    name, section = str(loc[-1]).lower(), schemas.at(schema, loc[:-1])
    beside = list(section.get("properties", {}))

    def close(cutoff: float) -> list[str]:
        return [dotted((*loc[:-1], key)) for key in get_close_matches(name, beside, n=1, cutoff=cutoff)]

    longer = [dotted((*loc[:-1], key)) for key in beside if key.startswith(f"{name}_")]
    everywhere = [key for key in schemas.keys(schema) if key.rpartition(".")[2] == name]
    elsewhere = section.get("unknownKey")
    meant = close(0.8) or longer or everywhere or close(0.6) or ([] if elsewhere else close(0.4))
    if meant:
        return f"unknown key; did you mean '{meant[0]}'?"
    known = f"known here: {', '.join(beside)}" if beside else "no key goes here"
    return f"unknown key; {elsewhere or known}"


def mismatch(value: Any, node: Schema, fallback: str) -> str:
    """Why a value does not fit its place."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    kind = _type(node)
    if value is None:
        return f"empty; give {expected(node)}"
    if kind in {"integer", "number"} and number:
        return _out_of_range(value, node)
    if "enum" in node:
        hint = did_you_mean(str(value), list(map(str, node["enum"])))
        return f"{show(value)} is not {expected(node)}{hint}"
    if kind == "string" and isinstance(value, str) and "patternErrorMessage" in node:
        return f"{show(value)} does not do; {node['patternErrorMessage']}"
    if kind == "string" and (number or isinstance(value, bool)):
        return f"{show(value)} is not text; put it in quotes"
    if kind == "array" and isinstance(value, list):
        limit = node.get("maxItems" if len(value) > node.get("maxItems", math.inf) else "minItems")
        return f"{len(value)} values; give {limit}" if value else f"an empty list; give {expected(node)}"
    if kind == "array":
        remedy = "" if isinstance(value, dict) else f"; write [{value}]"
        return f"{show(value)} is not {expected(node)}{remedy}"
    if kind == "string" and value == [] and "items" in node:
        return f"an empty list; give {expected(node)}"
    if kind == "object" and value == {}:
        return f"empty; give {expected(node)}"
    return f"{show(value)} is not {expected(node)}" if node else fallback


def _out_of_range(value: float, node: Schema) -> str:
    if not math.isfinite(value):
        return f"{value} is not a finite number"
    if node["type"] == "integer" and value != int(value):
        return f"{show(value)} is not {expected(node)}"
    low, high = _limits(node)
    if low is not None and high is not None:
        percent = f"; for {value} % write {value / 100:g}" if high == 1 and 2 <= value < 100 else ""
        return f"{value} is not{_interval(node)}{percent}"
    return f"{value} is negative; give {expected(node)}" if value < 0 else f"{value} is not {expected(node)}"


def expected(node: Schema) -> str:
    """What a place wants: `a whole number above 0`, `a list, each a number in (0, 1)`."""
    kind = _type(node)
    if "const" in node:
        return f"'{node['const']}', the only choice"
    if "enum" in node:
        return f"one of {', '.join(map(str, node['enum']))}"
    if kind == "object" and "properties" in node:
        required = node.get("required")
        return f"a section with {', '.join(required)}" if required else f"a section with {_any_of(node)}"
    if kind == "array":
        items: Schema = node.get("items") or (node.get("prefixItems") or [{}])[0]
        count = f"a list of {node['maxItems']}" if "maxItems" in node else "a list"
        return f"{count}, each {expected(items)}"
    if str(node.get("patternErrorMessage")).startswith("give "):
        return str(node["patternErrorMessage"]).removeprefix("give ")
    names = {"integer": "a whole number", "number": "a number", "string": "text", "boolean": "true or false"}
    return names.get(str(kind), "a mapping") + _interval(node) + (" or a list of it" if "items" in node else "")


def _type(node: Schema) -> str | None:
    """A node's type; text that may be written as a bare number (`time: 90`) is text."""
    found = node.get("type")
    return "string" if isinstance(found, list) else found


def _interval(node: Schema) -> str:
    low, high = _limits(node)
    if low is None:
        return ""
    if high is None:
        return f" above {low:g}" if "exclusiveMinimum" in node else f" of {low:g} or more"
    left, right = "(" if "exclusiveMinimum" in node else "[", ")" if "exclusiveMaximum" in node else "]"
    return f" in {left}{low:g}, {high:g}{right}"


def _limits(node: Schema) -> tuple[float | None, float | None]:
    low = node.get("exclusiveMinimum", node.get("minimum"))
    return low, node.get("exclusiveMaximum", node.get("maximum"))


def show(value: Any) -> str:
    """A value as a message shows it."""
    if isinstance(value, Mapping):
        return "a section"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"'{value}'" if isinstance(value, str) else str(value)


def _small(text: str) -> str:
    """Begin in lower case, unless the first word has other capitals (AdamW, LR)."""
    return text[:1].lower() + text[1:] if text.split(" ")[0][1:].islower() or text[1:2] == " " else text


def _any_of(node: Schema) -> str:
    return " or ".join(node["properties"])
