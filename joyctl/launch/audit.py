"""The branch audit of a campaign: its plan, and what lies on disk for it to go on from.

On disk are looked at:

    checkpoint   of every trained parent: all files there, of the sizes its marker says, with the optimizer's state
    metrics      of the same: the last line is of its last step, with the LR and the rows that the plan says
    data         the tokens of every source: of the planned size
    a base       that was trained elsewhere: joyctl.train.inspect
    documents    whether all sources tell where theirs begin: joyctl.launch.documents

With `digests` the SHA-256 of checkpoints, tokens and tokenizer are computed as well, which takes the time of reading
every byte of them; without, a byte that flipped is not seen.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

from joyctl.campaign.audit import Checked, DataKnown, Verdict, audit, grouped
from joyctl.campaign.schedule import segment_lr
from joyctl.campaign.spec import OrderSpec, SegmentSpec
from joyctl.data.folder import MARKER, SourceFacts, tokenizer_digest
from joyctl.data.order import Order
from joyctl.data.shardfiles import check_files
from joyctl.data.sidecar import SIDECAR, read_sidecar
from joyctl.errors import Missing, Refused
from joyctl.launch.disk import last_metrics
from joyctl.launch.documents import check_documents
from joyctl.launch.prepare import Prepared
from joyctl.store import dcp, layout

Found = Iterator[tuple[str, Verdict, str]]
"""(check, outcome, what it is about)."""


def audit_campaign(prepared: Prepared, *, digests: bool) -> tuple[Checked, ...]:
    """Every check of a plan and of what lies on disk for it; equal outcomes are one."""
    data = prepared.data
    known = DataKnown(
        rows_before=_rows_before,
        sha256={name: source.sha256 for name, source in data.sources.items()},
        tokenizer_sha256=data.tokenizer_sha256,
        vocab_size=data.vocab_size,
    )
    on_disk = [*_trained(prepared, digests), *_data(prepared, digests), *_base(prepared, digests)]
    return (*audit(prepared.plan, known), *grouped([*on_disk, *check_documents(prepared)]))


def damaged(checked: tuple[Checked, ...]) -> tuple[str, ...]:
    """Segments that are trained but cannot be gone on from: what `--rerun` sets aside."""
    failed = (c for c in checked if c.level == "failure" and c.check in ("checkpoint", "metrics"))
    return tuple(dict.fromkeys(name for c in failed for name in c.subjects))


def _rows_before(order: OrderSpec, row: int) -> dict[str, int]:
    return Order(order).counts(row)


def _trained(prepared: Prepared, digests: bool) -> Found:
    """Segments that are trained and that others go on from, or whose weights are still to be exported."""
    plan, work = prepared.plan, prepared.work
    goes_on_from = {("train", spec.id): spec.parent for spec in plan.segments}
    goes_on_from |= {("export", f"runs/{run.id}"): run.segment for run in plan.runs}
    needed = {goes_on_from.get((job.stage, job.folder)) for job in work.jobs}
    # Without a job that needs them only a full audit looks: an old campaign's checkpoints may be gone to save space.
    looked_at = needed | ({spec.parent for spec in plan.segments} if digests else set())
    for spec in plan.segments:
        if spec.id not in looked_at or work.segments[spec.id].action not in ("skip", "share"):
            continue
        offer = prepared.shared.get(spec.id)
        folder = prepared.folder / spec.id if offer is None else offer.folder
        yield "checkpoint", _checkpoint(spec, folder, digests=digests, needed=spec.id in needed), spec.id
        yield "metrics", _metrics(spec, folder), spec.id


def _checkpoint(spec: SegmentSpec, folder: Path, *, digests: bool, needed: bool) -> Verdict:
    checkpoint, marker = layout.checkpoint(folder, spec.end_step), layout.marker(folder, "train")
    again = f"rm -r {marker} {checkpoint.parent}; then the same command trains it again"
    if not needed and not checkpoint.is_dir():
        return "warning", f"{checkpoint} is gone; nothing planned needs it now", f"For new branches: {again}"
    try:
        kept = json.loads(marker.read_bytes())["files"]
        wrong = list(dcp.faults(checkpoint, kept, folder, digests=digests))
    except (ValueError, KeyError, TypeError, AttributeError):
        wrong = [f"{marker.name} is damaged"]
    if wrong:
        more = f" (and {len(wrong) - 3} more)" if len(wrong) > 3 else ""
        return "failure", f"{checkpoint}: {'; '.join(wrong[:3])}{more}", again
    how = "of the size and SHA-256" if digests else "of the size"
    return "ok", f"complete, every file {how} that its marker says", None


def _metrics(spec: SegmentSpec, folder: Path) -> Verdict:
    path, last = folder / layout.METRICS, last_metrics(folder) or {}
    again = (
        f"rm -r {layout.marker(folder, 'train')} {folder / layout.CHECKPOINTS}; then the same command trains it again"
    )
    if last.get("step") != spec.end_step:
        return "failure", f"{path} ends at step {last.get('step', 0)}, not at {spec.end_step}", again
    due, lr = segment_lr(spec, spec.end_step), last.get("lr")
    if not isinstance(lr, int | float) or not math.isclose(lr, due, rel_tol=1e-9):
        return "failure", f"{path}: step {spec.end_step:,} was trained with LR {lr}, the schedule says {due:.6g}", again
    rows = {name: n for name, n in _rows_before(spec.order, spec.end_step * spec.training.batch_size).items() if n}
    seen = last.get("rows")
    if not isinstance(seen, dict) or {name: n for name, n in seen.items() if n} != rows:
        return "failure", f"{path}: it has seen other rows of the sources than the order of rows says", again
    return "ok", "trained to its last step, with the planned LR and rows there", None


def _data(prepared: Prepared, digests: bool) -> Found:
    """The tokens that jobs will read."""
    data = prepared.data
    if not data.path.is_dir():
        said = f"{data.path} is not here: sizes are the recipe's word"
        yield "data", ("warning", said, "Tokenise it before anything is trained."), "all"
        return
    used = {name for spec in prepared.plan.segments for name in spec.source_sha256}
    for name in sorted(used & set(data.sources)):
        yield "data", _tokens(data.path, name, data.sources[name], digests), name
    if digests and tokenizer_digest(data.path) != data.tokenizer_sha256:
        yield "data", ("failure", f"{data.path / 'tokenizer'} has changed", _build_again(data.path)), "tokenizer"


def _tokens(folder: Path, name: str, facts: SourceFacts, digests: bool) -> Verdict:
    try:
        about = read_sidecar(folder, name)
        if (about.tokens, about.sha256) != (facts.tokens, facts.sha256):
            said = f"{folder / 'sources' / name / SIDECAR} describes other tokens than {MARKER}"
            return "failure", said, _build_again(folder)
        wrong = check_files(folder, name, digests=digests)
    except (Missing, Refused) as error:
        return "failure", error.message, error.hint
    if wrong is not None:
        return "failure", wrong, _build_again(folder)
    return "ok", f"tokens of the planned size{' and SHA-256' if digests else ''}", None


def _build_again(folder: Path) -> str:
    return f"Restore it, or remove {folder} and build it again: joyctl data build"


def _base(prepared: Prepared, digests: bool) -> Found:
    """What a base that was trained elsewhere holds; read only before the trunk has begun, since that needs torch."""
    for spec in prepared.plan.segments:
        begins = spec.base is not None and spec.parent is None
        if spec.base is None or not begins or (prepared.work.segments[spec.id].action == "skip" and not digests):
            continue
        if spec.base.hub is not None and not Path(spec.base.path).is_dir():
            yield (
                "base",
                ("warning", f"{spec.base.hub} is not here yet", "sweep downloads it and looks at it."),
                spec.id,
            )
            continue
        from joyctl.train.inspect import inspect_base

        for finding in inspect_base(spec.base, spec, Path(spec.data_folder)):
            level: Verdict = ("ok" if finding.ok else "failure", finding.said, finding.remedy)
            yield finding.check, level, spec.id
