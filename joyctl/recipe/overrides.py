"""Overrides of the command line, in Hydra's own grammar: parse them and list the values of a sweep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from joyctl.errors import Problem, RecipeError

MAX_POINTS = 10_000
"""Most points of a grid; a campaign of more is a slip of the pen."""


@dataclass(frozen=True)
class Override:
    """One override as the user wrote it."""

    text: str
    parsed: Any
    """Hydra's `Override`."""
    is_group: bool
    """It chooses a file of a config group rather than sets a value."""

    @property
    def where(self) -> str:
        """What a problem names as its place."""
        return f"override '{self.text}':"

    @property
    def key(self) -> str:
        """The key without its sign."""
        return str(self.parsed.key_or_group)

    @property
    def path(self) -> tuple[str, ...]:
        """The key as a path."""
        return () if self.is_group else tuple(self.key.split("."))

    @property
    def is_sweep(self) -> bool:
        """It gives several values."""
        return bool(self.parsed.is_sweep_override())

    @property
    def for_hydra(self) -> str:
        """The text that Hydra gets.

        `key=value` becomes `++key=value`: the recipe's type decides which keys there are, not what the file
        happens to mention, so an optional key can be set that the file leaves out.
        """
        from hydra.core.override_parser.types import OverrideType

        changes_value = self.parsed.type == OverrideType.CHANGE and not self.is_group
        return f"++{self.text}" if changes_value else self.text


def parse_overrides(texts: Sequence[str], roots: Sequence[Path]) -> list[Override]:
    """Parse overrides; `roots` are the folders that may hold config groups.

    Raises RecipeError with every override that is not in the grammar.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    found, problems = [], []
    for text in texts:
        where = f"override '{text}':"
        try:
            parsed = parser.parse_override(text)
        except HydraException as error:
            problems.append(Problem(where, "", _grammar(text, str(error))))
            continue
        key = parsed.key_or_group
        if not key:
            problems.append(Problem(where, "", "no key; write key=value"))
        elif key == "hydra" or key.startswith(("hydra.", "hydra/")):
            problems.append(Problem(where, "", "Hydra's own settings have no effect here"))
        else:
            is_group = "/" in key or parsed.package is not None or any((r / key).is_dir() for r in roots)
            found.append(Override(text, parsed, is_group))
    swept = [o for o in found if o.is_sweep]
    for override in swept:
        if sum(o.key == override.key for o in found) > 1:
            problems.append(Problem(override.where, "", f"'{override.key}' is given by another override too"))
    if problems:
        raise RecipeError(problems)
    return found


def alternatives(override: Override) -> list[tuple[Any, str]]:
    """The values of a sweep, each with its text; raises RecipeError for a kind that has no list of values."""
    from hydra.core.override_parser.types import QuotedString, RangeSweep, Transformer
    from hydra.errors import HydraException

    try:
        elements = list(islice(override.parsed.sweep_iterator(Transformer.identity), MAX_POINTS + 1))
        texts = list(islice(override.parsed.sweep_string_iterator(), MAX_POINTS + 1))
    except HydraException as error:
        message = "this kind of sweep has no list of values; give them: key=a,b or key=range(1,4)"
        raise RecipeError([Problem(override.where, "", message)]) from error
    if isinstance(override.parsed.value(), RangeSweep):
        # Hydra adds the step up: the sixth of range(0.01,1,0.01) would be 0.060000000000000005, in names too.
        elements = [round(e, 12) if isinstance(e, float) else e for e in elements]
        texts = [str(e) if isinstance(e, float) else t for e, t in zip(elements, texts, strict=True)]
    texts = [e.text if isinstance(e, QuotedString) else t for e, t in zip(elements, texts, strict=True)]
    again = [text for text, count in Counter(texts).items() if count > 1]
    if again:
        raise RecipeError([Problem(override.where, "", f"{again[0]} stands twice in the sweep")])
    return [(_plain(element), text) for element, text in zip(elements, texts, strict=True)]


def _plain(element: Any) -> Any:
    """A parsed element as the value that YAML would give."""
    from hydra.core.override_parser.types import QuotedString

    if isinstance(element, QuotedString):
        return element.text
    if isinstance(element, list):
        return [_plain(item) for item in element]
    if isinstance(element, dict):
        return {_plain(key): _plain(value) for key, value in element.items()}
    return element


def _grammar(text: str, error: str) -> str:
    """Why Hydra's grammar refuses an override, and what to write instead."""
    key, equals, value = text.partition("=")
    reason = error.splitlines()[0]
    if " while evaluating " in reason:
        return reason.split(": ", 1)[-1][:1].lower() + reason.split(": ", 1)[-1][1:]
    if not equals:
        return "not an override; write key=value, or ~key to take a key out"
    if not key.strip("+~").replace(".", "").replace("_", "").replace("/", "").replace("@", "").isalnum():
        return f"'{key}' is not a key; write key=value with a key such as training.tokens"
    quoted = value.replace("'", "\\'")
    reason = reason.split(" expecting ")[0]
    return f"not in Hydra's override grammar ({reason}); if it is text, quote it: \"{key}='{quoted}'\""
