"""What the runs of any recipe see, from the recipe through the plan to the rows: nothing twice, exact shares, no order
that depends on who reads it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from recipes_for_tests import SOURCES, facts, point, recipe

from joyctl.campaign.grid import Grid
from joyctl.campaign.mixture import MAX_PERIOD, integer_weights, normalise
from joyctl.campaign.plan import Plan, plan
from joyctl.campaign.spec import BaseSpec, RunSpec, SegmentSpec
from joyctl.data.order import Order
from joyctl.recipe.types import Base

STEPS, BATCH, SEQ = 200, 8, 16


@dataclass(frozen=True)
class Asked:
    """A recipe's data and mixes, and what is swept."""

    base: dict[str, float]
    upsampled: dict[str, float]
    tokens: dict[str, int]
    grid: Grid
    base_step: int | None
    """Where a base trained elsewhere stands."""
    seen: dict[str, int]
    redecay: bool

    def planned(self) -> Plan:
        changes: dict[str, Any] = {
            "data": {"folder": "/data/small", "max_epochs": 10_000},
            "training": {"tokens": STEPS * BATCH * SEQ, "seq_len": SEQ, "batch_size": BATCH},
            "mixes": {"base": self.base, "upsampled": self.upsampled},
            "phase": {"durations": list(self.grid.durations), "lr": "redecay" if self.redecay else "continue"},
            "sources": {name: {"category": "domain"} for name in self.tokens},
        }
        found = None
        if self.base_step is not None:
            found = BaseSpec(kind="dcp", path="/base/step", step=self.base_step, sha256="d" * 64)
            changes["base"] = Base(dcp="/base/step", seen=self.seen)
        made = recipe(**changes)
        data = facts(tokens=self.tokens, sha256=dict.fromkeys(self.tokens, "a" * 64))
        return plan(made, [point(made)], self.grid, data, base=found)


weights = st.dictionaries(
    st.sampled_from(SOURCES), st.integers(1, 999).map(lambda w: w / 1_000), min_size=1, max_size=len(SOURCES)
)


@st.composite
def campaigns(draw: st.DrawFn) -> Asked:
    upsampled = draw(weights)
    drops = [(name,) for name in upsampled] if len(upsampled) > 1 else []
    durations = draw(st.lists(st.sampled_from([0.05, 0.1, 0.25, 0.3, 0.615]), min_size=1, max_size=2, unique=True))
    base_step = draw(st.none() | st.integers(1, round(STEPS * (1 - max(durations)))))
    left = min((1 - upsampled[name] / sum(upsampled.values()) for (name,) in drops), default=1.0)
    # A phase that shrinks to nothing is refused.
    policies = ["renormalise", *(["shrink"] if left * min(durations) * STEPS >= 1 else [])]
    return Asked(
        base=draw(weights),
        upsampled=upsampled,
        tokens={name: draw(st.integers(2 * SEQ, 20_000)) for name in SOURCES},
        grid=Grid(
            durations=tuple(durations),
            drops=tuple(draw(st.lists(st.sampled_from(drops), max_size=1, unique=True))) if drops else (),
            drop_at=(durations[0],),
            policy=draw(st.sampled_from(policies)),
            trunk_seeds=2,
            phase_seeds=2,
        ),
        base_step=base_step,
        seen={} if base_step is None else {name: draw(st.integers(0, 40_000)) for name in SOURCES},
        redecay=draw(st.booleans()),
    )


@dataclass(frozen=True)
class Sight:
    """All rows that a run sees."""

    run: RunSpec
    segment: SegmentSpec
    order: Order
    first: int
    end: int
    source: npt.NDArray[np.int16]
    row: npt.NDArray[np.int64]
    epoch: npt.NDArray[np.int64]

    def of(self, name: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The rows of one source with their epochs, as they are shown."""
        mine = self.source == (self.order.names.index(name) if name in self.order.names else -1)
        return self.row[mine], self.epoch[mine]


def sights(planned: Plan) -> dict[str, Sight]:
    found = {}
    for run in planned.runs:
        segment = planned.segment(run.segment or "")
        order, end = Order(segment.order), run.end_step * BATCH
        rows = order.rows(order.first, end)
        found[run.id] = Sight(run, segment, order, order.first, end, rows.source, rows.row, rows.epoch)
    return found


@given(campaigns())
@settings(max_examples=40, deadline=None)
def test_no_run_sees_a_row_again_before_its_sources_epoch_is_over(asked: Asked) -> None:
    for sight in sights(asked.planned()).values():
        spec = sight.segment.order
        for name, size in spec.rows.items():
            row, epoch = sight.of(name)
            assert ((row >= 0) & (row < size)).all()
            assert len(np.unique(epoch * size + row)) == len(row), "no row twice within an epoch"
            first, left = divmod((spec.seen or {}).get(name, 0), size)
            assert (np.diff(epoch) >= 0).all(), "one epoch after the other"
            for e in range(first, int(epoch[-1]) if len(epoch) else 0):
                whole = size - left if e == first else size
                assert np.count_nonzero(epoch == e) == whole, "every row before any comes again"


@given(campaigns())
@settings(max_examples=40, deadline=None)
def test_every_source_has_its_share_within_a_row_at_every_global_row(asked: Asked) -> None:
    for sight in sights(asked.planned()).values():
        phases = sight.segment.order.phases
        starts = [phase.start_row for phase in phases] + [sight.end]
        astray = np.zeros(len(sight.order.names))
        for i, phase in enumerate(phases):
            goes_on = i > 0 and phase.weights == phases[i - 1].weights
            begins = starts[i - 1] if goes_on else starts[i]
            dealt = sight.source[begins - sight.first : starts[i + 1] - sight.first]
            counts = np.cumsum(dealt[:, None] == np.arange(len(astray)), axis=0)
            share = np.array([phase.weights.get(name, 0) for name in sight.order.names]) / sum(phase.weights.values())
            off = counts - np.arange(1, len(dealt) + 1)[:, None] * share
            # After a base the deal goes on as if it had begun at row 0, so both ends of a stretch may be off.
            bound = 2 if asked.base_step is not None and (i == 0 or goes_on) else 1
            assert np.abs(off).max(initial=0) < bound
            if len(off) and not goes_on:
                astray = astray + off[-1]
        assert np.abs(astray).max() < len(phases) + (asked.base_step is not None), "a change of mix adds one at most"


@given(campaigns(), st.data())
@settings(max_examples=25, deadline=None)
def test_reading_from_any_row_on_is_walking_there(asked: Asked, data: st.DataObject) -> None:
    for sight in sights(asked.planned()).values():
        g = data.draw(st.integers(sight.first, sight.end))
        anew = Order(SegmentSpec.model_validate_json(sight.segment.model_dump_json()).order)
        found = anew.rows(g, sight.end)
        for got, walked in ((found.source, sight.source), (found.row, sight.row), (found.epoch, sight.epoch)):
            assert got.tolist() == walked[g - sight.first :].tolist()
        walked_counts = np.bincount(sight.source[: g - sight.first], minlength=len(anew.names))
        seen = asked.seen if asked.base_step is not None else {}
        assert anew.counts(g) == {
            name: seen.get(name, 0) // SEQ + int(n) for name, n in zip(anew.names, walked_counts, strict=True)
        }


@given(campaigns(), st.sampled_from([(1, 1), (2, 1), (4, 2), (8, 1), (1, 4)]), st.integers(0, STEPS))
@settings(max_examples=25, deadline=None)
def test_who_reads_which_part_of_a_step_changes_nothing(asked: Asked, split: tuple[int, int], at: int) -> None:
    """Ranks and microbatches, with a restart at step `at`, which may have other numbers of both before it."""
    ranks, microbatches = split
    sight = sights(asked.planned())[f"upsample-{asked.grid.durations[0] * 100:g}/s1"]
    share = BATCH // ranks
    got = [*sight.row[: max(at * BATCH - sight.first, 0)].tolist()]
    readers = [Order(sight.segment.order) for _ in range(ranks)]
    for step in range(max(at, sight.first // BATCH), sight.end // BATCH):
        for rank, reader in enumerate(readers):
            for micro in range(microbatches):
                first = step * BATCH + rank * share + micro * share // microbatches
                got += reader.rows(first, first + share // microbatches).row.tolist()
    assert got == sight.row.tolist()


def same_as_far_as_both_go(a: Sight, b: Sight, name: str) -> None:
    (rows, epochs), (others, of) = a.of(name), b.of(name)
    n = min(len(rows), len(others))
    assert rows[:n].tolist() == others[:n].tolist() and epochs[:n].tolist() == of[:n].tolist()


@given(campaigns())
@settings(max_examples=25, deadline=None)
def test_leaving_a_source_out_moves_no_other(asked: Asked) -> None:
    assume(asked.grid.drops)
    found = sights(asked.planned())
    pairs = [(s, found[s.run.control]) for s in found.values() if s.run.dropped and s.run.control]
    assert pairs
    for without, whole in pairs:
        for name in SOURCES:
            if name not in without.run.dropped:
                same_as_far_as_both_go(without, whole, name)


@given(campaigns(), st.integers(1, 999), st.integers(2 * SEQ, 20_000))
@settings(max_examples=25, deadline=None)
def test_a_source_more_moves_no_other(asked: Asked, weight: int, tokens: int) -> None:
    more = replace(
        asked,
        base={**asked.base, "books": weight / 1_000},
        upsampled={**asked.upsampled, "books": weight / 1_000},
        tokens={**asked.tokens, "books": tokens},
    )
    before, after = sights(asked.planned()), sights(more.planned())
    # Phases with a data order of their own shuffle what the trunk left over, which is more where it has less weight.
    for run in sorted(before.keys() & {run for run, s in after.items() if s.run.seed == 0}):
        for name in SOURCES:
            same_as_far_as_both_go(before[run], after[run], name)


@given(st.dictionaries(st.text("abcdefgh", min_size=1, max_size=3), st.floats(1e-4, 1), min_size=1, max_size=60))
def test_integer_weights_are_the_recipes_to_one_in_65536(mix: dict[str, float]) -> None:
    shares = normalise(mix)
    found = integer_weights(shares)
    total = sum(found.values())
    assert total <= MAX_PERIOD + len(mix) and min(found.values()) > 0
    for name, share in shares.items():
        assert abs(Fraction(found[name], total) - share) <= Fraction(1, MAX_PERIOD)
    if math.lcm(*(share.denominator for share in shares.values())) <= MAX_PERIOD:
        assert {name: Fraction(w, total) for name, w in found.items()} == shares
