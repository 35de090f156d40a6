"""Which file or override set a value, so that a problem points at it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import yaml

from joyctl.errors import Problem
from joyctl.recipe.compose import Layer
from joyctl.recipe.document import Document, Path_, dotted, read_document
from joyctl.recipe.overrides import Override
from joyctl.recipe.rules import Finding, Loc

_COMMAND_LINE = math.inf
"""Rank of overrides; that of a file is its place among the files."""


class Origins:
    """Places findings; reads the files only when there is something to place."""

    def __init__(self, layers: Callable[[], Sequence[Layer]], overrides: Sequence[Override]) -> None:
        self._list_layers, self._overrides = layers, overrides

    @cached_property
    def _layers(self) -> list[tuple[Layer, Document]]:
        return [(layer, read_document(layer.path, layer.name)) for layer in self._list_layers()]

    def problem(self, finding: Finding) -> Problem:
        """A finding at the place that set the value, or at the last to set one that it is related to."""
        places = [self._find(loc, finding.at_key) for loc in (finding.loc, *finding.related)]
        rank, where, path = max(places, key=lambda place: place[0])  # the first of equals: `loc` itself
        key = "" if rank == _COMMAND_LINE and path == _text(finding.loc) else dotted(finding.loc)
        return Problem(where, key, finding.message)

    def give_back_text(self, container: dict[str, Any]) -> None:
        """Put the text back where a file says `12:00:00` and YAML 1.1 made a number of it."""
        for layer, document in self._layers:
            for below, text in document.base_60.items():
                path = (*layer.package, *below)
                if not any(o.path and o.path == path[: len(o.path)] for o in self._overrides):
                    _replace(container, path, yaml.safe_load(text), text)

    def _find(self, loc: Loc, at_key: bool) -> tuple[float, str, Path_]:
        """What set the value at `loc`: its rank (a higher one wins), its place, and the path that it set."""
        path = _text(loc)
        set_it = [o for o in self._overrides if o.path and o.path == path[: len(o.path)]]
        if set_it:
            return _COMMAND_LINE, set_it[-1].where, set_it[-1].path
        for end in range(len(path), 0, -1):
            # A key that is nowhere is missing from the nearest section that is somewhere.
            found = self._in_files(loc[:end], at_key or end < len(path))
            if found is not None:
                return *found, path
            inside = [o for o in self._overrides if o.path[:end] == path[:end]]
            if inside:
                return _COMMAND_LINE, inside[-1].where, inside[-1].path
        return -1, f"{self._layers[-1][0].name}:1:1", path

    def _in_files(self, loc: Loc, at_key: bool) -> tuple[int, str] | None:
        path = _text(loc)
        # Lists replace each other whole, so an item is looked for only in the last file that has its list.
        whole = next((i for i, part in enumerate(loc) if isinstance(part, int)), len(loc))
        for rank in range(len(self._layers) - 1, -1, -1):
            layer, document = self._layers[rank]
            depth = len(layer.package)
            if path[:depth] != layer.package or path[depth:whole] not in document.keys:
                continue
            spot = (document.keys if at_key else document.values).get(path[depth:])
            return (rank, f"{layer.name}:{spot.line}:{spot.column}") if spot else None
        return None


def _replace(node: Any, path: Path_, old: object, new: str) -> None:
    """Replace the value at a path, if there is one and it is `old`."""
    *above, last = path
    for part in above:
        node = _child(node, part)
    if _child(node, last) == old:
        node[int(last) if isinstance(node, list) else last] = new


def _child(node: Any, part: str) -> Any:
    if isinstance(node, list):
        return node[int(part)] if part.isdigit() and int(part) < len(node) else None
    return node.get(part) if isinstance(node, dict) else None


def _text(loc: Loc) -> Path_:
    return tuple(map(str, loc))
