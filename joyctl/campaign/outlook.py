"""What a plan will take on a cluster: memory of each GPU, hours, money; each with what it rests on. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from joyctl.campaign.estimate import USABLE, Memory, Mode, memory, tokens_per_second
from joyctl.campaign.plan import parameters
from joyctl.campaign.spec import SegmentSpec
from joyctl.recipe import gpus
from joyctl.recipe.cluster import SlurmCluster

Basis = Literal["given", "measured", "assumed"]
_GIB = 2**30


@dataclass(frozen=True)
class Outlook:
    """What training will take; scoring is not in it."""

    processes: int
    """Of one training."""
    gpus: int
    """That one training holds."""
    gpu: str | None
    """Kind of GPU, if the cluster file says."""
    mode: Mode
    """Of activation checkpointing."""
    memory: Memory
    """Of one process, of the segment that needs most."""
    memory_there: float | None
    """Bytes that one GPU has; None where the cluster file does not tell."""
    basis: Basis | None
    """Whether the speed was given in the cluster file, measured in this campaign or assumed; None for no speed."""
    speeds: Mapping[str, float]
    """Tokens a second of one training, by segment; empty where no speed is known."""
    hours: Mapping[str, float]
    """Hours of training by segment, whole; empty where no speed is known."""
    gpu_hours: float | None
    """Of all that is still to be trained."""
    money: float | None
    """Of these, by price_per_gpu_hour."""
    currency: str
    mfu: float
    """Share of the peak that was assumed."""

    @property
    def fits(self) -> bool | None:
        """Whether it fits into a GPU's memory; None where nobody knows that."""
        return None if self.memory_there is None else self.memory.total <= USABLE * self.memory_there


def outlook(
    segments: Sequence[SegmentSpec], left: Mapping[str, int], cluster: SlurmCluster, measured: float | None
) -> Outlook | None:
    """What training `segments` takes, of which `left` (steps by id) are still to be trained.

    `measured` is tokens a second of one training of this campaign, if known. None without GPUs in the cluster file.
    """
    stage, settings = cluster.stages.train, cluster.torchtitan
    if not segments or not (stage.gpus_per_node or stage.gres or cluster.gpu):
        return None
    processes = cluster.training_processes
    held = stage.nodes * stage.gpus_per_node or processes
    mode: Mode = "selective" if settings.activation_checkpoint is None else settings.activation_checkpoint.mode
    kind = gpus.KINDS[cluster.gpu] if cluster.gpu is not None else None
    there = cluster.gpu_memory_gib or (kind.memory_gib if kind is not None else None)
    needs = (memory(s.model, s.training, s.optimizer, settings, processes, mode) for s in _one_of_a_shape(segments))
    basis: Basis | None = "given" if cluster.tokens_per_second else "measured" if measured else None
    known = cluster.tokens_per_second or measured
    if known is None and kind is not None:
        basis = "assumed"

    def speed(segment: SegmentSpec) -> float | None:
        if known is not None or kind is None:
            return known
        seq_len, peak = segment.training.seq_len, kind.peak_flops
        return tokens_per_second(segment.model, seq_len, peak_flops=peak, mfu=cluster.mfu, processes=processes)

    speeds = {s.id: found for s in segments if (found := speed(s)) is not None}
    hours = {
        s.id: (s.end_step - s.start_step) * s.training.tokens_per_step / speeds[s.id] / 3600
        for s in segments
        if s.id in speeds
    }
    todo = [
        left[s.id] * s.training.tokens_per_step / speeds[s.id] / 3600
        for s in segments
        if s.id in speeds and s.id in left
    ]
    gpu_hours = held * sum(todo) if speeds else None
    price = cluster.price_per_gpu_hour
    return Outlook(
        processes=processes,
        gpus=held,
        gpu=cluster.gpu,
        mode=mode,
        memory=max(needs, key=lambda need: need.total),
        memory_there=None if there is None else there * _GIB,
        basis=basis,
        speeds=speeds,
        hours=hours,
        gpu_hours=gpu_hours,
        money=None if price is None or gpu_hours is None else price * gpu_hours,
        currency=cluster.currency or "",
        mfu=cluster.mfu,
    )


def _one_of_a_shape(segments: Sequence[SegmentSpec]) -> list[SegmentSpec]:
    """One segment for each size of model and batch: plans have thousands of equal ones."""
    found = {
        (parameters(s.model), s.model.dim, s.training.seq_len, s.training.batch_size, s.training.dtype): s
        for s in segments
    }
    return list(found.values())
