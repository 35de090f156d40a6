"""Where every key and value of one YAML file stands, and whether the file is YAML at all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from joyctl.errors import Problem, RecipeError

# Keys and list indices as text, so that a path reads the same whatever type YAML gave to a key.
Path_ = tuple[str, ...]


@dataclass(frozen=True)
class Spot:
    """A place in a file, counted from 1."""

    line: int
    column: int


@dataclass
class Document:
    """The places in one file."""

    keys: dict[Path_, Spot] = field(default_factory=dict)
    """Where a key (or a list's item) begins."""
    values: dict[Path_, Spot] = field(default_factory=dict)
    """Where a value begins; its key where the value begins on a later line."""
    scalars: dict[Path_, str] = field(default_factory=dict)
    """Scalar values as written, without quotes."""
    base_60: dict[Path_, str] = field(default_factory=dict)
    """Plain scalars such as 12:00:00 that YAML 1.1 reads as a number in base 60 (43200); nobody means that."""
    twice: list[tuple[Path_, Spot, Spot]] = field(default_factory=list)
    """Keys that stand twice in one mapping: the path, the first place, the second."""


def read_document(path: Path, name: str) -> Document:
    """Read the places of a YAML file; errors call the file `name`.

    Raises RecipeError when the file cannot be read, is not YAML, is not a mapping, or has a key twice.
    """
    try:
        # The parser is the one that Hydra reads with, so both agree on what is YAML and where it is not.
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise RecipeError([Problem(f"{name}:", "", f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise RecipeError([Problem(f"{name}:", "", f"is not UTF-8 text at byte {error.start}")]) from error
    except yaml.YAMLError as error:
        raise RecipeError([syntax_problem(error, name)]) from error
    document = Document()
    if root is None:
        return document
    if not isinstance(root, yaml.MappingNode):
        message = f"the file should map keys to values; it is {_kind(root)}"
        raise RecipeError([Problem(f"{name}:{_spot(root).line}:{_spot(root).column}", "", message)])
    _walk(root, (), document, ())
    if document.twice:
        raise RecipeError([_twice(name, *found) for found in document.twice])
    return document


def syntax_problem(error: yaml.YAMLError, name: str) -> Problem:
    """A parser's error in plain words, at its place in file `name`."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return Problem(f"{name}:", "", f"not valid YAML: {str(error).splitlines()[0]}")
    mark = error.problem_mark
    text = error.problem or "unreadable"
    if "'\\t'" in text:
        text = "a tab; YAML indents with spaces"
    elif "mapping values are not allowed" in text:
        text = "a second ': ' where a value was expected; put the value in quotes, or check the indentation"
    elif "<block end>" in text:
        text = "indentation that fits no mapping or list above it"
    elif error.context_mark is not None:
        text += f" ({error.context}, begun at line {error.context_mark.line + 1})"
    return Problem(f"{name}:{mark.line + 1}:{mark.column + 1}", "", f"not valid YAML: {text}")


def _twice(name: str, path: Path_, first: Spot, second: Spot) -> Problem:
    message = f"given twice; the other is at {name}:{first.line}:{first.column}"
    return Problem(f"{name}:{second.line}:{second.column}", ".".join(path), message)


def _walk(node: yaml.Node, path: Path_, document: Document, above: tuple[int, ...]) -> None:
    if id(node) in above:  # an anchor inside itself
        return
    above = (*above, id(node))
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, Spot] = {}
        for key, value in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    _walk(merged, path, document, above)
                continue
            name, here = str(key.value), (*path, str(key.value))
            if name in seen:
                document.twice.append((here, seen[name], _spot(key)))
            seen.setdefault(name, _spot(key))
            document.keys[here] = _spot(key)
            same_line = key.end_mark.line == value.start_mark.line
            document.values[here] = _spot(value) if same_line else _spot(key)
            _walk(value, here, document, above)
    elif isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            here = (*path, str(i))
            document.keys[here] = document.values[here] = _spot(item)
            _walk(item, here, document, above)
    else:
        document.scalars[path] = node.value
        if ":" in node.value and node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float"):
            document.base_60[path] = node.value


def _spot(node: yaml.Node) -> Spot:
    return Spot(node.start_mark.line + 1, node.start_mark.column + 1)


def _kind(node: yaml.Node) -> str:
    return "a list" if isinstance(node, yaml.SequenceNode) else f"'{node.value}'"


def dotted(path: Iterable[str | int]) -> str:
    """A path as messages write it: `phase.durations[2]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text
