"""Compose one file, its defaults list and overrides with Hydra; say what is wrong where Hydra refuses."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from joyctl.errors import Problem, RecipeError
from joyctl.recipe.document import Document, dotted, read_document, syntax_problem
from joyctl.recipe.locate import shown
from joyctl.recipe.overrides import Override
from joyctl.recipe.rules import did_you_mean

_BASE_60 = re.compile(r"[0-9]:[0-9]")


@dataclass(frozen=True)
class Layer:
    """One file of a composed config."""

    path: Path
    name: str
    """The file as its user knows it."""
    package: tuple[str, ...]
    """Where the file's keys stand in the whole."""


class Composer:
    """Composes one primary file, as often as wanted."""

    def __init__(self, path: Path, name: str, builtin: Path) -> None:
        """`path` is the primary file, `name` what its user calls it, `builtin` a folder to fall back to.

        Raises RecipeError when the file is not readable YAML.
        """
        self.path, self.name = path, name
        self.document = read_document(path, name)
        if start := self.document.scalars.get(("defaults",)):
            message = f"'{start}' is not a list; write [{start}, _self_]"
            raise RecipeError([self._at(self.document, name, ("defaults",), message)])
        own = [v for p, v in sorted(self.document.scalars.items()) if p[:2] == ("hydra", "searchpath")]
        # Setting hydra.searchpath replaces what the file itself says, so that is repeated here.
        self._search_path = [*own, f"file://{builtin}"]
        self.roots = [path.parent, *(Path(p.removeprefix("file://")) for p in self._search_path)]

    def compose(self, overrides: Sequence[Override]) -> tuple[dict[str, Any], list[Override], list[Problem]]:
        """The composed container with its interpolations unresolved, the overrides in it, and the problems.

        Overrides that Hydra refuses are left out and become problems. Raises RecipeError when the files alone
        do not compose.
        """
        with self._hydra() as compose:
            container, problem = self._try(compose, overrides)
            if container is not None:
                return container, list(overrides), []
            # Hydra stops at the first refusal. Adding the overrides one by one finds them all.
            container, problem = self._try(compose, ())
            if container is None:
                raise RecipeError([problem])
            good: list[Override] = []
            problems = []
            for override in overrides:
                wider, problem = self._try(compose, (*good, override), container)
                if wider is None:
                    problems.append(problem)
                else:
                    container = wider
                    good.append(override)
            return container, good, problems

    def may_hold_base_60(self, overrides: Sequence[Override]) -> bool:
        """Whether a file of the config may hold a number such as 12:00:00: told from their texts, without composing."""
        if self.document.base_60 or any(override.is_group for override in overrides):
            return True
        for path, name in self.document.scalars.items():
            if path[0] != "defaults" or name == "_self_":
                continue
            group = path[-1].partition("@")[0] if len(path) == 3 else ""
            file = self._find(f"{group}/{name}" if group else name)
            text = file.read_text(encoding="utf-8") if file is not None else None
            if text is None or "defaults:" in text or _BASE_60.search(text):
                return True
        return False

    def layers(self, overrides: Sequence[Override]) -> list[Layer]:
        """The files that make up the config; a later one wins over an earlier one."""
        from hydra.core.global_hydra import GlobalHydra
        from hydra.types import RunMode

        with self._hydra():
            loader = GlobalHydra.instance().config_loader()
            texts = [self._search_path_override(), *(o.for_hydra for o in overrides if not o.is_sweep)]
            defaults = loader.compute_defaults_list(self.path.name, texts, RunMode.RUN).defaults
        layers = []
        for default in defaults:
            path = self._find(default.config_path or "")
            if path is not None:
                package = tuple((default.package or "").split(".")) if default.package else ()
                name = self.name if path == self.path else shown(path)
                layers.append(Layer(path, name, package))
        return layers

    @contextmanager
    def _hydra(self) -> Iterator[Any]:
        from hydra import compose, initialize_config_dir
        from hydra.core.global_hydra import GlobalHydra

        # A program may be inside a Hydra of its own, which refuses a second one: put it aside meanwhile.
        outer, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
        try:
            with warnings.catch_warnings():
                # A defaults list without `_self_` is fine: the file's own keys come last.
                warnings.filterwarnings("ignore", ".*Defaults list is missing `_self_`", UserWarning)
                with initialize_config_dir(config_dir=str(self.path.parent), version_base="1.3"):
                    yield compose
        finally:
            GlobalHydra.instance().hydra = outer

    def _search_path_override(self) -> str:
        quoted = (path.replace("\\", "\\\\").replace("'", "\\'") for path in self._search_path)
        return "hydra.searchpath=[" + ", ".join(f"'{path}'" for path in quoted) + "]"

    def _find(self, config: str) -> Path | None:
        name = config if config.endswith(".yaml") else f"{config}.yaml"
        return next((root / name for root in self.roots if (root / name).is_file()), None)

    def _try(
        self, compose: Any, overrides: Sequence[Override], before: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any] | None, Problem]:
        """The container, or None and the problem, which is the last override's if `before` is given."""
        from hydra.errors import HydraException
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        nothing = Problem("", "", "")
        texts = [self._search_path_override(), *(o.for_hydra for o in overrides)]
        try:
            container = OmegaConf.to_container(compose(self.path.name, overrides=texts), resolve=False)
            assert isinstance(container, dict)
            return {str(key): value for key, value in container.items()}, nothing
        except (
            HydraException,
            OmegaConfBaseException,
            yaml.YAMLError,
            ValueError,
            OSError,
            RecursionError,
        ) as error:
            if before is None:
                return None, self._file_problem(error)
            return None, _override_problem(overrides[-1], before, error)

    def _file_problem(self, error: Exception) -> Problem:
        """Why the files do not compose, at the place in them."""
        if isinstance(error, yaml.YAMLError):
            mark = getattr(error, "problem_mark", None)
            path = Path(mark.name) if mark is not None else self.path
            if path != self.path and path.is_file():
                read_document(path, shown(path))  # raises the better error
            return syntax_problem(error, self.name if path == self.path else shown(path))
        if isinstance(error, RecursionError):
            starts = ("defaults",) in self.document.keys
            message = "the file starts from itself" if starts else "an anchor contains itself"
            return self._at(self.document, self.name, ("defaults",), message)
        missing = getattr(error, "missing_cfg_file", None)
        if missing:
            return self._missing_default(str(missing), str(error), getattr(error, "options", None) or ())
        key = getattr(error.__cause__, "full_key", None) or getattr(error, "full_key", None)
        message = reason(error)
        path_ = tuple(str(key).split(".")) if key else ("defaults",)
        return self._at(self.document, self.name, path_, message)

    def _missing_default(self, missing: str, text: str, options: Sequence[str]) -> Problem:
        """A defaults list names a file that is nowhere."""
        parent = re.match(r"In '(.+?)'", text)
        path = (self._find(parent.group(1)) if parent else None) or self.path
        document, name = self.document, self.name
        if path != self.path:
            name = shown(path)
            document = read_document(path, name)
        group, _, stem = missing.rpartition("/")
        files = {file.stem for root in self.roots for file in root.glob("*.yaml")} - {path.stem}
        message = f"no file {missing}.yaml here or built in{did_you_mean(stem, options or sorted(files))}"
        named = ((p, value.removesuffix(".yaml")) for p, value in document.scalars.items())
        entries = [p for p, value in named if p[0] == "defaults" and value == stem]
        matching = [p for p in entries if not group or p[-1].partition("@")[0] == group]
        return self._at(document, name, matching[0] if matching else ("defaults",), message)

    def _at(self, document: Document, name: str, path: tuple[str, ...], message: str) -> Problem:
        spot = document.values.get(path)
        place = f"{spot.line}:{spot.column}" if spot else "1:1"
        return Problem(f"{name}:{place}", dotted(int(p) if p.isdigit() else p for p in path), message)


def _override_problem(override: Override, before: dict[str, Any], error: Exception) -> Problem:
    """Why Hydra refuses an override that the grammar allows."""
    from hydra.core.override_parser.types import OverrideType

    message = reason(error)
    options = getattr(error, "options", None)
    if options:
        message = f"no such choice; there are {', '.join(options)}"
    elif override.parsed.type == OverrideType.DEL and "does not exist" in message:
        near = did_you_mean(override.key, list(_keys(before)))
        message = f"there is no such key to take out{near}"
    elif override.parsed.type == OverrideType.ADD and "already" in message:
        message = f"there is such a key already; write '{override.text.removeprefix('+')}'"
    return Problem(override.where, "", message)


def reason(error: Exception) -> str:
    """What Hydra or OmegaConf says, in one line, and plainer where it is about an interpolation."""
    text = str(error.__cause__ or error).splitlines()[0]
    if found := re.match(r"Interpolation key '(.+)' not found", text):
        return f"${{{found[1]}}} refers to no key"
    return text.replace("no viable alternative at input", "not an interpolation, or one that is not closed:")


def _keys(container: dict[str, Any], above: str = "") -> Iterator[str]:
    for key, value in container.items():
        yield f"{above}{key}"
        if isinstance(value, dict):
            yield from _keys(value, f"{above}{key}.")
