"""Several campaigns of one base run as one: equal runs once, others under names that tell them apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from joyctl.campaign.protocol import protocol_words
from joyctl.campaign.spec import Protocol, RunSpec
from joyctl.errors import Refused
from joyctl.report.leaks import together
from joyctl.report.ledger import RunLedger
from joyctl.report.pairing import check_one_protocol
from joyctl.report.references import without_references
from joyctl.report.results import CampaignResults, MissingScore
from joyctl.store.fingerprint import changed_keys

_BASE = ("data", "sources", "mixes.by", "mixes.base", "mixes.within", "model", "training", "optimizer", "schedule")
"""Sections of a recipe that determine the base run."""
_ELSEWHERE = "not among its scored tasks"


def merge(campaigns: Sequence[CampaignResults]) -> CampaignResults:
    """One campaign of all their runs; `campaigns` is not empty, and a single one is given back as it is.

    They are of one base where every base run that two of them hold, the control without any changed setting, has the
    same fingerprint, and where they share one. A run that several hold, of equal variant, seeds and fingerprint,
    stands once, with the scores of the first that has them. Variants that share a name and not their weights are told
    apart as `campaign:variant`, and so is what is compared with them; they count as changed settings, so nothing takes
    them for the plain recipe's.

    Raises Refused where the bases differ, naming the recipes' keys that do, where they share none, where their phases
    are of different protocols, and where a task was scored under several.
    """
    named = _distinct(campaigns)
    if len(named) == 1:
        return campaigns[0]
    _check_phases(named)
    for (one, mine), (other, theirs) in combinations(named.items(), 2):
        _check_base(one, mine, other, theirs)
    _check_protocols(named)
    names = _new_names(named)
    parts = [_renamed(results, names[campaign]) for campaign, results in named.items()]
    return _joined(named, parts)


def _distinct(campaigns: Iterable[CampaignResults]) -> dict[str, CampaignResults]:
    """Campaigns by name; of two with one name the second is called `name(2)`."""
    found: dict[str, CampaignResults] = {}
    for results in campaigns:
        name, count = results.campaign, 1
        while name in found:
            count += 1
            name = f"{results.campaign}({count})"
        found[name] = results
    return found


def _check_phases(named: Mapping[str, CampaignResults]) -> None:
    """Raise Refused unless the phases of all campaigns are of one protocol."""
    found: dict[Protocol, str] = {}
    for campaign, results in named.items():
        for run in results.runs:
            if run.reference is None:
                found.setdefault(run.protocol, campaign)
    if len(found) > 1:
        lines = "".join(f"\n  {campaign}: {protocol_words(protocol)}" for protocol, campaign in found.items())
        raise Refused(
            f"phases of different protocols{lines}",
            hint="A table never mixes protocols: give each campaign a report of its own.",
        )


def _check_base(one: str, mine: CampaignResults, other: str, theirs: CampaignResults) -> None:
    """Raise Refused unless both branch from the same base runs."""
    ours, others = _bases(mine), _bases(theirs)
    differ = [base for base in ours if base in others and ours[base] != others[base]]
    if not differ and ours.keys() & others.keys():
        return
    hint = "One table holds campaigns of one base run: give each a report of its own."
    if not differ:
        raise Refused(f"{one} and {other} share no base run: there is none whose control both hold", hint=hint)
    changes = changed_keys(_of_base(mine.recipe), _of_base(theirs.recipe))
    lines = "".join(f"\n  {key}  {before} → {after}" for key, before, after in changes)
    unnamed = "\n  the recipes agree: the data, or the run itself, is another"
    raise Refused(f"{one} and {other} are not of one base run: their controls differ{lines or unnamed}", hint=hint)


def _bases(results: CampaignResults) -> dict[tuple[int, str], str]:
    """Fingerprints by which base runs are known, by trunk seed and variant: of what the plain controls export.

    The trunk's end, or under `redecay` a phase on the base mix, whose fingerprint tells its trunk as well. Another
    order of data is left out: which phase it is depends on the longest duration.
    """
    plain = [run for run in results.runs if run.control is None and not run.changed and run.seed == 0]
    return {(run.trunk_seed, run.variant): run.fingerprint for run in plain}


def _of_base(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What of a recipe determines the base run; a source without weight in the base mix is none of it."""
    found: dict[str, Any] = {}
    for path in _BASE:
        value: Any = recipe
        for part in path.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        found[path] = value
    # A recipe from before mixes by category has neither key.
    found["mixes.by"], found["mixes.within"] = found["mixes.by"] or "source", found["mixes.within"] or {}
    mix = found["mixes.base"]
    if found["mixes.by"] == "category":
        return found
    if isinstance(mix, dict) and isinstance(found["sources"], dict):
        found["sources"] = {name: source for name, source in found["sources"].items() if mix.get(name)}
        found["mixes.base"] = {name: weight for name, weight in mix.items() if weight}
    return found


def _check_protocols(named: Mapping[str, CampaignResults]) -> None:
    scores = [
        replace(score, run=f"{campaign}:{score.run}")
        for campaign, each in named.items()
        for score in without_references(each).scores
    ]
    protocols = {digest: parts for each in named.values() for digest, parts in each.protocols.items()}
    hint = "A table never mixes protocols: score one of the campaigns again, or give each a report of its own."
    check_one_protocol(scores, protocols, hint)


def _new_names(named: Mapping[str, CampaignResults]) -> dict[str, dict[str, str]]:
    """By campaign, the new name of every variant whose name means several things; equal ones share a new name."""
    meanings: dict[str, list[_Meaning]] = {}
    for campaign, results in named.items():
        marks = {run.id: run.fingerprint for run in results.runs}
        runs: dict[str, dict[str, str]] = {}
        for run in results.runs:
            # What it is compared with belongs to its meaning: of equal weights, a difference may have two controls.
            runs.setdefault(run.variant, {})[run.id] = f"{run.fingerprint} {marks.get(run.control or '', run.control)}"
        for variant, weights in runs.items():
            here = meanings.setdefault(variant, [])
            agreeing = next((meaning for meaning in here if meaning.agrees(weights)), None)
            if agreeing is None:
                here.append(_Meaning(campaign, weights, [campaign]))
            else:
                agreeing.weights.update(weights)
                agreeing.campaigns.append(campaign)
    names: dict[str, dict[str, str]] = {campaign: {} for campaign in named}
    for variant, several in meanings.items():
        if len(several) > 1:
            for meaning in several:
                for campaign in meaning.campaigns:
                    names[campaign][variant] = f"{meaning.first}:{variant}"
    for campaign, results in named.items():
        _name_after_controls(results, names[campaign])
    return names


def _name_after_controls(results: CampaignResults, names: dict[str, str]) -> None:
    """Add the variants that are compared with renamed ones: a difference is told apart by what it is taken from."""
    variants = {run.id: run.variant for run in results.runs}
    for run in results.runs:
        control = variants.get(run.control or "")
        if control in names:
            names.setdefault(run.variant, f"{names[control].removesuffix(control)}{run.variant}")


@dataclass
class _Meaning:
    """What a variant's name stands for in some of the campaigns."""

    first: str
    """The campaign that has it first."""
    weights: dict[str, str]
    """Fingerprint and the control's fingerprint by run."""
    campaigns: list[str]

    def agrees(self, weights: Mapping[str, str]) -> bool:
        """Whether every run that both have is the same."""
        return all(self.weights.get(run, mark) == mark for run, mark in weights.items())


def _renamed(results: CampaignResults, names: Mapping[str, str]) -> CampaignResults:
    """The campaign with some of its variants under other names, in everything that names a run."""
    if not names:
        return results
    variants = {run.id: run.variant for run in results.runs}

    def new(run: str) -> str:
        variant, _, seeds = run.rpartition("/")
        variant = variants.get(run, variant)
        return f"{names[variant]}/{seeds}" if variant in names else run

    def new_spec(run: RunSpec) -> RunSpec:
        update: dict[str, Any] = {"id": new(run.id), "control": new(run.control) if run.control else None}
        if run.variant in names:
            campaign = names[run.variant].removesuffix(f":{run.variant}")
            update |= {"variant": names[run.variant], "changed": {**run.changed, "campaign": campaign}}
        return run.model_copy(update=update)

    return replace(
        results,
        expected=tuple(map(new, results.expected)),
        runs=tuple(map(new_spec, results.runs)),
        scores=tuple(replace(score, run=new(score.run)) for score in results.scores),
        missing=tuple(replace(lack, run=new(lack.run)) for lack in results.missing),
        scorings=tuple(replace(scoring, run=new(scoring.run)) for scoring in results.scorings),
        ledger=tuple(replace(one, run=new(one.run)) for one in results.ledger),
    )


def _joined(named: Mapping[str, CampaignResults], parts: Sequence[CampaignResults]) -> CampaignResults:
    """All runs and scores, each once: of a run's task, those of the first campaign that has any."""
    tasks = tuple(dict.fromkeys(task for each in parts for task in each.tasks))
    source: dict[tuple[str, str], int] = {}
    for number, each in enumerate(parts):
        for score in each.scores:
            source.setdefault((score.run, score.task), number)
    runs: dict[str, RunSpec] = {}
    for each in parts:
        for run in each.runs:
            runs.setdefault(run.id, run)
    expected = tuple(dict.fromkeys(name for each in parts for name in each.expected))
    ledger: dict[str, RunLedger] = {}
    for each in parts:
        for one in each.ledger:
            ledger.setdefault(one.run, one)
    questions = dict.fromkeys(each.hypothesis for each in parts if each.hypothesis)
    return CampaignResults(
        campaign=" + ".join(named),
        hypothesis="; ".join(questions),
        recipe=_recipe(parts),
        expected=expected,
        runs=tuple(sorted(runs.values(), key=lambda run: expected.index(run.id))),
        tasks=tasks,
        scores=tuple(s for i, each in enumerate(parts) for s in each.scores if source[s.run, s.task] == i),
        missing=_missing(parts, tasks, source),
        protocols={digest: found for each in parts for digest, found in each.protocols.items()},
        scorings=tuple(s for i, each in enumerate(parts) for s in each.scorings if source.get((s.run, s.task)) == i),
        attention=tuple(dict.fromkeys(said for each in parts for said in each.attention)),
        ledger=tuple(ledger.values()),
        leaks=together([each.leaks for each in parts]),
    )


def _missing(
    parts: Sequence[CampaignResults], tasks: Sequence[str], scored: Mapping[tuple[str, str], int]
) -> tuple[MissingScore, ...]:
    """What no campaign has: a run without any score once, else each task, with the first reason given."""
    reasons: dict[tuple[str, str | None], str] = {}
    for each in parts:
        for lack in each.missing:
            reasons.setdefault((lack.run, lack.task), lack.reason)
    found = []
    for run in dict.fromkeys(name for each in parts for name in each.expected):
        whole = reasons.get((run, None))
        if not any((run, task) in scored for task in tasks) and whole is not None:
            found.append(MissingScore(run, None, whole))
            continue
        for task in tasks:
            # Also where a task has other scores: one metric of it may lack its items.
            if (run, task) not in scored:
                found.append(MissingScore(run, task, reasons.get((run, task), _ELSEWHERE)))
            elif (run, task) in reasons and not _complete(parts[scored[run, task]], run, task):
                found.append(MissingScore(run, task, reasons[run, task]))
    return tuple(found)


def _complete(results: CampaignResults, run: str, task: str) -> bool:
    return not any((lack.run, lack.task) == (run, task) for lack in results.missing)


def _recipe(parts: Sequence[CampaignResults]) -> dict[str, Any]:
    """The first recipe, with the sources and the published numbers of all."""
    merged: dict[str, Any] = dict(parts[0].recipe)
    for section in ("sources", "published"):
        found: dict[str, Any] = {}
        for each in reversed(parts):
            value = each.recipe.get(section)
            found |= value if isinstance(value, dict) else {}
        if found:
            merged[section] = found
    return merged
