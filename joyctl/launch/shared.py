"""Trunks shared between campaigns: what others below the same results folder have trained is taken over.

A stretch of trunk that a plan needs and whose equal (by fingerprint) another campaign holds is not trained again. Its
checkpoint is hard-linked, so it takes no space and stays when the other campaign is removed; where linking fails, as
between file systems, it is copied. attempts.jsonl stays behind: what training it cost stands where it was trained.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from joyctl.campaign.plan import Plan
from joyctl.campaign.spec import SegmentSpec
from joyctl.campaign.trunks import Interval, trunk_fingerprint
from joyctl.errors import Refused
from joyctl.store import dcp, layout
from joyctl.store.files import fsync_folder, write_json, write_text
from joyctl.store.fingerprint import fingerprint

_STAGING = ".taking"
"""Below the campaign's folder: what is being taken over, until it is whole."""


@dataclass(frozen=True)
class Offer:
    """A stretch of trunk that another campaign has trained."""

    campaign: str
    """Who trained it."""
    folder: Path


@dataclass(frozen=True)
class Offers:
    """What other campaigns have of one plan's trunks."""

    by_segment: Mapping[str, Offer] = field(default_factory=dict)
    damaged: tuple[str, ...] = ()
    """What would have been taken but for its state, in words, where no other campaign has it whole."""

    def get(self, segment: str) -> Offer | None:
        """Where a segment of the plan already lies, if another campaign has it."""
        return self.by_segment.get(segment)

    @property
    def reasons(self) -> dict[str, str]:
        """By segment, as the plan says it."""
        return {segment: f"shared with {offer.campaign}" for segment, offer in self.by_segment.items()}

    def words(self, plan: Plan) -> list[str]:
        """A line for every campaign that something is shared with."""
        steps: dict[str, int] = {}
        tokens: dict[str, int] = {}
        for spec in plan.segments:
            if offer := self.by_segment.get(spec.id):
                n = spec.end_step - spec.start_step
                steps[offer.campaign] = steps.get(offer.campaign, 0) + n
                tokens[offer.campaign] = tokens.get(offer.campaign, 0) + n * spec.training.tokens_per_step
        return [f"trunk shared with {c}: {n:,} steps, {tokens[c]:,} tokens not trained again" for c, n in steps.items()]


Elsewhere = Mapping[str, Mapping[Interval, tuple[Path, ...]]]
"""Trained stretches of other campaigns, by fingerprint of the trunk."""
Like = frozenset[tuple[object, ...]]
"""(steps, peak LR, width, tokenizer) of the trunks that are looked for: all others are passed over unread."""


def trunks_elsewhere(campaign: Path, like: Like) -> Elsewhere:
    """Trained stretches of trunk of every other campaign beside `campaign`.

    One file is read of each trunk and equal ones are understood once, so that many campaigns cost little.
    """
    found: dict[str, dict[Interval, tuple[Path, ...]]] = {}
    known: dict[bytes, str | None] = {}
    for trunk in _trunks(campaign):
        stretches = sorted(_stretches(trunk))
        if not stretches:
            continue
        try:
            content = (stretches[0][1] / layout.SEGMENT).read_bytes()
        except OSError:
            continue  # removed meanwhile
        if content not in known:
            known[content] = _understand(content, like)
        if mark := known[content]:
            for interval, folder in stretches:
                of_trunk = found.setdefault(mark, {})
                of_trunk[interval] = (*of_trunk.get(interval, ()), folder)
    return found


def offers(campaign: Path, plan: Plan, elsewhere: Elsewhere) -> Offers:
    """For every stretch of trunk that is planned and not begun here, where it lies whole, if anywhere.

    Whole is judged by sizes; `joyctl plan --audit` reads the bytes.
    """
    by_segment: dict[str, Offer] = {}
    damaged: list[str] = []
    marks: dict[str, str] = {}  # by trunk folder: its stretches differ in nothing that the trunk's fingerprint has
    for spec in plan.segments:
        if not elsewhere or not spec.id.startswith("trunk/") or (campaign / spec.id).exists():
            continue
        trunk = spec.id.rpartition("/")[0]
        mark = marks.get(trunk) or marks.setdefault(trunk, trunk_fingerprint(spec))
        unfit: list[str] = []
        for folder in elsewhere.get(mark, {}).get((spec.start_step, spec.end_step), ()):
            wrong = _wrong(folder, spec)
            if wrong is None:
                by_segment[spec.id] = Offer(_trained_by(folder), folder)
                break
            unfit.append(f"{folder} is not taken over: {wrong}")
        else:
            damaged += unfit[:1]
    return Offers(by_segment, tuple(damaged))


def take_over(campaign: Path, plan: Plan, offered: Offers) -> None:
    """Bring what is offered into the campaign's folder, every stretch whole or not at all.

    Raises Refused when one went away meanwhile. The caller holds the campaign.
    """
    staging = campaign / _STAGING
    if staging.exists():  # left by a process that was killed
        shutil.rmtree(staging)
    specs = [spec for spec in plan.segments if spec.id in offered.by_segment and not (campaign / spec.id).exists()]
    for spec in specs:
        offer, here, target = offered.by_segment[spec.id], staging / spec.id, campaign / spec.id
        try:
            _fill(here, spec, offer)
        except FileNotFoundError as error:
            shutil.rmtree(staging)
            raise Refused(
                f"{error.filename} went away while trunk {spec.id} was shared with {offer.campaign}",
                hint="The same command finds what is there now.",
            ) from error
        target.parent.mkdir(parents=True, exist_ok=True)
        here.rename(target)
        fsync_folder(target.parent)
    if staging.exists():
        shutil.rmtree(staging)


def _trunks(campaign: Path) -> Iterator[Path]:
    try:
        others = sorted(Path(each.path) for each in os.scandir(campaign.parent) if each.name != campaign.name)
    except FileNotFoundError:
        return
    for other in others:
        try:
            yield from sorted(Path(entry.path) for entry in os.scandir(other / "trunk"))
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue


def _stretches(trunk: Path) -> Iterator[tuple[Interval, Path]]:
    """Stretches of one trunk that are trained: those with a marker."""
    try:
        entries = list(os.scandir(trunk))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    for entry in entries:
        folder = Path(entry.path)
        if (match := re.fullmatch(r"(\d+)-(\d+)", entry.name)) and layout.marker(folder, "train").exists():
            yield (int(match[1]), int(match[2])), folder


def _understand(content: bytes, like: Like) -> str | None:
    """Fingerprint of the trunk that a segment.json belongs to; None for one that cannot be looked for."""
    try:
        raw: dict[str, Any] = json.loads(content)
        mark = (raw["total_steps"], raw["optimizer"]["lr"], raw["model"]["dim"], raw["tokenizer_sha256"])
        return trunk_fingerprint(SegmentSpec.model_validate(raw)) if mark in like else None
    except (ValueError, KeyError, TypeError):  # torn, or of another version (a ValidationError is a ValueError)
        return None


def _wrong(folder: Path, spec: SegmentSpec) -> str | None:
    """What keeps a stretch elsewhere from standing for `spec`."""
    try:
        there = SegmentSpec.model_validate_json((folder / layout.SEGMENT).read_bytes())
        if fingerprint(there.identity()) != fingerprint(spec.identity()):
            return "it was trained with other settings"
        kept = json.loads(layout.marker(folder, "train").read_bytes())["files"]
        checkpoint = layout.checkpoint(folder, spec.end_step)
        found = list(dcp.faults(checkpoint, kept, folder, digests=False))
    except (OSError, ValidationError, ValueError, KeyError, TypeError, AttributeError):
        return "it cannot be read"
    return f"its checkpoint {'; '.join(found[:3])}" if found else None


def _trained_by(folder: Path) -> str:
    """The campaign that trained a stretch; the one that holds it may have taken it over itself."""
    try:
        return str(json.loads((folder / layout.SHARED).read_bytes())["campaign"])
    except (OSError, ValueError, KeyError, TypeError):
        return folder.parents[2].name


def _fill(here: Path, spec: SegmentSpec, offer: Offer) -> None:
    """Make a folder of the segment from another campaign's; its marker comes last."""
    marker = layout.marker(offer.folder, "train")
    content = marker.read_text(encoding="utf-8")
    here.mkdir(parents=True)
    for name in json.loads(content)["files"]:
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        _link(offer.folder / name, here / name)
    # Not linked: going on with a training appends to it.
    write_text(here / layout.METRICS, (offer.folder / layout.METRICS).read_text(encoding="utf-8"))
    write_text(here / layout.SEGMENT, spec.model_dump_json(indent=1) + "\n")
    write_json(
        here / layout.SHARED,
        {
            "campaign": offer.campaign,
            "folder": str(offer.folder.absolute()),
            "fingerprint": fingerprint(spec.identity()),
            "time": time.time(),
        },
    )
    for folder in {path.parent for path in here.rglob("*")}:
        fsync_folder(folder)
    write_text(here / marker.name, content)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # another file system, one without links, or files of another person
        shutil.copyfile(source, target)
        with target.open("rb") as file:
            os.fsync(file.fileno())
