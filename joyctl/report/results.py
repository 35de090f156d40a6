"""A campaign's folder read into values: runs, scores with their items, and what is missing and why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from joyctl.campaign.spec import RunSpec, Stage
from joyctl.errors import Missing
from joyctl.recipe.types import SuiteTask
from joyctl.report.facts import expected_and_found, names
from joyctl.report.items import Items, Known, TornItems, read_items
from joyctl.report.leaks import Leaks, read_leaks
from joyctl.report.ledger import RunLedger, Segments, read_ledger
from joyctl.report.status import run_status
from joyctl.store import layout
from joyctl.store.campaign import read_campaign_json

Key = tuple[str, str, str]
"""(task, metric, filter): which score."""


@dataclass(frozen=True, eq=False)
class CleanScore:
    """A score on those items that do not stand in the training data."""

    value: float
    stderr: float
    """Clustered, as for all items."""
    n: int
    """Clean items."""
    found: int
    """Items that stand in the training data."""
    items: Items | None = None
    """The clean ones; None of a composite, whose members have them."""


@dataclass(frozen=True)
class Score:
    """One metric of one task for one run, with the items behind it."""

    run: str
    task: str
    metric: str
    filter: str
    value: float
    """A fraction for metrics between 0 and 1; bits per byte as they are."""
    stderr: float | None
    """Standard error as the harness gives it."""
    n: int
    protocol: str
    """Digest of how it was scored; scores of one task compare only within one protocol."""
    higher_is_better: bool
    items: Items
    clean: CleanScore | None = None
    """None where no overlap check has looked for all of its tasks."""
    compared_as: str | None = None
    """Of a reference whose protocol is the runs' in all but the model's own parts: the runs' protocol."""

    @property
    def comparable(self) -> str:
        """The protocol that another score must have to be compared with this one."""
        return self.compared_as or self.protocol

    @property
    def key(self) -> Key:
        """Which score it is."""
        return self.task, self.metric, self.filter


@dataclass(frozen=True)
class MissingScore:
    """A task (or, where `task` is None, a whole run) without scores, and the reason."""

    run: str
    task: str | None
    reason: str


@dataclass(frozen=True)
class Scoring:
    """What to know of how one task of one run was scored, besides its protocol."""

    run: str
    task: str
    items: int
    """Items of the task; 0 where the harness did not say."""
    truncated: int
    """Items whose prompt lost its beginning, to fit into the model's context."""
    sandbox: str | None
    """What confined generated code: `bubblewrap`, `none`, or None where no code ran."""


@dataclass(frozen=True)
class ModelPart:
    """A part of the protocol that came with a reference's own model."""

    run: str
    """The reference's id."""
    part: str
    """`tokenizer_sha256`, `max_length` or `dtype`."""
    runs: str
    """As the campaign's runs have it."""
    own: str


@dataclass(frozen=True)
class CampaignResults:
    """What a campaign's folder holds at this moment."""

    campaign: str
    hypothesis: str
    recipe: Mapping[str, Any]
    """The resolved recipe."""
    expected: tuple[str, ...]
    """Ids of all runs the campaign should hold, and of any others that were found."""
    runs: tuple[RunSpec, ...]
    """Runs whose run.json could be read, in the order of `expected`."""
    tasks: tuple[str, ...]
    """Tasks that any run was scored on, in the order in which its harness ran them."""
    scores: tuple[Score, ...]
    missing: tuple[MissingScore, ...]
    protocols: Mapping[str, Mapping[str, Any]]
    """Parts of every protocol digest that occurs."""
    scorings: tuple[Scoring, ...] = ()
    """Of every task of every run that has scores."""
    model_parts: tuple[ModelPart, ...] = ()
    """What of the protocol is otherwise for references (joyctl.report.references)."""
    attention: tuple[str, ...] = ()
    """What trainings say of the documents of a row (joyctl.campaign.documents), each once."""
    ledger: tuple[RunLedger, ...] = ()
    """What runs have seen of their sources; of those that train, as far as their segment.json can be read."""
    leaks: Leaks | None = None
    """Which items stand in the training data; None where no training is known."""

    @property
    def suite(self) -> Mapping[str, SuiteTask]:
        """The suite's entries by task, as the first run that has any holds them."""
        tasks = next((run.eval.tasks for run in self.runs if run.eval.tasks), ())
        return {entry.task: entry for entry in tasks}


_NOT_MEANS = frozenset({"perplexity", "word_perplexity", "byte_perplexity"})
"""lm-eval's metrics that are no mean over items, so that nothing can be paired. They are left out; bits per byte says
the same."""
_NOT_STARTED = "not started"
_NOT_EXECUTED = "generated code not executed yet"
_NOT_YET: Mapping[Stage, str] = {
    "train": "not trained yet",
    "export": "not exported yet",
    "eval": "not scored yet",
    "score": _NOT_EXECUTED,
}


class _ScoreLine(BaseModel):
    metric: str
    filter: str
    value: float
    stderr: float | None = None
    n: int
    higher_is_better: bool


class _TaskResult(BaseModel):
    task: str
    status: str
    reason: str | None = None
    protocol: str
    protocol_parts: dict[str, Any] = {}
    scores: list[_ScoreLine] = []
    n_items: int = 0
    truncated_prompts: int = 0
    sandbox: str | None = None


def read_campaign(folder: Path) -> CampaignResults:
    """Read whatever a campaign's folder holds; it may be half-finished.

    A torn or impossible file makes its scores missing with the reason, never an error. Raises Missing
    when `folder` is no campaign's folder, and Refused when campaign.json itself is torn.
    """
    campaign = read_campaign_json(folder)
    if campaign is None:
        raise Missing(f"{folder} is not a campaign's folder: it holds no {layout.CAMPAIGN}", hint="joyctl sweep")
    segments = set(names(campaign, "segments"))
    expected = expected_and_found(folder, names(campaign, "runs"))
    runs: list[RunSpec] = []
    missing: list[MissingScore] = []
    results: dict[str, dict[str, _TaskResult | str]] = {}
    waiting: dict[str, str] = {}
    for name in expected:
        spec = _run_spec(folder, name)
        if isinstance(spec, str):
            waiting[name] = spec
            continue
        runs.append(spec)
        reason = _unscored_reason(folder, spec, trains=f"runs/{name}" in segments)
        if reason is not None:
            waiting[name] = reason
        results[name] = _task_results(layout.run_folder(folder, name), reason or _NOT_EXECUTED)
    tasks = _tasks(campaign, results)
    scores: list[Score] = []
    scorings: list[Scoring] = []
    protocols: dict[str, Mapping[str, Any]] = {}
    known = Known()
    for name in expected:
        here = results.get(name, {})
        if not here:
            missing.append(MissingScore(name, None, waiting.get(name, "not scored yet")))
            continue
        for task in tasks:
            result = here.get(task, waiting.get(name, "not among its scored tasks"))
            if isinstance(result, str):
                missing.append(MissingScore(name, task, result))
            elif result.status != "ok":
                missing.append(MissingScore(name, task, f"{result.status}: {result.reason or 'no reason given'}"))
            else:
                protocols.setdefault(result.protocol, result.protocol_parts)
                scorings.append(Scoring(name, task, result.n_items, result.truncated_prompts, result.sandbox))
                got = _scores(layout.run_folder(folder, name) / "eval" / task, name, result, known)
                scores += got[0]
                missing += [MissingScore(name, task, reason) for reason in got[1]]
    trained = Segments(folder)
    return CampaignResults(
        campaign=str(campaign.get("campaign", folder.name)),
        hypothesis=str(campaign.get("hypothesis", "")),
        recipe=campaign.get("recipe") or {},
        expected=tuple(expected),
        runs=tuple(runs),
        tasks=tasks,
        scores=tuple(scores),
        missing=tuple(missing),
        protocols=protocols,
        scorings=tuple(scorings),
        attention=tuple(dict.fromkeys(said for name in sorted(segments) if (said := _attention(folder / name)))),
        ledger=read_ledger(trained, runs),
        leaks=read_leaks(trained.of(runs), limited=any(run.eval.limit is not None for run in runs)),
    )


def _attention(here: Path) -> str | None:
    """What a trained segment says of the documents of its rows; None from before it was said, or from a torn marker."""
    try:
        return str(json.loads(layout.marker(here, "train").read_bytes())["attention"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def read_runs(folder: Path) -> tuple[RunSpec, ...]:
    """Runs of a campaign whose run.json can be read. Raises as `read_campaign` does."""
    campaign = read_campaign_json(folder)
    if campaign is None:
        raise Missing(f"{folder} is not a campaign's folder: it holds no {layout.CAMPAIGN}", hint="joyctl sweep")
    found = (_run_spec(folder, name) for name in expected_and_found(folder, names(campaign, "runs")))
    return tuple(spec for spec in found if not isinstance(spec, str))


def unread_runs(folder: Path) -> dict[str, str]:
    """Runs of a campaign whose run.json is there and cannot be read, with the reason."""
    expected = expected_and_found(folder, names(read_campaign_json(folder) or {}, "runs"))
    found = ((name, _run_spec(folder, name)) for name in expected)
    return {name: spec for name, spec in found if isinstance(spec, str) and spec != _NOT_STARTED}


def _run_spec(folder: Path, name: str) -> RunSpec | str:
    """The run's spec, or why there is none."""
    path = layout.run_folder(folder, name) / layout.RUN
    try:
        spec = RunSpec.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return _NOT_STARTED
    except ValidationError as error:
        return f"{layout.RUN} is torn or invalid: {_first(error)}"
    if spec.id != name:
        return f"{layout.RUN} is of another run, {spec.id}"
    return spec


def _task_results(here: Path, generated: str) -> dict[str, _TaskResult | str]:
    """Every task's results.json, or why it cannot be used; `generated` for a task that has only the model's answers."""
    found: dict[str, _TaskResult | str] = {}
    for path in sorted((here / "eval").glob("*/results.json")):
        try:
            found[path.parent.name] = _TaskResult.model_validate_json(path.read_bytes())
        except ValidationError as error:
            found[path.parent.name] = f"results.json is torn or invalid: {_first(error)}"
    for path in (here / "eval").glob("*/answers.jsonl"):
        found.setdefault(path.parent.name, generated)
    return found


def _tasks(campaign: Mapping[str, Any], results: Mapping[str, Mapping[str, _TaskResult | str]]) -> tuple[str, ...]:
    """Tasks that campaign.json names, then those found: benchmarks by metric and name, then losses."""
    ranks: dict[str, tuple[bool, str, str]] = {}
    for here in results.values():
        for task, result in here.items():
            if isinstance(result, str) or not result.scores:
                ranks.setdefault(task, (True, "", task))
            else:
                first = result.scores[0]
                ranks[task] = (not first.higher_is_better, first.metric, task)
    return tuple(dict.fromkeys([*names(campaign, "tasks"), *sorted(ranks, key=ranks.__getitem__)]))


def _unscored_reason(folder: Path, run: RunSpec, *, trains: bool) -> str | None:
    """What keeps a run from being scored; None when its stages are all done."""
    if run.segment and not trains and not layout.marker(folder / run.segment, "train").exists():
        return f"not trained yet ({run.segment} is not complete)"
    status = run_status(folder, run.id, trains=trains)
    now = status.current
    if now.state == "done":
        return None
    if now.state == "failed":
        return f"{now.stage} failed: {now.cause}"
    text = _NOT_YET[now.stage]
    if now.stage == "train" and status.step is not None and status.of_steps is not None:
        text += f" (step {status.step:,} of {status.of_steps:,})"
    return f"{text}: {now.cause}" if now.cause else text


def _scores(here: Path, run: str, result: _TaskResult, known: Known) -> tuple[list[Score], list[str]]:
    """Scores of one task whose items support them, and the reasons for those that have none."""
    try:
        items = read_items(here / "samples.jsonl", known)
    except TornItems as error:
        return [], [str(error)]
    scores, reasons = [], []
    for line in result.scores:
        if line.metric in _NOT_MEANS:
            continue
        of_filter = items.get(line.filter)
        label = f"{line.metric}, {line.filter}"
        if of_filter is None or not of_filter.has(line.metric):
            reasons.append(f"samples.jsonl holds no items of {label}")
        elif len(of_filter) != line.n:
            reasons.append(f"samples.jsonl holds {len(of_filter)} of {line.n} items of {label}")
        elif len(of_filter) < 2:
            reasons.append(f"{label} has a single item: no standard error")
        elif not of_filter.agrees(line.metric, line.value):
            reasons.append(f"{label} is {line.value:.6g} in results.json, but not by samples.jsonl")
        else:
            values = line.model_dump()
            scores.append(Score(run=run, task=result.task, protocol=result.protocol, items=of_filter, **values))
    return scores, reasons


def _first(error: ValidationError) -> str:
    problem = error.errors()[0]
    where = ".".join(map(str, problem["loc"]))
    return f"{where}: {problem['msg']}" if where else str(problem["msg"])
