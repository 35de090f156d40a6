"""The report as JSON: the keys that scripts rely on."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from joyctl.campaign.protocol import protocol_words
from joyctl.campaign.spec import ReferenceSpec, RunSpec
from joyctl.report import notes
from joyctl.report.aggregate import Composite, estimate
from joyctl.report.chance import AtChance
from joyctl.report.curve import DurationCurve
from joyctl.report.deltas import Delta
from joyctl.report.judge import ALPHA
from joyctl.report.leaks import Leaks
from joyctl.report.noise import Floor
from joyctl.report.published import Beside, Published
from joyctl.report.report import Report
from joyctl.report.results import CampaignResults, CleanScore, Key, Score
from joyctl.report.sheet import Column
from joyctl.report.worth import DatasetTable, ProbeTable


def render_json(report: Report) -> dict[str, Any]:
    """The object of report.json; values are fractions (or bits per byte), not per cent.

    `scores[].stderr` and `deltas[]` are clustered (joyctl.report.estimate). `tokens` of a run are those
    trained for it: its phase's, or the whole base run's for a control. `averages` holds one delta for every
    variant over its seeds, corrected apart from `deltas`; with one seed it repeats them under the variant's
    name. A category of the suite's aggregate and the average over categories stand among scores and deltas under
    their names as `task`, with the metric `rescaled`. `scorings` says how many prompts of a task were cut and what
    confined generated code; `at_chance` lists scores of the control that are not detectably above guessing.
    `clean` of a score or difference is what it is without the items of `overlap`; `ledger` is
    `joyctl.report.ledger.RunLedger` by run. `runs[].reference` is another model (None for the campaign's own runs), and
    its `protocol` the parts of the protocol that came with that model. `cost` is `joyctl.report.cost.Cost`, or null.

    Every key is described by the JSON Schema of joyctl.report.jsonschema.
    """
    results = report.results
    training = results.recipe.get("training") or {}
    specs = {run.id: run for run in results.runs}
    step = int(training.get("seq_len", 0)) * int(training.get("batch_size", 0))
    return {
        "campaign": results.campaign,
        "hypothesis": results.hypothesis,
        "conclusion": report.conclusion,
        "claim": asdict(report.claim) if report.claim else None,
        "runs": [_run(run, step, results) for run in results.runs],
        "scores": [
            *(_score(score, score.items.estimate(score.metric).stderr) for score in results.scores),
            *(_score(one, estimate([(specs[one.run], one)]).stderr) for one in report.composites),
        ],
        "deltas": [_delta(delta) for delta in report.deltas],
        "averages": [_delta(delta) for delta in report.averages],
        "missing": [asdict(missing) for missing in results.missing],
        "protocols": {digest: dict(parts) for digest, parts in results.protocols.items()},
        "scorings": [asdict(scoring) for scoring in results.scorings],
        "at_chance": [_at_chance(one) for one in report.chance],
        "noise": [_floor(floor) for floor in report.floors],
        "curve": _curve(report.curve) if report.curve else None,
        "datasets": _datasets(report.datasets) if report.datasets else None,
        "probes": _datasets(report.probes) if report.probes else None,
        "published": [_published(one) for one in report.published],
        "ledger": [asdict(one) for one in results.ledger],
        "overlap": _overlap(results.leaks),
        "notes": notes.scoring_notes(report),
        "cost": None if report.cost is None else asdict(report.cost),
        "alpha": ALPHA,
    }


def _run(run: RunSpec, tokens_a_step: int, results: CampaignResults) -> dict[str, Any]:
    return {
        "id": run.id,
        "variant": run.variant,
        "seed": run.seed,
        "trunk_seed": run.trunk_seed,
        "control": run.control,
        "mix": run.mix,
        "tokens": (run.end_step - (run.branch_step or 0)) * tokens_a_step,
        "duration": run.duration,
        "branch_step": run.branch_step,
        "end_step": run.end_step,
        "dropped": list(run.dropped),
        "policy": run.policy,
        "added": run.added,
        "share": run.share,
        "beside": run.beside,
        "protocol": {**run.protocol.model_dump(mode="json"), "words": protocol_words(run.protocol)},
        "changed": run.changed,
        "fingerprint": run.fingerprint,
        "reference": None if run.reference is None else _reference(run.id, run.reference, results),
    }


def _reference(run: str, reference: ReferenceSpec, results: CampaignResults) -> dict[str, Any]:
    parts = [{"part": p.part, "runs": p.runs, "own": p.own} for p in results.model_parts if p.run == run]
    return {**reference.model_dump(mode="json", exclude={"folder"}), "protocol": parts}


def _score(score: Score | Composite, stderr: float) -> dict[str, Any]:
    return {
        "run": score.run,
        "task": score.task,
        "metric": score.metric,
        "filter": score.filter,
        "value": score.value,
        "stderr": stderr,
        "n": score.n,
        "protocol": score.protocol,
        "higher_is_better": score.higher_is_better,
        "clean": _clean(score.clean),
    }


def _clean(clean: CleanScore | None) -> dict[str, Any] | None:
    if clean is None:
        return None
    return {"value": clean.value, "stderr": clean.stderr, "n": clean.n, "found": clean.found}


def _overlap(leaks: Leaks | None) -> dict[str, Any] | None:
    if leaks is None:
        return None
    tasks = [
        {
            "task": task,
            "n": one.n,
            "found": [{"doc_id": doc, "sources": list(names)} for doc, names in one.found.items()],
            "too_short": one.too_short,
        }
        for task, one in leaks.tasks.items()
    ]
    return {"unknown": leaks.unknown, "sources": list(leaks.sources), "ngrams": list(leaks.ngrams), "tasks": tasks}


def _key(key: Key) -> dict[str, str]:
    task, metric, filter_ = key
    return {"task": task, "metric": metric, "filter": filter_}


def _at_chance(one: AtChance) -> dict[str, Any]:
    return {
        **_key(one.key),
        "control": one.control,
        "value": one.value,
        "low": one.low,
        "baseline": one.baseline,
        "read": [key[1] for key in one.proxies],
    }


def _floor(floor: Floor) -> dict[str, Any]:
    return {**_key(floor.key), **_without_key(floor)}


def _curve(curve: DurationCurve) -> dict[str, Any]:
    scores = {"targeted": list(map(_key, curve.targeted)), "general": list(map(_key, curve.general))}
    return {**asdict(curve), **scores}


def _datasets(table: DatasetTable | ProbeTable) -> dict[str, Any]:
    return {
        "columns": [{**_key(column.key), **_without_key(column)} for column in table.columns],
        "arms": [{**asdict(arm), "deltas": [_delta(delta) for delta in arm.deltas.values()]} for arm in table.arms],
        "ranks": [{**_key(key), "places": [asdict(one) for one in places]} for key, places in table.ranks.items()],
    }


def _published(one: Published) -> dict[str, Any]:
    return {
        "name": one.name,
        "source": one.source,
        "model": one.model,
        "second_hand": one.second_hand,
        "benchmarks": [{**_key(key), "benchmark": benchmark} for key, benchmark in one.benchmarks.items()],
        "beside": [_beside(each) for each in one.beside],
        "not_run": list(one.not_run),
    }


def _beside(one: Beside) -> dict[str, Any]:
    delta = one.delta
    return {
        "variant": delta.run,
        "control": delta.control,
        **_key(delta.key),
        "benchmark": one.benchmark,
        "delta": delta.delta,
        "low": delta.low,
        "high": delta.high,
        "verdict": delta.verdict,
        "value": one.value,
        "control_value": one.control_value,
        "difference": one.difference,
        "direction": one.direction,
        "inside": one.inside,
    }


def _without_key(value: Floor | Column) -> dict[str, Any]:
    return {name: found for name, found in asdict(value).items() if name != "key"}


def _delta(delta: Delta) -> dict[str, Any]:
    return {**asdict(delta), "better": delta.better}
