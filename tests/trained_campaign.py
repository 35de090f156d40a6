"""Gives a made-up campaign what its trainings leave: segment.json, metrics.jsonl, and items found in its data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from recipes_for_tests import facts, point, recipe
from report_campaign import BASE, BATCH, SEQ_LEN, STEPS, put

from joyctl.campaign.grid import Grid
from joyctl.campaign.mixture import integer_weights, normalise
from joyctl.campaign.plan import plan
from joyctl.campaign.spec import OrderPhase, OrderSpec, RunSpec, SegmentSpec
from joyctl.data.order import Order
from joyctl.data.overlap import findings
from joyctl.data.overlap.findings import Found, Overlap, Passage, TaskItems

ROWS = {"web": 20_000, "math": 800, "facts": 2_000, "code": 1_500}
SHA256 = {name: f"digest of {name}" for name in ROWS}


def give_trainings(folder: Path, data_folder: Path, rows: Mapping[str, int] = ROWS) -> None:
    """The trunk in two stretches, cut where the longest phase begins, and a segment for every phase; all done."""
    runs = [RunSpec.model_validate_json(path.read_bytes()) for path in sorted(folder.glob("runs/*/*/run.json"))]
    base = _weights(BASE)
    cut = min(run.branch_step for run in runs if run.branch_step is not None)
    for seed in sorted({run.trunk_seed for run in runs}):
        tail = f"trunk/s{seed}/{cut}-{STEPS}"
        trunk = (OrderPhase(start_row=0, weights=base),)
        order = OrderSpec(rows=dict(rows), phases=trunk, seed=seed)
        put_segment(folder, _segment(f"trunk/s{seed}/0-{cut}", None, 0, cut, order, data_folder))
        put_segment(folder, _segment(tail, f"trunk/s{seed}/0-{cut}", cut, STEPS, order, data_folder))
        for run in (one for one in runs if one.trunk_seed == seed):
            if run.branch_step is None:
                put(folder / "runs" / run.id / "run.json", {**run.model_dump(mode="json"), "segment": tail})
                continue
            parent = f"trunk/s{seed}/0-{cut}"
            if run.branch_step > cut:
                parent = f"trunk/s{seed}/{cut}-{run.branch_step}"
                put_segment(
                    folder, _segment(parent, f"trunk/s{seed}/0-{cut}", cut, run.branch_step, order, data_folder)
                )
            phase = OrderPhase(start_row=run.branch_step * BATCH, weights=_weights(run.mix))
            own = order.model_copy(update={"phases": (*trunk, phase)})
            put_segment(folder, _segment(f"runs/{run.id}", parent, run.branch_step, STEPS, own, data_folder))


def put_segment(folder: Path, spec: SegmentSpec) -> None:
    """segment.json with its marker and the last line of metrics.jsonl."""
    put(folder / spec.id / "segment.json", spec.model_dump(mode="json"))
    put(folder / spec.id / "DONE.train.json", {})
    log(folder, spec, spec.end_step)


def log(folder: Path, spec: SegmentSpec, step: int, /, **other: Any) -> None:
    """metrics.jsonl as the trainer leaves it at a step, with keys replaced."""
    row = step * spec.training.batch_size
    line = {"step": step, "tokens": row * spec.training.seq_len, "rows": Order(spec.order).counts(row), "lr": 0.1}
    (folder / spec.id / "metrics.jsonl").write_text(json.dumps({**line, "loss": 1.5, **other}) + "\n")


def give_overlap(
    data_folder: Path, items: Mapping[str, TaskItems], name: str = "first", sha256: Mapping[str, str] = SHA256
) -> None:
    """What an overlap check leaves in a data folder."""
    findings.write(data_folder / "overlap" / f"{name}.json", Overlap(dict(sha256), dict(items)))


def found(docs: Iterable[int], source: str = "code", split: str = "test") -> tuple[Found, ...]:
    """Items that stand in a source, each by a 13-gram."""
    return tuple(Found(doc, split, {source: Passage(13, 0.8, "of all the words")}) for doc in docs)


def looked_for(n: int, docs: Iterable[int] = (), source: str = "code") -> TaskItems:
    """A task of `n` items with these of the test split found in a source."""
    return TaskItems("digest of the documents", n, found(docs, source))


def _weights(mix: Mapping[str, float]) -> dict[str, int]:
    return integer_weights(normalise(mix))


def _segment(name: str, parent: str | None, start: int, end: int, order: OrderSpec, data_folder: Path) -> SegmentSpec:
    of = recipe()
    whole = plan(of, [point(of)], Grid(durations=(0.1,)), facts()).segments[0]
    training = whole.training.model_copy(update={"seq_len": SEQ_LEN, "batch_size": BATCH})
    changes = {"id": name, "parent": parent, "start_step": start, "end_step": end, "total_steps": STEPS, "order": order}
    changes |= {"training": training, "source_sha256": SHA256, "data_folder": str(data_folder)}
    return whole.model_copy(update=changes)
