"""From a recipe and a grid to a plan compared with what is on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from joyctl.campaign.categories import outline
from joyctl.campaign.compare import Decision, Work, compare
from joyctl.campaign.grid import DataFacts, Grid, Point
from joyctl.campaign.plan import Plan, plan
from joyctl.campaign.protocol import protocol_words
from joyctl.campaign.spec import RunSpec
from joyctl.campaign.wanted import wanted_variants
from joyctl.data.build import build
from joyctl.data.folder import DataFolder
from joyctl.data.stated import lacks_data, nothing_to_train_on, stated_folder
from joyctl.errors import Problem, RecipeError, Refused
from joyctl.evals.known import require_known
from joyctl.evals.references import fetch, identify
from joyctl.launch.bases import fetch_base, identify_base, require_one_base
from joyctl.launch.disk import find, on_disk, set_aside, trunk_cuts
from joyctl.launch.shared import Offers, offers, take_over, trunks_elsewhere
from joyctl.recipe.suite import require_datasets
from joyctl.recipe.types import Recipe
from joyctl.store import layout
from joyctl.store.campaign import read_campaign_json
from joyctl.store.fingerprint import changed_keys


@dataclass(frozen=True)
class Prepared:
    """A plan, and what of it is still to be done."""

    folder: Path
    """The campaign's folder."""
    plan: Plan
    work: Work
    data: DataFolder
    shared: Offers = field(default_factory=Offers)
    """What of its trunks other campaigns below the same results folder have trained."""


def prepare(
    recipe: Recipe,
    points: Sequence[Point],
    grid: Grid,
    *,
    results: Path,
    data_root: Path,
    notify: Callable[[str], None],
    sandbox: bool,
    planning: bool = False,
) -> Prepared:
    """Plan a campaign on its data (built if need be) and compare it with its folder; writes no results.

    With `planning`, for a command that trains nothing, the recipe's own words do where its data folder is not here.
    Raises RecipeError for a source that has no data, a grid that the recipe cannot serve or a task that nobody knows,
    Missing for data, benchmark data, a reference or a base that is not where the recipe says, Refused for a base that
    does not tell its step or stands after a branch point.
    """
    if len({point.recipe.data.model_dump_json() for point in points}) > 1:
        raise RecipeError([Problem("override 'data...'", "data", "cannot be swept: one campaign, one data folder")])
    if len({tuple(point.recipe.references.items()) for point in points}) > 1:
        problem = Problem("override 'references...'", "references", "cannot be swept: give them all, each has its row")
        raise RecipeError([problem])
    require_one_base(points)
    for point in points:  # what is wrong is said before anything is made
        wanted_variants(point, grid, outline(point.recipe), outlined=True)
        if point.suite is not None:
            require_datasets(point.suite, point.benchmarks)
    base = identify_base(recipe)
    data = _data(recipe, data_root, notify, planning=planning)
    for name, suite in {point.recipe.eval.suite: point.suite for point in points}.items():
        if suite is not None:
            own = [*map(Path, suite.include_path), data.path / "tasks"]
            require_known(name, (task.task for task in suite.tasks), own)
    references = identify(recipe.references)
    facts = DataFacts(
        folder=str(data.path.resolve()),
        tokens={name: source.tokens for name, source in data.sources.items()},
        sha256={name: source.sha256 for name, source in data.sources.items()},
        tokenizer_sha256=data.tokenizer_sha256,
        tasks_sha256=data.tasks_sha256,
        heldout=data.stated or recipe.data.tokenizer is None or any((data.path / "tasks").glob("heldout_*.yaml")),
    )
    folder = results / recipe.campaign
    like = frozenset(
        (p.recipe.training.steps, p.recipe.optimizer.lr, p.recipe.model.dim, data.tokenizer_sha256) for p in points
    )
    elsewhere = trunks_elsewhere(folder, like)
    planned = plan(recipe, points, grid, facts, trunk_cuts(folder), references, base, elsewhere)
    shared = offers(folder, planned, elsewhere)
    work = compare(planned, find(folder, planned, sandbox=sandbox), shared.reasons)
    return Prepared(folder, planned, work, data, shared)


def share_trunks(prepared: Prepared, notify: Callable[[str], None]) -> Prepared:
    """Take over what other campaigns have trained of its trunks; the caller holds the campaign.

    Raises Refused where one of them went away meanwhile.
    """
    for said in prepared.shared.words(prepared.plan):
        notify(said)
    take_over(prepared.folder, prepared.plan, prepared.shared)
    taken = {name: Decision("skip", reason) for name, reason in prepared.shared.reasons.items()}
    work = replace(prepared.work, segments=prepared.work.segments | taken)
    return replace(prepared, work=work, shared=Offers())


def _data(recipe: Recipe, root: Path, notify: Callable[[str], None], *, planning: bool) -> DataFolder:
    if not lacks_data(recipe, root):
        return build(recipe, root, progress=notify)
    if planning:
        return stated_folder(recipe, root)
    raise nothing_to_train_on(recipe, root)


def fetch_models(prepared: Prepared, notify: Callable[[str], None]) -> Prepared:
    """Download the base and the references that are still to be scored and lie on the hub: a job may have no network.

    Raises Missing where one does not come.
    """
    todo = {job.folder for job in prepared.work.jobs}
    if any(segment.parent is None and segment.id in todo for segment in prepared.plan.segments):
        prepared = replace(prepared, plan=fetch_base(prepared.plan, notify))
    runs = []
    for run in prepared.plan.runs:
        if run.reference is not None and run.reference.folder is None and f"runs/{run.id}" in todo:
            notify(f"downloading {run.reference.model}")
            run = run.model_copy(update={"reference": fetch(run.reference)})
        runs.append(run)
    return replace(prepared, plan=replace(prepared.plan, runs=tuple(runs)))


def refuse_drift(prepared: Prepared, command: str) -> None:
    """Raise Refused, with the keys that changed, if anything on disk was made with other settings."""
    if not prepared.work.refused:
        _refuse_other_protocol(prepared, command)
        return
    name, decision = next(iter(prepared.work.refused.items()))
    others = len(prepared.work.refused) - 1
    more = f" (and {others} more)" if others else ""
    if name.startswith(f"runs/{layout.REFERENCE}"):
        # The recipe may name it as before: the folder holds another model, or the hub another commit.
        reference = name.removeprefix(f"runs/{layout.REFERENCE}").partition("/")[0]
        raise Refused(
            f"refused: {prepared.folder / name} {decision.reason}{more}\n{_changes(decision.changes)}",
            hint=f"Keep both: another name than '{reference}' under references      Replace:  {command} --rerun",
        )
    old = (read_campaign_json(prepared.folder) or {}).get("recipe")
    changes = changed_keys(old, prepared.plan.recipe.model_dump(mode="json")) if old else []
    # The recipe's own keys say it best; where they agree (the data itself changed) the spec's must do.
    other = ("hypothesis", "phase.", "seeds.", "name", "references", "published")
    protocol = ("phase.lr", "phase.average")
    changes = [c for c in changes if c[0].startswith(protocol) or not c[0].startswith(other)]
    raise Refused(
        f"refused: {prepared.folder / name} {decision.reason}{more}\n{_changes(changes or decision.changes)}",
        hint=f"Keep both:  {command} campaign={prepared.plan.campaign}-2      Replace:  {command} --rerun",
    )


def _refuse_other_protocol(prepared: Prepared, command: str) -> None:
    others = _of_other_protocol(prepared)
    if others:
        first = next(run for run in prepared.plan.runs if run.reference is None)
        more = f" (and {len(others) - 1} more)" if len(others) > 1 else ""
        there = protocol_words(others[0].protocol)
        raise Refused(
            f"refused: {prepared.folder / 'runs' / others[0].id}{more} is of another protocol\n"
            f"  there: {there}\n  now:   {protocol_words(first.protocol)}",
            hint=f"A table never mixes protocols. Keep both:  {command} campaign={prepared.plan.campaign}-2"
            f"      Replace:  {command} --rerun",
        )


def _of_other_protocol(prepared: Prepared) -> list[RunSpec]:
    """Runs on disk that this plan does not name, where the campaign was begun under another protocol."""
    kept = read_campaign_json(prepared.folder) or {}
    before, now = (kept.get("recipe") or {}).get("phase"), prepared.plan.recipe.phase
    if before is None or (before.get("lr", "continue"), before.get("average")) == (
        now.lr,
        now.average.model_dump(mode="json") if now.average else None,
    ):
        return []
    planned = {run.id: run.protocol for run in prepared.plan.runs if run.reference is None}
    protocols = set(planned.values())
    there = [on_disk(prepared.folder, name) for name in kept.get("runs", []) if name not in planned]
    return [run for run in there if run is not None and run.reference is None and run.protocol not in protocols]


def drifted(prepared: Prepared) -> bool:
    """Whether anything on disk cannot stay beside this plan."""
    return bool(prepared.work.refused or _of_other_protocol(prepared))


def _changes(changes: Sequence[tuple[str, str, str]]) -> str:
    width = max(len(key) for key, _, _ in changes)
    return "\n".join(f"  {key:<{width}}   {before} → {now}" for key, before, now in changes)


def replace_drifted(prepared: Prepared) -> Path:
    """Set aside everything that was made with other settings, whole trunks together; gives the new place.

    Of a run that was only scored with others these are its scores: what was trained and exported is the same and stays.
    """
    refused = prepared.work.refused
    trunks = {"/".join(name.split("/")[:2]) for name in refused if name.startswith("trunk/")}
    runs = {name for name in refused if not name.startswith("trunk/")}
    scored = sorted(name for name in runs if all(key.startswith("eval.") for key, _, _ in refused[name].changes))
    runs |= {f"runs/{run.id}" for run in _of_other_protocol(prepared)}
    scores = [f"{name}/{part}" for name in scored for part in layout.SCORES]
    return set_aside(prepared.folder, [*sorted((trunks | runs) - {*scored}), *scores])
