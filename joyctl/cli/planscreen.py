"""The plan as a person reads it, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from joyctl.campaign.mixture import normalise
from joyctl.campaign.plan import Plan, parameters
from joyctl.campaign.protocol import protocol_words
from joyctl.campaign.schedule import lr_at
from joyctl.campaign.spec import RunSpec, SegmentSpec
from joyctl.data.ledger import SourceUse, source_use
from joyctl.launch.prepare import Prepared
from joyctl.report.claim import Claim, claim
from joyctl.report.foresight import DISCORDANT, Sight, foresee
from joyctl.report.power import POWER

# More repetition than this costs quality (Muennighoff et al., arXiv 2305.16264).
MAX_EPOCHS = 4.0


def plan_json(prepared: Prepared) -> str:
    """The plan as the documented JSON object."""
    plan, work = prepared.plan, prepared.work
    totals = _totals(prepared)
    value: dict[str, Any] = {
        "campaign": plan.campaign,
        "claim": asdict(said) if (said := _claim(plan)) else None,
        "segments": [
            {
                "id": s.id,
                "parent": s.parent,
                "start_step": s.start_step,
                "end_step": s.end_step,
                "mix": _shares(s.order.phases[-1].weights),
                "seed": s.order.phases[-1].seed if s.id.startswith("runs/") else s.order.seed,
                "action": work.segments[s.id].action,
            }
            for s in plan.segments
        ],
        "runs": [_run_json(prepared, run) for run in plan.runs],
        "power": [_sight_json(sight) for sight in _sights(prepared)],
        "totals": totals,
    }
    return json.dumps(value, indent=1)


def print_plan(prepared: Prepared, *, next_command: str, console: Console | None = None) -> None:
    """Print the plan to stdout."""
    out = console or Console(highlight=False)
    plan = prepared.plan
    fresh = sum(s.id.startswith("trunk/") and prepared.work.segments[s.id].action == "run" for s in plan.segments)
    runs = _counted(plan)
    out.print(Text(f"{plan.campaign} · {plan.recipe.hypothesis}", style="bold"))
    trunk = next(s for s in plan.segments if s.parent is None)
    base = "  ".join(f"{name} {float(share) * 100:.1f}" for name, share in normalise(plan.recipe.mixes.base).items())
    tokens = trunk.total_steps * trunk.training.tokens_per_step
    out.print(
        f"{runs}, {fresh} new stretches of trunk · trunk {trunk.total_steps:,} steps, "
        f"{_count(tokens)} tokens, {_count(parameters(trunk.model))} parameters · {base}\n"
    )
    out.print(_table(prepared, out.width))
    if not _fits(prepared, out.width):
        out.print("")
        for line in _mixes(prepared):
            out.print(line)
    references = _references(prepared)
    if references:
        out.print("")
        for line in references:
            out.print(line)
    refused = prepared.work.refused
    if refused:
        keys = sorted({key for decision in refused.values() for key, _, _ in decision.changes})
        out.print(Text(f"\n refused: on disk with other settings ({', '.join(keys[:5])})", style="red"))
    totals = _totals(prepared)
    uses = [source_use(segment, None) for run in plan.runs if (segment := _segment(prepared, run))]
    if any(u.epochs > MAX_EPOCHS for use in uses for u in use.values()):
        out.print(Text(f"\n more than {MAX_EPOCHS:g} epochs of a source: repetition starts to cost", style="red"))
    if totals["tokens_if_separate"]:
        ratio = totals["tokens_if_separate"] / max(totals["tokens"], 1)
        less = f": {ratio:.1f} times less" if totals["tokens"] else ""
        out.print(
            f"\n tokens   {_count(totals['tokens'])} to train, "
            f"{_count(totals['tokens_if_separate'])} as separate full runs{less}"
        )
    for line in _standing(plan):
        out.print(line, style="dim")
    for said in _can_detect(prepared):
        out.print(said)
    todo = len(prepared.work.jobs)
    if refused:
        out.print(f"\nnext:  {next_command} campaign={plan.campaign}-2   or   {next_command} --rerun")
    else:
        out.print(f"\nnext:  {next_command}" if todo else f"\nall of it is done:  joyctl report {plan.campaign}")


def _claim(plan: Plan) -> Claim | None:
    """What the planned differences will be about."""
    return claim(plan.runs, plan.recipe.model_dump(include={"base"}))


def _standing(plan: Plan) -> list[str]:
    """How phases are trained and read off, and what their differences will be about."""
    protocol = next((run.protocol for run in plan.runs if run.reference is None), None)
    lines = [f"\n protocol: {protocol_words(protocol)}"] if protocol else []
    kept = [s for s in plan.segments if s.average is not None]
    if kept and kept[0].average:
        # A checkpoint holds a parameter three times in float32: itself and AdamW's two moments.
        more = 12 * parameters(kept[0].model) * (kept[0].average.last - 1) * len(kept)
        lines.append(f" averaging keeps {kept[0].average.last} checkpoints a run: about {_count(more)}B more on disk")
    said = _claim(plan)
    return [*lines, f" claim: {said.words}"] if said else lines


def _sights(prepared: Prepared) -> tuple[Sight, ...]:
    """What the campaign, with all it already holds, will be able to see; measured where its last report tells."""
    return foresee(prepared.plan.runs, last_report(prepared.folder))


def last_report(campaign: Path) -> dict[str, Any] | None:
    """What the campaign's last report said; None where there is none or it is torn."""
    try:
        found = json.loads((campaign / "report" / "report.json").read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _can_detect(prepared: Prepared) -> list[Text]:
    """Smallest detectable differences, with what they rest on."""
    sights = _sights(prepared)
    if not sights:
        return []
    first, names = sights[0], _labels(sights)
    seeds = f"{first.seeds} seed{'s' if first.seeds > 1 else ''}"
    said: list[tuple[str, list[str]]] = [
        ("each alone", [_size(names[s.key], s, s.alone) for s in sights]),
        (f"Holm over {first.comparisons}", [_size(names[s.key], s, s.corrected) for s in sights]),
    ]
    noisy = [(s, s.corrected_with_noise) for s in sights if s.corrected_with_noise is not None]
    if noisy:
        said.append(("with run-to-run noise", [_size(names[s.key], s, size) for s, size in noisy]))
    lines = [Text(f"\n can detect with {POWER * 100:.0f} % power, {seeds}")]
    width = max(len(label) for label, _ in said)
    lines += [Text(f"   {label:<{width}}   {' · '.join(parts)}") for label, parts in said]
    if any(s.basis == "assumed" for s in sights):
        share = f"{DISCORDANT * 100:.0f} %"
        lines.append(Text(f"   assumed: a run and its control answer {share} of the items differently", style="dim"))
    if not noisy:
        lines.append(Text("   run-to-run noise is not in it: it is not known yet (--trunk-seeds 3)", style="dim"))
    return lines


def _labels(sights: Sequence[Sight]) -> dict[tuple[str, str, str], str]:
    """Benchmarks by their task; with the metric where a task has several."""
    tasks = [sight.key[0] for sight in sights]
    return {s.key: s.key[0] if tasks.count(s.key[0]) == 1 else f"{s.key[0]} {s.key[1]}" for s in sights}


def _size(name: str, sight: Sight, size: float) -> str:
    if sight.percent:
        return f"{name} ±{size * 100:.1f} pp" if size <= 1 else f"{name} not even 100 pp"
    return f"{name} ±{size:.3f}"


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


def _table(prepared: Prepared, width: int) -> Table:
    plan = prepared.plan
    sources = list(plan.recipe.sources)
    spread = _fits(prepared, width)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("run", no_wrap=True)
    for head in ("at step", "steps", "LR there"):
        table.add_column(head, justify="right", no_wrap=True)
    for name in sources if spread else []:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("epochs", justify="right", no_wrap=True)
    table.add_column("action")
    for run in plan.runs:
        decision = prepared.work.runs[run.id]
        detail = "" if decision.action in ("run", "refuse") else f" ({decision.reason})"
        action = Text(decision.action + detail, style={"refuse": "red", "skip": "dim"}.get(decision.action, ""))
        if run.segment is None:  # a reference: nothing of its training is known
            table.add_row(_short(run), *["-"] * (len(table.columns) - 2), action)
            continue
        segment = plan.segment(run.segment)
        use = source_use(segment, run.branch_step)
        name, most = max(use.items(), key=lambda item: item[1].epochs)
        lr = _lr_at_branch(run, segment)
        table.add_row(
            _short(run),
            "-" if run.branch_step is None else f"{run.branch_step:,}",
            "-" if run.branch_step is None else f"{run.end_step - run.branch_step:,}",
            "-" if lr is None else f"{lr:.1e}",
            *(f"{run.mix.get(source, 0.0) * 100:.1f}" for source in (sources if spread else [])),
            Text(f"{name} {most.epochs:.1f}", style="red bold" if most.epochs > MAX_EPOCHS else ""),
            action,
        )
    return table


def _fits(prepared: Prepared, width: int) -> bool:
    """Whether a column a source fits; if not, mixes are listed under the table."""
    names = max(len(_short(run)) for run in prepared.plan.runs)
    return 54 + names + sum(max(len(name), 4) + 2 for name in prepared.plan.recipe.sources) <= width


def _mixes(prepared: Prepared) -> list[str]:
    """Every mix with the runs that train on it."""
    runs: dict[str, list[str]] = {}
    for run in prepared.plan.runs:
        if run.reference is not None:
            continue
        mix = "  ".join(f"{name} {share * 100:.1f}" for name, share in run.mix.items() if share)
        runs.setdefault(mix, []).append(_short(run))
    return [f" mix   {mix}: {', '.join(names)}" for mix, names in runs.items()]


def _references(prepared: Prepared) -> list[str]:
    """Every reference with its model, and whether that is here."""
    lines = []
    for run in prepared.plan.runs:
        if run.reference is not None:
            commit = f" ({run.reference.commit[:12]})" if run.reference.commit else ""
            about = f" · {run.reference.about}" if run.reference.about else ""
            there = "" if run.reference.folder else " · to be downloaded"
            lines.append(f" {_short(run)}   {run.reference.model}{commit}{about}{there}")
    return lines


def _run_json(prepared: Prepared, run: RunSpec) -> dict[str, Any]:
    segment, decision = _segment(prepared, run), prepared.work.runs[run.id]
    use = source_use(segment, run.branch_step) if segment else {}
    return {
        "id": run.id,
        "variant": run.variant,
        "seed": run.seed,
        "trunk_seed": run.trunk_seed,
        "control": run.control,
        "branch_step": run.branch_step,
        "end_step": run.end_step,
        "tokens": run.end_step * segment.training.tokens_per_step if segment else 0,
        "mix": run.mix,
        "sources": {name: _use_json(u) for name, u in use.items()},
        "lr_at_branch": _lr_at_branch(run, segment) if segment else None,
        "protocol": {**run.protocol.model_dump(mode="json"), "words": protocol_words(run.protocol)},
        "action": decision.action,
        "reason": decision.reason,
        "reference": run.reference.model_dump(mode="json") if run.reference else None,
    }


def _segment(prepared: Prepared, run: RunSpec) -> SegmentSpec | None:
    """The segment that a run exports; None for a reference."""
    return None if run.segment is None else prepared.plan.segment(run.segment)


def _use_json(use: SourceUse) -> dict[str, Any]:
    return {
        "tokens": use.tokens,
        "epochs": use.epochs,
        "seen_before": use.seen_before,
        "repeated": use.repeated,
    }


def _lr_at_branch(run: RunSpec, segment: SegmentSpec) -> float | None:
    """LR of the first step of the phase."""
    if run.branch_step is None:
        return None
    return lr_at(segment.schedule, segment.optimizer.lr, run.branch_step + 1, segment.total_steps)


def _totals(prepared: Prepared) -> dict[str, Any]:
    """Of what this plan still has to train; `tokens_if_separate` of a full run for each of its runs."""
    plan = prepared.plan
    todo = [s for s in plan.segments if prepared.work.segments[s.id].action in ("run", "resume")]
    tokens = sum((s.end_step - s.start_step) * s.training.tokens_per_step for s in todo)
    # 6 floating-point operations a parameter and token: Kaplan et al., arXiv 2001.08361.
    flops = sum(6 * parameters(s.model) * (s.end_step - s.start_step) * s.training.tokens_per_step for s in todo)
    trained = [(run, segment) for run in plan.runs if (segment := _segment(prepared, run))]
    separate = sum(run.end_step * segment.training.tokens_per_step for run, segment in trained)
    return {"tokens": tokens, "tokens_if_separate": separate, "flops": flops, "gpu_hours": None}


def _shares(weights: dict[str, int]) -> dict[str, float]:
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def _counted(plan: Plan) -> str:
    """`9 runs`, and the references beside them."""
    references = sum(run.reference is not None for run in plan.runs)
    beside = f" and {references} reference{'s' if references > 1 else ''}" if references else ""
    return f"{len(plan.runs) - references} runs{beside}"


def _short(run: RunSpec) -> str:
    """A run's name without its seeds where it is the only one."""
    return run.variant if run.id.endswith("/s0") else run.id


def _count(n: float) -> str:
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if n >= size:
            return f"{n / size:.2f} {unit}"
    return f"{n:.0f}"
