"""The frozen types a recipe becomes; every field's docstring is its documentation."""

from typing import Literal, Self

from pydantic import Field, model_validator

from joyctl.recipe import datarules, mixrules, rules
from joyctl.recipe.scored import Aggregate, Eval, PublishedNumbers, Reference, Suite, SuiteTask
from joyctl.recipe.sources import Data, Heldout, MicroWorld, Source, Text, Tokenised
from joyctl.recipe.strict import Category, FolderName, Name, ReferenceName, Strict, Weight, Within
from joyctl.recipe.training import Average, Base, Model, Optimizer, Phase, Schedule, Training

__all__ = [
    "MICRO_WORLD_SOURCES",
    "Aggregate",
    "Average",
    "Base",
    "Category",
    "Data",
    "Eval",
    "Heldout",
    "MicroWorld",
    "Mixes",
    "Model",
    "Optimizer",
    "Phase",
    "PublishedNumbers",
    "Recipe",
    "Reference",
    "Schedule",
    "Seeds",
    "Source",
    "Strict",
    "Suite",
    "SuiteTask",
    "Text",
    "Tokenised",
    "Training",
]

MICRO_WORLD_SOURCES = ("web", "math", "code", "facts")
"""The sources that the generated world has data for."""


class Mixes(Strict):
    """Weights of tokens; each mix is normalised to sum to one."""

    by: Literal["source", "category"] = "source"
    """What the names in `base` and `upsampled` are: sources, or categories whose shares `within` hands on."""
    base: dict[Name, Weight]
    """What the base run (the trunk) trains on."""
    upsampled: dict[Name, Weight]
    """What the final phase trains on."""
    within: dict[Category, Within] = Field(default={})
    """How a category's share goes to its sources: `tokens` (default, by their size), `uniform`, `temperature:T` (by
    size ** (1 / T)), or weights by source."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self._refuse(rules.check_mixes(self))


class Seeds(Strict):
    """Which random streams a campaign uses."""

    trunk: int = Field(default=1, ge=1, le=100)
    """How many base runs, each with its own initialisation and data order."""
    phase: int = Field(default=1, ge=1, le=100)
    """How many data orders of the phase within each base run."""


class Recipe(Strict):
    """What a researcher writes: one question asked of one base run."""

    name: FolderName
    """Name of the recipe; a file's stem when it is not given."""
    campaign: FolderName
    """Folder of its results below results/; the recipe's name when it is not given."""
    hypothesis: str
    """The question, as the report will repeat it."""
    data: Data
    sources: dict[Name, Source] = Field(min_length=1)
    """The datasets that mixes weigh, by name."""
    mixes: Mixes
    model: Model
    training: Training
    optimizer: Optimizer
    schedule: Schedule = Schedule()
    phase: Phase
    base: Base | None = None
    """A base run trained elsewhere; without it the trunk is trained from its first step."""
    seeds: Seeds = Seeds()
    eval: Eval = Eval()
    references: dict[ReferenceName, Reference] = Field(default={})
    """Other models to be scored beside the runs, by name; part of no run's identity."""
    published: dict[Name, PublishedNumbers] = Field(default={})
    """Numbers of others, by the name that `--against` takes; files of the group `published` hold them. They are no
    part of what is trained or scored."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        between = rules.check_recipe(
            sources=self.sources,
            data=self.data,
            model=self.model,
            training=self.training,
            schedule=self.schedule,
            phase=self.phase,
            policy=self.phase.policy,
            references=self.references,
            world_sources=MICRO_WORLD_SOURCES,
            seen=tuple(self.base.seen) if self.base else (),
        )
        mixed = mixrules.check_mixed(
            {name: source.category for name, source in self.sources.items()},
            vars(self.mixes),
            frozenset(name for name, source in self.sources.items() if not source.in_mixes),
        )
        origins = datarules.check_origins(self.data, self.sources)
        return self._refuse([*between, *mixed, *origins])
