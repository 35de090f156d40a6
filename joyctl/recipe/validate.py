"""Turn a composed container into a recipe or cluster, or into every problem that it has."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from joyctl.errors import Problem, RecipeError
from joyctl.recipe.cluster import Cluster, LocalCluster, SlurmCluster
from joyctl.recipe.compose import reason
from joyctl.recipe.document import dotted
from joyctl.recipe.mixrules import check_mixed
from joyctl.recipe.origin import Origins
from joyctl.recipe.rules import Finding, check_recipe
from joyctl.recipe.schema import type_schema
from joyctl.recipe.types import MICRO_WORLD_SOURCES, Data, Model, Phase, Recipe, Reference, Schedule, Training
from joyctl.recipe.words import explain, mismatch

T = TypeVar("T", bound=BaseModel)
Container = dict[str, Any]


class Validator(Generic[T]):
    """Validates the containers of one file."""

    def __init__(self, choose: Callable[[Container, Origins], type[T]], stem: str) -> None:
        """`choose` tells what a container is to be, `stem` is the file's: a recipe without a name takes it."""
        self._choose, self.stem = choose, stem

    def value(self, container: Container, origins: Origins) -> T:
        """A composed container as a value; raises RecipeError with all that is wrong with it."""
        type_ = self._choose(container, origins)
        named_after_file = "name" not in container
        implied = self._fill_in_names(container, type_)
        container = _without_missing(_resolved(container, origins))
        try:
            return type_.model_validate(container)
        except ValidationError as error:
            schema = type_schema(type_)
            findings = [explain(detail, schema) for detail in error.errors(include_url=False)]
            if type_ is Recipe:
                findings += _between_valid_sections(container)
            problems = [
                origins.problem(_about_file(finding) if named_after_file else finding)
                for finding in _telling([f for f in findings if f is not None])
                if finding.loc not in implied
            ]
            raise RecipeError(sorted(dict.fromkeys(problems), key=place)) from error

    def _fill_in_names(self, container: Container, type_: type[T]) -> set[tuple[str]]:
        """Name a recipe after its file and a campaign after its recipe.

        Returns the keys that only repeat another one: of what is wrong with it, the other has told.
        """
        if "name" not in type_.model_fields:
            return set()
        container.setdefault("name", self.stem)
        if "campaign" in container:
            return set()
        container["campaign"] = container["name"]
        return {("campaign",)}


def cluster_type(container: Container, origins: Origins) -> type[Cluster]:
    """What a cluster file describes, by its `kind`; raises RecipeError for a kind that there is not."""
    kinds: dict[str, type[Cluster]] = {"local": LocalCluster, "slurm": SlurmCluster}
    container = _without_missing(_resolved(container, origins))
    if "kind" not in container:
        # With none of Slurm's keys there is nothing but this machine.
        its_own = SlurmCluster.model_fields.keys() - LocalCluster.model_fields.keys()
        return SlurmCluster if container.keys() & its_own else LocalCluster
    kind = container["kind"]
    if isinstance(kind, str) and kind in kinds:
        return kinds[kind]
    raise RecipeError([origins.problem(Finding(("kind",), mismatch(kind, {"enum": list(kinds)}, "")))])


def _about_file(finding: Finding) -> Finding:
    """A file's name that cannot be a recipe's: the user has not written the key it is about."""
    if finding.loc != ("name",):
        return finding
    return replace(finding, message=f"the file's name {finding.message}; or give 'name' in the file")


def _telling(findings: list[Finding]) -> Iterator[Finding]:
    """Without a missing key for which another, misspelt one stands: that one's message names it."""
    meant = {found[1] for f in findings if (found := re.search(r"did you mean '(.+)'\?$", f.message))}
    for finding in findings:
        if not (finding.message.startswith("missing") and dotted(finding.loc) in meant):
            yield finding


def _resolved(container: Container, origins: Origins) -> Container:
    """The container with its `${...}` replaced; without any, it is not handed to OmegaConf, which is slow."""
    if "${" not in repr(container):
        return container
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        resolved = OmegaConf.to_container(OmegaConf.create(container), resolve=True)
    except OmegaConfBaseException as error:
        loc = tuple(str(error.full_key).split(".")) if error.full_key else ()
        raise RecipeError([origins.problem(Finding(loc, reason(error)))]) from error
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def _without_missing(value: Any) -> Any:
    """Without the keys that are `???`, Hydra's word for a value that is still to be given."""
    if not isinstance(value, dict):
        return value
    return {key: _without_missing(item) for key, item in value.items() if item != "???"}


def _between_valid_sections(container: Container) -> Iterator[Finding]:
    """The rules between sections, as far as their sections are valid in themselves.

    pydantic comes to them only when every section is; a user wants to see all problems at once.
    """

    def section(name: str, type_: type[T]) -> T | None:
        try:
            return type_.model_validate(container.get(name))
        except ValidationError:
            return None

    def names(value: Any) -> list[str] | None:
        return list(map(str, value)) if isinstance(value, dict) else None

    def references() -> dict[str, Reference]:
        try:
            return TypeAdapter(dict[str, Reference]).validate_python(container.get("references"))
        except ValidationError:
            return {}

    sources, mixes = (container.get(name) for name in ("sources", "mixes"))
    if isinstance(sources, dict) and isinstance(mixes, dict):
        said = {str(name): source if isinstance(source, dict) else {} for name, source in sources.items()}
        outside = frozenset(name for name, source in said.items() if source.get("in_mixes") is False)
        yield from check_mixed({name: source.get("category") for name, source in said.items()}, mixes, outside)
    phase = container.get("phase")
    policy = phase.get("policy") if isinstance(phase, dict) else None
    yield from check_recipe(
        sources=names(container.get("sources")),
        data=section("data", Data),
        model=section("model", Model),
        training=section("training", Training),
        schedule=section("schedule", Schedule) if "schedule" in container else Schedule(),
        phase=section("phase", Phase),
        policy=policy if isinstance(policy, str) else None,
        references=references(),
        world_sources=MICRO_WORLD_SOURCES,
    )


def place(problem: Problem) -> tuple[str, int, int]:
    """Sorts problems by file, line and column; those of overrides come last."""
    found = re.fullmatch(r"(.*):(\d+):(\d+)", problem.where)
    return (found.group(1), int(found.group(2)), int(found.group(3))) if found else ("\uffff", 0, 0)
