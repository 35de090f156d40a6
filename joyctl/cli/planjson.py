"""The plan as the documented JSON, and the numbers that it shares with the screen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from joyctl.campaign.plan import Plan, parameters
from joyctl.campaign.protocol import protocol_words
from joyctl.campaign.schedule import segment_lr
from joyctl.campaign.spec import Protocol, RunSpec, SegmentSpec
from joyctl.campaign.totals import full_runs
from joyctl.cli.costscreen import outlook_json, plan_outlook
from joyctl.data.ledger import source_use
from joyctl.launch.prepare import Prepared
from joyctl.recipe.cluster import Cluster
from joyctl.report.claim import Claim, claim
from joyctl.report.foresight import Sight, foresee


def plan_json(prepared: Prepared, cluster: Cluster | None = None, audit: Sequence[dict[str, Any]] | None = None) -> str:
    """The plan as the documented JSON object, with what it takes on `cluster`, and its audit where there is one."""
    plan, work = prepared.plan, prepared.work
    ahead = plan_outlook(prepared, cluster)
    totals = {**totals_of(prepared), "gpu_hours": ahead.gpu_hours if ahead else None}
    hours = ahead.hours if ahead else {}
    value: dict[str, Any] = {
        "campaign": plan.campaign,
        "data": {"folder": str(prepared.data.path), "stated": prepared.data.stated},
        "claim": asdict(said) if (said := planned_claim(plan)) else None,
        "segments": [
            {
                "id": s.id,
                "parent": s.parent,
                "start_step": s.start_step,
                "end_step": s.end_step,
                "mix": shares_of(s.order.phases[-1].weights),
                "seed": s.order.phases[-1].seed if s.id.startswith("runs/") else s.order.seed,
                "action": work.segments[s.id].action,
            }
            for s in plan.segments
        ],
        "runs": [{**_run_json(prepared, run), "hours": hours.get(run.segment or "")} for run in plan.runs],
        "base": _base_json(plan),
        "power": [_sight_json(sight) for sight in planned_sights(prepared)],
        "totals": totals,
        "estimate": outlook_json(ahead),
    }
    if audit is not None:
        value["audit"] = audit
    return to_json(value, indent=1).decode()


def _base_json(plan: Plan) -> dict[str, Any] | None:
    """What the trunks go on from; None where they are trained from their first step."""
    first = next((s for s in plan.segments if s.base is not None), None)
    if first is None or first.base is None:
        return None
    optimizer = "carried on" if first.base.kind == "dcp" else "started anew"
    return {**first.base.model_dump(mode="json"), "optimizer": optimizer, "seen": first.order.seen or {}}


def planned_claim(plan: Plan) -> Claim | None:
    """What the planned differences will be about."""
    return claim(plan.runs, plan.recipe.model_dump(include={"base"}))


def planned_sights(prepared: Prepared) -> tuple[Sight, ...]:
    """What the campaign, with all it already holds, will be able to see; measured where its last report tells."""
    return foresee(prepared.plan.runs, last_report(prepared.folder))


def last_report(campaign: Path) -> dict[str, Any] | None:
    """What the campaign's last report said; None where there is none or it is torn."""
    try:
        found = json.loads((campaign / "report" / "report.json").read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _sight_json(sight: Sight) -> dict[str, Any]:
    task, metric, filter_ = sight.key
    return {
        "task": task,
        "metric": metric,
        "filter": filter_,
        "n": sight.n,
        "seeds": sight.seeds,
        "comparisons": sight.comparisons,
        "detectable": sight.alone,
        "detectable_adjusted": sight.corrected,
        "detectable_with_noise": sight.alone_with_noise,
        "detectable_adjusted_with_noise": sight.corrected_with_noise,
        "basis": sight.basis,
    }


def _run_json(prepared: Prepared, run: RunSpec) -> dict[str, Any]:
    segment, decision = segment_of(prepared, run), prepared.work.runs[run.id]
    use = source_use(segment, run.branch_step) if segment else {}
    return {
        "id": run.id,
        "variant": run.variant,
        "seed": run.seed,
        "trunk_seed": run.trunk_seed,
        "control": run.control,
        "dropped": list(run.dropped),
        "policy": run.policy,
        "added": run.added,
        "share": run.share,
        "beside": run.beside,
        "branch_step": run.branch_step,
        "end_step": run.end_step,
        "tokens": run.end_step * segment.training.tokens_per_step if segment else 0,
        "mix": run.mix,
        "sources": use,
        "lr_at_branch": lr_at_branch(run, segment) if segment else None,
        "protocol": _protocol_json(run.protocol),
        "action": decision.action,
        "reason": decision.reason,
        "reference": run.reference.model_dump(mode="json") if run.reference else None,
    }


@lru_cache
def _protocol_json(protocol: Protocol) -> dict[str, Any]:
    return {**protocol.model_dump(mode="json"), "words": protocol_words(protocol)}


def segment_of(prepared: Prepared, run: RunSpec) -> SegmentSpec | None:
    """The segment that a run exports; None for a reference."""
    return None if run.segment is None else prepared.plan.segment(run.segment)


def lr_at_branch(run: RunSpec, segment: SegmentSpec) -> float | None:
    """LR of the first step of the phase."""
    if run.branch_step is None:
        return None
    return segment_lr(segment, run.branch_step + 1)


def totals_of(prepared: Prepared) -> dict[str, Any]:
    """Of what this plan still has to train; `tokens_if_separate` of a full run for each of its runs.

    `full_runs` is of the whole plan, whatever of it is done.
    """
    plan = prepared.plan
    todo = [s for s in plan.segments if prepared.work.segments[s.id].action in ("run", "resume")]
    tokens = sum((s.end_step - s.start_step) * s.training.tokens_per_step for s in todo)
    # 6 floating-point operations a parameter and token: Kaplan et al., arXiv 2001.08361.
    sizes = {id(s.model): parameters(s.model) for s in {id(s.model): s for s in todo}.values()}
    flops = sum(6 * sizes[id(s.model)] * (s.end_step - s.start_step) * s.training.tokens_per_step for s in todo)
    trained = [(run, segment) for run in plan.runs if (segment := segment_of(prepared, run))]
    separate = sum(run.end_step * segment.training.tokens_per_step for run, segment in trained)
    return {
        "tokens": tokens,
        "tokens_if_separate": separate,
        "flops": flops,
        "full_runs": asdict(full_runs(plan)),
    }


def shares_of(weights: dict[str, int]) -> dict[str, float]:
    """Integer weights as shares."""
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}
