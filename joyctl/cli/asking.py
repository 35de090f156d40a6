"""What a call of `plan`, `sweep`, `ablate` or `probe` asks for: its recipe, its grid, its plan."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from joyctl.cli.words import check_policy, note, shares, split_words
from joyctl.errors import Problem, RecipeError

if TYPE_CHECKING:
    from joyctl.campaign.grid import Grid, Point, Probe
    from joyctl.launch.prepare import Prepared
    from joyctl.recipe.types import Recipe


@dataclass(frozen=True)
class Asked:
    """The options of one call."""

    command: str
    words: list[str] | None
    results: Path
    data: Path
    as_json: bool
    drop: list[str] | None
    each: bool
    at: str | None
    policy: str | None
    seeds: int | None
    trunk_seeds: int | None
    durations: str | None = None
    category: list[str] | None = None
    probes: tuple[Probe, ...] = ()


def _grid(recipe: Recipe, asked: Asked) -> Grid:
    from joyctl.campaign.grid import Grid
    from joyctl.campaign.variants import each_source

    drops = [tuple(sorted(set(word.split("+")))) for word in asked.drop or []]
    if asked.each:
        drops += [(name,) for name in each_source(recipe, asked.category or [])]
    elif asked.category:
        raise typer.BadParameter("--category says which sources --each leaves out: give --each too")
    elif asked.command == "sweep" and not drops and not asked.probes and (asked.at or asked.policy):
        option = "--at" if asked.at else "--policy"
        raise typer.BadParameter(f"{option} says how sources are left out: give --drop or --each too")
    if asked.probes:
        _say_what_the_base_mix_has(recipe, asked.probes)
    sweeping, at = asked.command == "sweep", shares(asked.at, "--at") or recipe.phase.drop_at
    durations = shares(asked.durations, "--durations") or recipe.phase.durations
    if (drops or asked.probes) and not at:
        raise RecipeError([Problem("--at:", "", "missing, and phase.drop_at of the recipe is empty; give --at 20")])
    return Grid(
        control=sweeping or bool(asked.probes),
        durations=durations if sweeping else (),
        drops=tuple(dict.fromkeys(drops)),
        drop_at=at,
        policy=check_policy(asked.policy) or recipe.phase.policy,
        probes=asked.probes,
        probe_at=at,
        trunk_seeds=asked.trunk_seeds or recipe.seeds.trunk,
        phase_seeds=asked.seeds or recipe.seeds.phase,
    )


def _say_what_the_base_mix_has(recipe: Recipe, probes: Sequence[Probe]) -> None:
    from joyctl.campaign.categories import outline

    there = outline(recipe).base
    for name in dict.fromkeys(probe.source for probe in probes if probe.beside is None and probe.source in there):
        note(f"{name} is in the base mix already: the phase has more of it than --share, and the trunk has seen it")


def _refuse_swept_grid(recipe: Recipe, points: Sequence[Point]) -> None:
    """Raise RecipeError where a sweep varies what the command itself asks for, which is the same at every point."""
    options = {
        ("phase", "durations"): "--durations 5,10",
        ("phase", "drop_at"): "--at 10,20",
        ("phase", "policy"): "--policy, once for each",
        ("seeds", "trunk"): "--trunk-seeds N",
        ("seeds", "phase"): "--seeds N",
    }
    problems = [
        Problem(f"override '{section}.{key}=...'", f"{section}.{key}", f"cannot be swept; give {option}")
        for (section, key), option in options.items()
        if any(getattr(getattr(p.recipe, section), key) != getattr(getattr(recipe, section), key) for p in points)
    ]
    if problems:
        raise RecipeError(problems)


@dataclass(frozen=True)
class Loaded:
    """A recipe with its swept points and the grid asked for."""

    recipe: Recipe
    points: list[Point]
    grid: Grid


def load(asked: Asked) -> Loaded:
    """The recipe of a call, its swept points and the grid. Raises RecipeError with all that is wrong."""
    from joyctl.campaign.grid import Point
    from joyctl.recipe.load import load_swept
    from joyctl.recipe.suite import bench_data

    name, overrides = split_words(asked.words)
    recipe, found = load_swept(name, overrides)
    points = [Point(p.recipe, p.changed, p.suite, bench_data(p.recipe.eval.data)) for p in found]
    swept = set(points[0].changed)
    for key in sorted(swept & {"campaign", "name", "hypothesis"}):
        raise RecipeError([Problem(f"override '{key}=...'", key, "cannot be swept: a sweep is one campaign")])
    _refuse_swept_grid(recipe, points)
    return Loaded(recipe, points, _grid(recipe, asked))


def prepare_asked(loaded: Loaded, asked: Asked, *, on_nodes: bool = False, planning: bool = False) -> Prepared:
    """What was asked for as a plan compared with disk; see joyctl.launch.prepare."""
    from joyctl.evals.sandbox import UNSAFE, probe
    from joyctl.launch.prepare import prepare

    return prepare(
        loaded.recipe,
        loaded.points,
        loaded.grid,
        results=asked.results,
        data_root=asked.data,
        notify=note,
        # Whether nodes have one, joyctl doctor finds out.
        sandbox=on_nodes
        or os.environ.get(UNSAFE) == "1"
        or not (asked.results / loaded.recipe.campaign).exists()  # nothing there that could have been left out
        or probe() is None,
        planning=planning,
    )


def command_of(asked: Asked) -> str:
    """The command a person would paste to run what was asked."""
    words = [w for w in sys.argv[2:] if w not in ("--dry-run", "--json", "--rerun", "--all", "--audit")]
    return shlex.join(["joyctl", asked.command, *words])
