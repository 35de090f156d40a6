"""Load recipes and clusters: a built-in name or a YAML file, with overrides, to frozen types."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from joyctl.errors import Problem, RecipeError
from joyctl.recipe.cluster import Cluster
from joyctl.recipe.compose import Composer
from joyctl.recipe.dump import dump_recipe
from joyctl.recipe.locate import Kind, builtin_folder, locate, shown
from joyctl.recipe.origin import Origins
from joyctl.recipe.overrides import MAX_POINTS, Override, alternatives, parse_overrides
from joyctl.recipe.places import place_data
from joyctl.recipe.references import place_base, place_references
from joyctl.recipe.rules import Finding
from joyctl.recipe.suite import load_suite
from joyctl.recipe.types import Recipe, Suite
from joyctl.recipe.validate import Validator, cluster_type, place

__all__ = [
    "GridPoint",
    "LoadedCluster",
    "dump_recipe",
    "load_cluster",
    "load_cluster_file",
    "load_recipe",
    "load_recipe_grid",
    "load_swept",
]

T = TypeVar("T", bound=BaseModel)
Container = dict[str, Any]


@dataclass(frozen=True)
class GridPoint:
    """One recipe of a grid."""

    recipe: Recipe
    changed: dict[str, str]
    """Swept keys with this point's values as text; empty without a sweep."""
    suite: Suite
    """What `eval.suite` stands for."""


def load_recipe(name_or_path: str = "tiny", overrides: Sequence[str] = ()) -> Recipe:
    """Load one recipe; `overrides` are in Hydra's grammar.

    Raises RecipeError with every problem at once, each at its place. A sweep is a problem here.
    """
    loading = _Loading(_recipe_type, "recipe", name_or_path, overrides)
    return _placed(loading.one(), loading)


def load_recipe_grid(name_or_path: str, overrides: Sequence[str]) -> list[GridPoint]:
    """Load a recipe with its suite at every point of the sweeps among `overrides`: `optimizer.lr=1e-3,3e-3`.

    The last sweep varies fastest. Raises RecipeError with every problem of every point.
    """
    return _points(_Loading(_recipe_type, "recipe", name_or_path, overrides))


def _points(loading: _Loading[Recipe]) -> list[GridPoint]:
    points = [(_placed(recipe, loading), changed) for recipe, changed in loading.grid()]
    suites = {name: _suite(name, loading) for name in dict.fromkeys(recipe.eval.suite for recipe, _ in points)}
    return [GridPoint(recipe, changed, suites[recipe.eval.suite]) for recipe, changed in points]


def load_swept(name_or_path: str, overrides: Sequence[str]) -> tuple[Recipe, list[GridPoint]]:
    """A campaign's own recipe, the one without the swept keys that its points are measured against, and its points.

    Raises RecipeError with every problem of every point, or else of the recipe itself.
    """
    loading = _Loading(_recipe_type, "recipe", name_or_path, overrides)
    points = _points(loading)
    if not loading.swept:
        return points[0].recipe, points
    return _placed(loading.plain(), loading), points


def load_cluster(name_or_path: str = "local", overrides: Sequence[str] = ()) -> Cluster:
    """Load one cluster of either kind; raises RecipeError with every problem at once."""
    return load_cluster_file(name_or_path, overrides).value


@dataclass(frozen=True)
class LoadedCluster:
    """A cluster, and where its settings come from, for problems that only the cluster itself can show."""

    value: Cluster
    problem: Callable[[Finding], Problem]
    """Puts a finding at the file and line, or the override, that set its key."""


def load_cluster_file(name_or_path: str = "local", overrides: Sequence[str] = ()) -> LoadedCluster:
    """Load one cluster with the places of its settings; raises RecipeError with every problem at once."""
    loading = _Loading(cluster_type, "cluster", name_or_path, overrides)
    return LoadedCluster(loading.one(), loading.origins(loading.fixed).problem)


def _recipe_type(container: Container, origins: Origins) -> type[Recipe]:
    return Recipe


def _suite(name: str, loading: _Loading[Recipe]) -> Suite:
    """A recipe's suite."""
    origins = loading.origins(loading.fixed)
    return load_suite(name, _beside(loading), lambda message: origins.problem(Finding(("eval", "suite"), message)))


def _placed(recipe: Recipe, loading: _Loading[Recipe]) -> Recipe:
    """A recipe with its data, its references and its base in their places."""
    beside = _beside(loading) or Path.cwd()
    return place_references(
        place_base(place_data(recipe, beside), beside), beside, loading.origins(loading.fixed).problem
    )


def _beside(loading: _Loading[Recipe]) -> Path | None:
    """The folder of the recipe; None for a built-in one: files of the current folder are the ones beside it."""
    folder = loading.path.parent
    return None if folder == builtin_folder("recipe") else folder


class _Loading(Generic[T]):
    """One file with its overrides, on the way to values of type `T`."""

    def __init__(
        self, choose: Callable[[Container, Origins], type[T]], kind: Kind, given: str, overrides: Sequence[str]
    ) -> None:
        self.path = locate(given, kind)
        self.composer = Composer(self.path, shown(self.path, given), builtin_folder(kind))
        self.validator = Validator(choose, self.path.stem)
        self.overrides = parse_overrides(overrides, self.composer.roots)
        self.fixed = [o for o in self.overrides if not o.is_sweep]
        self.swept = [o for o in self.overrides if o.is_sweep]
        self.alternatives = {o.key: alternatives(o) for o in self.swept}
        self._compositions: dict[tuple[str, ...], tuple[Container, list[Override], list[Problem]]] = {}

    def one(self) -> T:
        """The value, if no override is a sweep."""
        if self.swept:
            raise RecipeError([Problem(o.where, "", "a sweep, where one value is needed") for o in self.swept])
        return self.grid()[0][0]

    def grid(self) -> list[tuple[T, dict[str, str]]]:
        """Every point of the sweeps, each with the swept keys and their texts."""
        points = math.prod(map(len, self.alternatives.values()))
        if points > MAX_POINTS:
            message = f"{points:,} points or more; at most {MAX_POINTS:,} make a campaign"
            raise RecipeError([Problem("overrides:", "", message)])
        found: list[tuple[T, dict[str, str]]] = []
        problems: dict[Problem, None] = {}  # a set that keeps its order
        # Another file of a config group is another composition; a value is only put in its place.
        groups = [o.key for o in self.swept if o.is_group]
        for files in product(*(self.alternatives[key] for key in groups)):
            texts = {key: text for key, (_, text) in zip(groups, files, strict=True)}
            chosen = parse_overrides([f"{key}={text}" for key, text in texts.items()], self.composer.roots)
            self._grid_of_values([*self.fixed, *chosen], texts, found, problems)
        if problems:
            raise RecipeError(sorted(problems, key=place))
        return found

    def plain(self) -> T:
        """The value without any of the sweeps."""
        container, kept, problems = self._composed(self.fixed)
        if problems:
            raise RecipeError(sorted(problems, key=place))
        return self.validator.value(copy.deepcopy(container), self.origins(kept))

    def origins(self, fixed: Sequence[Override]) -> Origins:
        """Where the values come from that the files and some overrides, and the sweeps, set."""
        return Origins(lambda: self.composer.layers(fixed), [*fixed, *self.swept])

    def _grid_of_values(
        self,
        fixed: Sequence[Override],
        files: Mapping[str, str],
        found: list[tuple[T, dict[str, str]]],
        problems: dict[Problem, None],
    ) -> None:
        """Compose once, then add every point of the swept values, or its problems."""
        swept = [o for o in self.swept if not o.is_group]
        container, kept, refused = self._composed(fixed)
        problems.update(dict.fromkeys(refused))
        origins = self.origins(kept)
        for values in product(*(self.alternatives[o.key] for o in swept)):
            point = copy.deepcopy(container)
            texts = dict(files)
            try:
                for override, (value, text) in zip(swept, values, strict=True):
                    _put(point, override, value)
                    texts[override.key] = text
                # In the order in which they were given, whether they choose files or values.
                changed = {o.key: texts[o.key] for o in self.swept}
                found.append((self.validator.value(point, origins), changed))
            except RecipeError as error:
                problems.update(dict.fromkeys(error.problems))

    def _composed(self, fixed: Sequence[Override]) -> tuple[Container, list[Override], list[Problem]]:
        """The container that the files and `fixed` make, composed once, with the overrides in it and the problems."""
        known = self._compositions.get(key := tuple(override.text for override in fixed))
        if known is None:
            known = self._compositions[key] = self.composer.compose(fixed)
            # Looking into the files again takes as long as composing them, and almost none holds such a number.
            if self.composer.may_hold_base_60(known[1]):
                self.origins(known[1]).give_back_text(known[0])
        return known


def _put(container: Container, override: Override, value: Any) -> None:
    """Set one swept value, making sections on the way as Hydra does."""
    node: Any = container
    *above, last = override.path
    for part in above:
        if _is_index(node, part):
            node = node[int(part)]
        else:
            node = node.setdefault(part, {}) if isinstance(node, dict) else None
    if _is_index(node, last):
        node[int(last)] = value
    elif isinstance(node, dict):
        node[last] = value
    else:
        raise RecipeError([Problem(override.where, "", f"'{'.'.join(above)}' has no keys")])


def _is_index(node: Any, part: str) -> bool:
    return isinstance(node, list) and part.isdigit() and int(part) < len(node)
