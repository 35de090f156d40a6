"""The branch audit of a plan: does every branch begin exactly where its trunk stops?

What a wrong branch costs shows only in its scores, where it looks like an effect of the data; so every branch is
checked before anything is queued. Seven checks of each branch, in this order:

    learning rate   its first step has the LR that the trunk's next step would have; under `continue` so has every later
    step            its parent ends where it begins, and the chain of parents leads to step 0 or to the base
    data cursor     its order of rows is its parent's up to the branch, and no source's cursor moves there
    unseen rows     how much it shows again; a failure only above what the recipe allows, `max_epochs`
    tokenizer       one tokenizer and one set of tokens along the chain; the model has a row for every token
    control         its matched control is planned: same seeds, phase and protocol
    optimizer       optimizer, network and batch are the parent's: a checkpoint would silently bring its own

Rows shown again are a warning: up to four epochs cost next to nothing (Muennighoff et al., arXiv 2305.16264), and a
recipe that wants less, or more, says so by `max_epochs`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from joyctl.campaign.caps import most_epochs
from joyctl.campaign.plan import Plan
from joyctl.campaign.schedule import segment_lr
from joyctl.campaign.spec import OrderPhase, OrderSpec, RunSpec, SegmentSpec

Level = Literal["ok", "warning", "failure"]
Verdict = tuple[Level, str, str | None]

# More repetition than this costs quality (Muennighoff et al., arXiv 2305.16264).
MAX_EPOCHS = 4.0
# Steps of a phase at which the curves are laid on each other; a curve has no corners that this many would miss.
_STEPS_COMPARED = 128


@dataclass(frozen=True)
class Checked:
    """One check with one outcome, and all that it holds for."""

    check: str
    level: Level
    said: str
    """What was found, with the numbers."""
    remedy: str | None
    """What to do; only where the check did not pass."""
    subjects: tuple[str, ...]
    """Run ids; of what several runs share, the segment's id or the source's name."""


@dataclass(frozen=True)
class DataKnown:
    """What the audit needs to know of the data."""

    rows_before: Callable[[OrderSpec, int], Mapping[str, int]]
    """Rows of every source before a global row (joyctl.data.order)."""
    sha256: Mapping[str, str]
    """Digest of every source's tokens."""
    tokenizer_sha256: str
    vocab_size: int


def audit(plan: Plan, data: DataKnown) -> tuple[Checked, ...]:
    """Check every branch of `plan`; equal outcomes are one, in the order of the checks."""
    segments = {spec.id: spec for spec in plan.segments}
    auditor = _Auditor(plan, data, segments)
    found: list[tuple[str, Verdict, str]] = []
    for run in plan.runs:
        spec = segments.get(run.segment or "")
        if run.branch_step is None or spec is None:
            continue  # the trunk's own end, or a reference
        found += [(name, verdict, run.id) for name, verdict in auditor.of(run, spec)]
    return grouped(found)


def grouped(found: Iterable[tuple[str, Verdict, str]]) -> tuple[Checked, ...]:
    """(check, verdict, subject) with equal check and verdict put together; checks in the order of their first."""
    subjects: dict[str, dict[Verdict, list[str]]] = {}
    for check, verdict, subject in found:
        subjects.setdefault(check, {}).setdefault(verdict, []).append(subject)
    return tuple(
        Checked(check, level, said, remedy, tuple(of))
        for check, verdicts in subjects.items()
        for (level, said, remedy), of in verdicts.items()
    )


def branches(plan: Plan) -> int:
    """How many runs of `plan` branch from a trunk."""
    return sum(run.branch_step is not None for run in plan.runs)


class _Auditor:
    """The checks of one plan; what many branches share is looked at once."""

    def __init__(self, plan: Plan, data: DataKnown, segments: Mapping[str, SegmentSpec]) -> None:
        self.plan, self.data, self.segments = plan, data, segments
        self.runs = {run.id: run for run in plan.runs}
        self.controls = {run.control for run in plan.runs}
        self._rows: dict[tuple[object, ...], Mapping[str, int]] = {}
        self._curves: dict[tuple[object, ...], Verdict] = {}
        self._chains: dict[str, str | None] = {}

    def of(self, run: RunSpec, spec: SegmentSpec) -> Iterator[tuple[str, Verdict]]:
        """Every check of one branch."""
        parent = _base_as_trunk(spec) or self.segments.get(spec.parent or "")
        if parent is None:
            said = f"goes on from {spec.parent}, which is not in the plan"
            yield "step", ("failure", said, "Plan it again: the trunk has no checkpoint there.")
            return
        yield "learning rate", self._learning_rate(spec, parent)
        yield "step", self._step(run, spec, parent)
        yield "data cursor", self._cursor(run, spec, parent)
        yield "unseen rows", self._unseen(spec)
        yield "tokenizer", self._tokenizer(spec, parent)
        yield "control", self._control(run)
        yield "optimizer", _optimizer(spec, parent)

    def _learning_rate(self, spec: SegmentSpec, parent: SegmentSpec) -> Verdict:
        # What the curves depend on is shared by many branches; the objects outlive this audit.
        key = (
            id(spec.schedule), id(parent.schedule), spec.optimizer.lr, parent.optimizer.lr, spec.total_steps,
            parent.total_steps, spec.start_step, spec.end_step, spec.redecay, spec.base,
        )  # fmt: skip
        if key not in self._curves:
            self._curves[key] = _curves(spec, parent)
        return self._curves[key]

    def _step(self, run: RunSpec, spec: SegmentSpec, parent: SegmentSpec) -> Verdict:
        remedy = "Plan it again: a branch goes on from a checkpoint of its trunk."
        if not run.branch_step == spec.start_step == parent.end_step:
            said = f"branch {run.branch_step}, trained from {spec.start_step}; its parent ends at {parent.end_step}"
            return "failure", said, remedy
        if parent.id not in self._chains:
            self._chains[parent.id] = self._broken(parent)
        if said_of_chain := self._chains[parent.id]:
            return "failure", said_of_chain, remedy
        return "ok", f"at step {spec.start_step:,} of the trunk, a checkpoint", None

    def _broken(self, spec: SegmentSpec) -> str | None:
        """Where a chain of parents does not lead to its beginning."""
        while spec.parent is not None:
            before = self.segments.get(spec.parent)
            if before is None or before.end_step != spec.start_step or before.end_step <= before.start_step:
                return f"{spec.id} starts at step {spec.start_step}, where no stretch of its trunk ends"
            spec = before
        begins = spec.base.step if spec.base else 0
        return None if spec.start_step == begins else f"{spec.id} starts at step {spec.start_step} from nothing"

    def _cursor(self, run: RunSpec, spec: SegmentSpec, parent: SegmentSpec) -> Verdict:
        mine, trunk, batch = spec.order, parent.order, spec.training.batch_size
        row = spec.start_step * batch
        remedy = "Plan it again with the settings of its trunk."
        if mine.phases[-1].start_row != row:
            said = f"its mix begins at row {mine.phases[-1].start_row:,}; {spec.start_step:,} steps end at row {row:,}"
            return "failure", said, remedy
        before, theirs = (mine.seed, mine.start_row, mine.seen), (trunk.seed, trunk.start_row, trunk.seen)
        if mine.phases[:-1] != trunk.phases or before != theirs:
            return "failure", "its rows before the branch are not those of its trunk", remedy
        here, there = self._before(mine, row), self._before(trunk, row)
        moved = [
            f"{name} stands at row {here[name]:,}, in the trunk at {there.get(name, 0):,}"
            for name in here
            if here[name] != there.get(name, (trunk.seen or {}).get(name, 0))
        ]
        resized = [name for name, rows in mine.rows.items() if trunk.rows.get(name, rows) != rows]
        moved += [f"{name} has {mine.rows[name]:,} rows, in the trunk {trunk.rows[name]:,}" for name in resized]
        if moved:
            return "failure", "; ".join(moved), remedy
        return "ok", f"row {row:,}, every source where the trunk left it", None

    def _unseen(self, spec: SegmentSpec) -> Verdict:
        batch, length = spec.training.batch_size, spec.training.seq_len
        before = self._before(spec.order, spec.start_step * batch)
        end = self._before(spec.order, spec.end_step * batch)
        above, again, most = [], [], 0.0
        for name in sorted(end):
            rows, shown = spec.order.rows[name], end[name]
            repeated = max(0, shown - max(rows, before[name]))
            recipe = self.plan.recipe
            cap = most_epochs(recipe, name) if name in recipe.sources else None
            if cap is not None and shown > cap * rows + 2 and shown > before[name]:  # the deal rounds to a row, twice
                above.append(f"{name} is seen {shown / rows:.1f} times, {float(cap):g} are allowed")
            elif repeated:
                again.append(f"{name} {repeated * length:,} tokens ({shown / rows:.2f} epochs)")
                most = max(most, shown / rows)
        if above:
            remedy = "Raise max_epochs of the source or of data, give it less weight, or shorten the phase."
            return "failure", "; ".join(above), remedy
        if again:
            costs = "Up to 4 epochs cost next to nothing" if most <= MAX_EPOCHS else "More than 4 epochs cost quality"
            remedy = f"{costs} (arXiv 2305.16264); sources.<name>.max_epochs sets a limit."
            return "warning", f"the phase shows again: {', '.join(again)}", remedy
        return "ok", "the phase shows no row again", None

    def _tokenizer(self, spec: SegmentSpec, parent: SegmentSpec) -> Verdict:
        remedy = "Train on the data that the trunk was trained on, or begin anew with campaign=NAME."
        if not spec.tokenizer_sha256 == parent.tokenizer_sha256 == self.data.tokenizer_sha256:
            return "failure", "the trunk's tokenizer is not that of the data", remedy
        old, new = parent.source_sha256, spec.source_sha256
        other = [n for n in new if not new[n] == old.get(n, new[n]) == self.data.sha256.get(n, new[n])]
        if other:
            return "failure", f"the trunk saw other tokens of {', '.join(other)}", remedy
        if spec.model.vocab_size < self.data.vocab_size:
            said = (
                f"the tokenizer has {self.data.vocab_size:,} tokens, the model {spec.model.vocab_size:,} rows for them"
            )
            return "failure", said, "Raise model.vocab_size to the tokenizer's size."
        return "ok", f"{self.data.vocab_size:,} tokens in {spec.model.vocab_size:,} rows", None

    def _control(self, run: RunSpec) -> Verdict:
        control = self.runs.get(run.control or "")
        if control is None:
            if run.control is None or run.id in self.controls:  # ablate: what drops are compared with
                return "ok", "is itself what others are compared with", None
            said = f"is compared with {run.control}, which is not planned"
            return "failure", said, "Plan the control too: joyctl sweep does."
        differs = []
        if (control.trunk_seed, control.seed) != (run.trunk_seed, run.seed):
            differs.append("seeds")
        if control.protocol != run.protocol:
            differs.append("protocol")
        # A control without a phase is the trunk's own end: all of training, and so any phase as well.
        if control.branch_step is not None and control.duration and control.branch_step != run.branch_step:
            differs.append("beginning of the phase")
        if differs:
            said = f"{run.control} is no matched control: another {' and another '.join(differs)}"
            return "failure", said, "Compare runs of equal seeds, phase and protocol; see docs/design.md."
        return "ok", "same seeds, phase and protocol", None

    def _before(self, order: OrderSpec, row: int) -> Mapping[str, int]:
        """Rows of every source before a global row; seeds decide which rows, not how many."""
        phases = tuple((phase.start_row, tuple(phase.weights.items())) for phase in order.phases)
        seen = tuple((order.seen or {}).items())
        key = (phases, tuple(order.rows.items()), order.start_row, seen, row)
        if key not in self._rows:
            self._rows[key] = self.data.rows_before(_without_seeds(order), row)
        return self._rows[key]


def _base_as_trunk(spec: SegmentSpec) -> SegmentSpec | None:
    """What a phase goes on from that branches at the base itself: a trunk without a step of its own."""
    if spec.parent is not None or spec.base is None or spec.start_step != spec.base.step:
        return None
    order = spec.order.model_copy(update={"phases": spec.order.phases[:-1]})
    return spec.model_copy(update={"order": order, "end_step": spec.start_step, "redecay": None, "average": None})


def _without_seeds(order: OrderSpec) -> OrderSpec:
    phases = tuple(OrderPhase(start_row=phase.start_row, weights=phase.weights) for phase in order.phases)
    return order.model_copy(update={"phases": phases, "seed": 0})


def _curves(spec: SegmentSpec, parent: SegmentSpec) -> Verdict:
    """The branch's LR laid on its trunk's: at the first step, and at all that follow where it stays on the schedule."""
    first = spec.start_step + 1
    due = segment_lr(parent, first)
    here = segment_lr(spec, first)
    if here != due:
        said = f"would begin with LR {here:.4g} at step {first:,}, its trunk has {due:.4g} there"
        return "failure", said, "Give all arms the trunk's schedule and optimizer.lr."
    if spec.redecay is not None:
        return "ok", f"LR {due:.2e} as the trunk's, from there to zero", None
    stride = max(1, (spec.end_step - first) // _STEPS_COMPARED)
    for step in (*range(first, spec.end_step, stride), spec.end_step):
        here, due_here = segment_lr(spec, step), segment_lr(parent, step)
        if here != due_here:
            said = f"leaves the schedule at step {step:,}: LR {here:.4g}, not {due_here:.4g}"
            return "failure", said, "Give all arms the trunk's schedule and optimizer.lr."
    return "ok", f"LR {due:.2e} as the trunk's, and so at every step", None


def _optimizer(spec: SegmentSpec, parent: SegmentSpec) -> Verdict:
    # The objects are shared where nothing is swept, and comparing them by value is slow for thousands of runs.
    pairs = {
        "optimizer": (spec.optimizer, parent.optimizer),
        "model": (spec.model, parent.model),
        "training": (spec.training, parent.training),
    }
    differs = [
        f"{name}.{key}"
        for name, (mine, trunk) in pairs.items()
        if mine is not trunk and mine != trunk
        for key in type(mine).model_fields
        if getattr(mine, key) != getattr(trunk, key)
        and not (key == "eps" and spec.optimizer.name == "lionw")  # which has none
    ]
    if differs:
        said = f"{', '.join(differs)} would silently come from the trunk's checkpoint"
        return "failure", said, "Change it for the trunk as well, which is then trained anew: campaign=NAME."
    name, decay = spec.optimizer.name, spec.optimizer.weight_decay
    return "ok", f"{name}, decay {decay:g}, as in the trunk", None
