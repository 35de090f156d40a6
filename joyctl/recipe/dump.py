"""Write a recipe as the text of a recipe file."""

from __future__ import annotations

import re
from typing import Any

import yaml

from joyctl.recipe.types import Recipe


def dump_recipe(recipe: Recipe) -> str:
    """The text of a recipe file that loads to the same recipe; every value stands, defaults too."""
    values = _escaped(recipe.model_dump(mode="json", exclude_none=True))
    text: str = yaml.dump(
        values, Dumper=_Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=100
    )
    return text


def _escaped(value: Any) -> Any:
    """Text that happens to hold `${` must not be read as an interpolation."""
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Quotes text that begins like a number: Hydra reads 1e3 as one, although plain YAML 1.1 does not."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = '"' if re.match(r"[-+.\d]", text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
