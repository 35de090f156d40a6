"""What the campaign cost: tokens, FLOPs, hours and money; spent, wasted, and what separate full runs take."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from pydantic import ValidationError

from joyctl.campaign.plan import parameters
from joyctl.campaign.spec import RunSpec, SegmentSpec, Stage
from joyctl.report.spending import Attempt, read_attempts
from joyctl.store import layout
from joyctl.store.files import last_object

_HOUR = 3_600.0


@dataclass(frozen=True)
class Cost:
    """Costs at this moment, from the attempts that were made (joyctl.report.spending)."""

    tokens: int
    """Trained so far, every stretch counted once; what was set aside or other campaigns trained is not in them."""
    flops: float
    """6 * parameters * tokens of that (Kaplan et al., arXiv 2001.08361)."""
    unit: Literal["GPU", "core"]
    """What hours count: GPUs where jobs had any, else processor cores."""
    hours: float
    """GPU- or core-hours of all attempts."""
    wasted_hours: float
    """Of these, in attempts that failed, were killed or lost, less what a later attempt could go on from."""
    by_stage: Mapping[str, float]
    """Hours by stage."""
    separate_tokens: int
    """Tokens that a full run from scratch would have taken for every different run that is trained."""
    separate_flops: float
    separate_hours: float | None
    """Hours that training these would have taken at the campaign's own speed, FLOP by FLOP; None before anything is
    trained."""
    price: float | None = None
    """Price of one hour of `unit`, from the cluster file, as the newest attempt that has one keeps it."""
    currency: str = ""
    wasted_by_stage: Mapping[str, float] = field(default_factory=dict)
    further_core_hours: float = 0.0
    """Core-hours of attempts without GPUs, where `hours` are of GPUs."""
    further_wasted_core_hours: float = 0.0
    seconds: float = 0.0
    """Time during which anything ran."""
    most_units: int = 0
    """GPUs, or cores, that were busy at once."""
    money: float | None = None
    """Of all attempts, each at the price of its time; one without a price at the newest of its kind. None where no
    attempt has a price, or those of GPUs or of cores alone have none, or currencies differ."""
    wasted_money: float | None = None
    separate_money: float | None = None
    """Of `separate_hours`, at `price`."""
    shared_tokens: Mapping[str, int] = field(default_factory=dict)
    """Tokens of trunk that were taken over, by the campaign that trained them; their cost stands there."""

    @property
    def wasted_share(self) -> float:
        """Wasted of all hours."""
        return self.wasted_hours / self.hours if self.hours else 0.0

    @property
    def times_as_much(self) -> float | None:
        """Separate full runs' tokens over those trained here; None before anything is trained to its end."""
        return self.separate_tokens / self.tokens if self.tokens and self.separate_tokens else None


def campaign_cost(folder: Path, now: float | None = None) -> Cost | None:
    """Costs of the campaign in `folder`; None where it tells of no attempt and no segment.

    `now` is a Unix time, the present unless given: attempts that run are counted up to it.
    """
    attempts = read_attempts(folder, now)
    segments = _segments(folder)
    if not attempts and not segments:
        return None
    unit: Literal["GPU", "core"] = "GPU" if any(attempt.gpus for attempt in attempts) else "core"
    ours = [attempt for attempt in attempts if attempt.gpus or unit == "core"]
    further = [attempt for attempt in attempts if not attempt.gpus and unit == "GPU"]
    shared = {name: _shared_with(folder / name) for name in segments}
    trained = {
        spec.id: 0 if shared[spec.id] else _steps(folder / spec.id, spec) * spec.training.tokens_per_step
        for spec in segments.values()
    }
    flops = sum(_flops(spec, trained[spec.id]) for spec in segments.values())
    separate = _separate(folder, segments)
    separate_flops = sum(_flops(spec, tokens) for spec, tokens in separate)
    used = [a for a in ours if a.stage == "train" and not a.aside]
    training = _hours(used) - _lost(used)
    separate_hours = separate_flops * training / flops if separate and flops and training > 0 else None
    prices = {name: _newest_price(of) for name, of in (("ours", ours), ("further", further))}
    paid = prices["ours"]
    money = _money((ours, prices["ours"]), (further, prices["further"]))
    stages = [stage for stage in get_args(Stage) if any(a.stage == stage for a in ours)]
    return Cost(
        tokens=sum(trained.values()),
        flops=flops,
        unit=unit,
        hours=_hours(ours),
        wasted_hours=_lost(ours),
        by_stage={stage: _hours(a for a in ours if a.stage == stage) for stage in stages},
        separate_tokens=sum(tokens for _, tokens in separate),
        separate_flops=separate_flops,
        separate_hours=separate_hours,
        price=paid[0] if paid else None,
        currency=paid[1] if paid else "",
        wasted_by_stage={stage: _lost(a for a in ours if a.stage == stage) for stage in stages},
        further_core_hours=_hours(further),
        further_wasted_core_hours=_lost(further),
        seconds=_busy_seconds(attempts),
        most_units=_most_at_once(ours),
        money=money[0] if money else None,
        wasted_money=money[1] if money else None,
        separate_money=paid[0] * separate_hours if paid and separate_hours is not None else None,
        shared_tokens=_shared_tokens(segments, shared),
    )


def _segments(folder: Path) -> dict[str, SegmentSpec]:
    """Specs of all segments by id; one that is torn is left out."""
    found = {}
    for place in ("trunk", "runs"):
        for path in sorted(folder.glob(f"{place}/*/*/{layout.SEGMENT}")):
            try:
                spec = SegmentSpec.model_validate_json(path.read_bytes())
            except ValidationError:
                continue
            found[path.parent.relative_to(folder).as_posix()] = spec
    return {name: spec for name, spec in found.items() if spec.id == name}


def _steps(here: Path, spec: SegmentSpec) -> int:
    """Steps of a segment that are trained."""
    whole = spec.end_step - spec.start_step
    if layout.marker(here, "train").exists():
        return whole
    step = (last_object(here / layout.METRICS) or {}).get("step")
    return min(whole, max(0, step - spec.start_step)) if isinstance(step, int) else 0


def _shared_with(here: Path) -> str | None:
    """The campaign that trained a stretch of trunk; None for this one."""
    try:
        return str(json.loads((here / layout.SHARED).read_bytes())["campaign"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return "another campaign"  # damaged, but trained elsewhere all the same


def _shared_tokens(segments: Mapping[str, SegmentSpec], shared: Mapping[str, str | None]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, spec in segments.items():
        if campaign := shared[name]:
            tokens = (spec.end_step - spec.start_step) * spec.training.tokens_per_step
            found[campaign] = found.get(campaign, 0) + tokens
    return found


def _separate(folder: Path, segments: Mapping[str, SegmentSpec]) -> list[tuple[SegmentSpec, int]]:
    """(last segment, tokens of a full run) of every run that is trained; equal runs, which share one, count once."""
    found = {}
    for path in sorted(folder.glob(f"runs/*/*/{layout.RUN}")):
        try:
            run = RunSpec.model_validate_json(path.read_bytes())
        except ValidationError:
            continue
        spec = segments.get(run.segment) if run.segment is not None else None
        if spec is not None and layout.marker(folder / spec.id, "train").exists():
            found[spec.id] = (spec, run.end_step * spec.training.tokens_per_step)
    return list(found.values())


def _flops(spec: SegmentSpec, tokens: int) -> float:
    return 6.0 * parameters(spec.model) * tokens


def _hours(attempts: Iterable[Attempt]) -> float:
    return sum(attempt.seconds * attempt.units for attempt in attempts) / _HOUR


def _lost(attempts: Iterable[Attempt]) -> float:
    return sum(attempt.lost * attempt.units for attempt in attempts) / _HOUR


def _newest_price(attempts: Sequence[Attempt]) -> tuple[float, str] | None:
    return next(((a.price, a.currency) for a in reversed(attempts) if a.price is not None), None)


def _money(*kinds: tuple[Sequence[Attempt], tuple[float, str] | None]) -> tuple[float, float] | None:
    """(spent, wasted) over attempts of several kinds, each with the price of those that keep none."""
    spent = wasted = 0.0
    currencies = set()
    for attempts, newest in kinds:
        if attempts and newest is None:
            return None
        for attempt in attempts:
            assert newest is not None
            price = newest[0] if attempt.price is None else attempt.price
            currencies.add(newest[1] if attempt.price is None else attempt.currency)
            spent += price * attempt.seconds * attempt.units / _HOUR
            wasted += price * attempt.lost * attempt.units / _HOUR
    return (spent, wasted) if len(currencies) == 1 else None


def _busy_seconds(attempts: Sequence[Attempt]) -> float:
    """Length of the union of their times; `attempts` stand by their start."""
    total, until = 0.0, float("-inf")
    for attempt in attempts:
        total += max(0.0, attempt.end - max(attempt.start, until))
        until = max(until, attempt.end)
    return total


def _most_at_once(attempts: Sequence[Attempt]) -> int:
    changes = [(a.start, a.units) for a in attempts if a.seconds] + [(a.end, -a.units) for a in attempts if a.seconds]
    most = now = 0
    for _, change in sorted(changes):  # at one moment ends come first
        now += change
        most = max(most, now)
    return most
