"""What a plan will take of GPUs, as a person reads it and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from joyctl.campaign.outlook import Outlook, outlook
from joyctl.launch.speed import measured_speed

if TYPE_CHECKING:
    from rich.text import Text

    from joyctl.launch.prepare import Prepared
    from joyctl.recipe.cluster import Cluster

_GIB = 2**30
_LEAST = 0.005 * _GIB  # less is not worth a word


def plan_outlook(prepared: Prepared, cluster: Cluster | None) -> Outlook | None:
    """What training this plan takes on a cluster; None where that has no GPUs or none is named."""
    if cluster is None or cluster.kind != "slurm":
        return None
    left = {job.folder: job.steps for job in prepared.work.jobs if job.stage == "train"}
    return outlook(prepared.plan.segments, left, cluster, measured_speed(prepared.folder, prepared.plan))


def outlook_json(found: Outlook | None) -> dict[str, Any] | None:
    """The object under `estimate`."""
    if found is None:
        return None
    parts = {name: round(size / _GIB, 3) for name, size in asdict(found.memory).items()}
    there = found.memory_there
    return {
        "gpu": found.gpu,
        "gpus": found.gpus,
        "processes": found.processes,
        "activation_checkpoint": found.mode,
        "memory_gib": {**parts, "total": round(found.memory.total / _GIB, 3)},
        "gpu_memory_gib": None if there is None else there / _GIB,
        "fits": found.fits,
        "basis": found.basis,
        "mfu": found.mfu if found.basis == "assumed" else None,
        "tokens_per_second": min(found.speeds.values(), default=None),
        "gpu_hours": found.gpu_hours,
        "money": found.money,
        "currency": found.currency or None,
    }


def outlook_lines(found: Outlook | None) -> list[Text]:
    """Memory and time, each with what it rests on."""
    from rich.text import Text

    if found is None:
        return []
    parts = " · ".join(f"{name} {_gib(size)}" for name, size in asdict(found.memory).items() if size >= _LEAST)
    there = "" if found.memory_there is None else f" of {_gib(found.memory_there)}"
    kind = f" ({found.gpu})" if found.gpu else ""
    need = f"{_gib(found.memory.total)}{there} GiB a GPU{kind}, estimated"
    lines = [Text(f" memory   {need} with {found.mode} activation checkpointing")]
    lines += [Text(f"          {parts}")] if parts else []
    if found.fits is False:
        lines.append(
            Text(
                "          does not fit: torchtitan.activation_checkpoint {mode: full}, a smaller "
                "training.local_batch_size,\n          or more GPUs to shard over (stages.train)",
                style="red",
            )
        )
    if found.gpu_hours is None:
        return [*lines, Text(" time     not known: give 'gpu' or 'tokens_per_second' in the cluster file", style="dim")]
    money = "" if found.money is None else f", {found.money:,.0f} {found.currency}"
    speed = min(found.speeds.values())
    rests = {
        "given": "as the cluster file says",
        "measured": "as this campaign has trained so far",
        "assumed": f"assumed: {found.mfu * 100:.0f} % of the peak of {found.processes} {found.gpu}",
    }[found.basis or "assumed"]
    lines.append(Text(f" time     {found.gpu_hours:,.1f} GPU-hours of training{money}, {found.gpus} GPUs a job"))
    lines.append(Text(f"          {speed:,.0f} tokens/s, {rests}; {_spans(found)}"))
    return lines


def _spans(found: Outlook) -> str:
    """How long stretches of trunk and phases take."""
    said = []
    for name, begins in (("a trunk", "trunk/"), ("phases", "runs/")):
        hours = [value for segment, value in found.hours.items() if segment.startswith(begins)]
        if not hours:
            continue
        if begins == "trunk/":
            trunks = {segment.rpartition("/")[0] for segment in found.hours if segment.startswith(begins)}
            said.append(f"{name} {_hours(sum(hours) / len(trunks))}")
        else:
            low, high = _hours(min(hours)), _hours(max(hours))
            said.append(f"{name} {low}" + ("" if low == high else f" to {high}"))
    return ", ".join(said)


def _hours(hours: float) -> str:
    return f"{hours * 60:.0f} min" if hours < 2 else f"{hours:,.1f} h"


def _gib(size: float) -> str:
    gib = size / _GIB
    return f"{gib:.1f}" if gib >= 0.95 else f"{gib:.2f}"
