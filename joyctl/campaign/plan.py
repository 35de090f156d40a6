"""The plan: recipes x grid -> runs and the segments they need, each trained once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from joyctl.campaign import caps
from joyctl.campaign.baserun import base_of, require_room, rows_seen
from joyctl.campaign.categories import Shares, resolve
from joyctl.campaign.grid import DataFacts, Grid, Point
from joyctl.campaign.mixture import integer_weights
from joyctl.campaign.protocol import check_one_protocol, protocol_of
from joyctl.campaign.spec import (
    BaseSpec,
    EvalSpec,
    OrderPhase,
    OrderSpec,
    Redecay,
    ReferenceSpec,
    RunSpec,
    SegmentSpec,
)
from joyctl.campaign.trunks import Interval, trunk_fingerprint, usable
from joyctl.campaign.variants import Variant, control_name, label, of_control, of_trunk
from joyctl.campaign.wanted import branch_step, phase_steps, wanted_variants
from joyctl.errors import Problem, RecipeError
from joyctl.recipe.types import Model, Recipe
from joyctl.store import layout
from joyctl.store.fingerprint import fingerprint


@dataclass(frozen=True)
class Plan:
    """Everything a campaign will contain; segments stand after their parents."""

    campaign: str
    recipe: Recipe
    """The recipe as it stands, without swept values."""
    segments: tuple[SegmentSpec, ...]
    runs: tuple[RunSpec, ...]

    def segment(self, identifier: str) -> SegmentSpec:
        """The segment of that id."""
        return self._by_id[identifier]

    @cached_property
    def _by_id(self) -> dict[str, SegmentSpec]:
        return {segment.id: segment for segment in self.segments}


def plan(
    recipe: Recipe,
    points: Sequence[Point],
    grid: Grid,
    data: DataFacts,
    cuts: Mapping[str, Sequence[Interval]] | None = None,
    references: Mapping[str, ReferenceSpec] | None = None,
    base: BaseSpec | None = None,
    elsewhere: Mapping[str, Iterable[Interval]] | None = None,
) -> Plan:
    """Plan a campaign.

    `cuts` are the stretches in which trunks already lie on disk, by trunk folder (`trunk/s0`): they are
    used as they are, so that a later sweep trains only what is missing. `elsewhere` are those of other campaigns, by
    the trunk's fingerprint: they are used where this campaign has none of its own. `references`, by name, are scored
    once each, as the recipe says; a sweep over keys of `eval` leaves them out. `base` is what the recipe's base was
    found to be: the trunks begin at its step. Raises RecipeError for a grid that the recipe cannot serve and for points
    of more than one protocol, and Refused for a base that stands after a branch point.
    """
    check_one_protocol(points, base)
    planner = _Planner(recipe, grid, data, dict(cuts or {}), dict(elsewhere or {}), base)
    for point in points:
        for trunk_seed in range(grid.trunk_seeds):
            planner.add(point, trunk_seed)
    if not any(key.startswith("eval.") for key in points[0].changed):
        for name, reference in (references or {}).items():
            planner.add_reference(points[0], name, reference)
    return Plan(recipe.campaign, recipe, tuple(planner.segments.values()), tuple(planner.runs.values()))


def parameters(model: Model) -> int:
    """Number of parameters of a llama3 model with an untied head."""
    head = model.dim // model.n_heads
    attention = model.dim * head * (2 * model.n_heads + 2 * model.n_kv_heads)
    block = attention + 3 * model.dim * model.ffn_hidden + 2 * model.dim
    return model.n_layers * block + 2 * model.vocab_size * model.dim + model.dim


class _Planner:
    """Collects segments and runs; equal ones become one."""

    def __init__(
        self,
        recipe: Recipe,
        grid: Grid,
        data: DataFacts,
        cuts: dict[str, Sequence[Interval]],
        elsewhere: dict[str, Iterable[Interval]],
        base: BaseSpec | None,
    ) -> None:
        self.recipe, self.grid, self.data, self.cuts, self.elsewhere = recipe, grid, data, cuts, elsewhere
        self.base = base
        self.first = base.step if base else 0
        """Where the trunks begin."""
        self.segments: dict[str, SegmentSpec] = {}
        self.runs: dict[str, RunSpec] = {}
        self._by_fingerprint: dict[str, str] = {}
        self._ends: dict[tuple[str, int], str] = {}  # the stretch of a trunk that ends at a step
        self._trunk_folders: dict[tuple[int, int], str] = {}  # by point, which outlives this, and seed
        self._trunks: dict[str, str] = {}  # by fingerprint
        self._plain = Point(recipe)
        self._shares: dict[int, Shares] = {}  # by point
        self._scorings: dict[int, EvalSpec] = {}  # by point
        self._bases: dict[int, OrderPhase] = {}  # by point
        self._controls: set[tuple[str, str, int]] = set()

    def shares(self, point: Point) -> Shares:
        """The mixes of one recipe."""
        if id(point) not in self._shares:
            self._shares[id(point)] = resolve(point.recipe, self.data.tokens, self.first)
        return self._shares[id(point)]

    def _base_phase(self, point: Point) -> OrderPhase:
        if id(point) not in self._bases:
            first = self.first * point.recipe.training.batch_size
            self._bases[id(point)] = OrderPhase(start_row=first, weights=integer_weights(self.shares(point).base))
        return self._bases[id(point)]

    def add(self, point: Point, trunk_seed: int) -> None:
        wanted = wanted_variants(point, self.grid, self.shares(point))
        asked = [caps.Asked(v.name, v.mix, v.duration, v.length) for v in wanted]
        caps.check(point.recipe, self.data.tokens, self.first, self.shares(point).base, asked)
        steps = [branch_step(point.recipe.training, v.duration) for v in wanted]
        if self.base:
            require_room(self.base, point.recipe, [(v.duration, s) for v, s in zip(wanted, steps, strict=True)])
        # Cut at every duration the recipe names, whatever this command asks for: the next command branches
        # there without training the trunk again.
        planned = {*point.recipe.phase.durations, *point.recipe.phase.drop_at}
        cut_at = sorted({*steps, *(branch_step(point.recipe.training, d) for d in planned)})
        self._add_trunk(point, trunk_seed, cut_at, last=max(steps, default=0))
        for variant, step in zip(wanted, steps, strict=True):
            for seed in range(self.grid.phase_seeds):
                self._add_run(point, variant, trunk_seed, seed, step)

    def _add_trunk(self, point: Point, seed: int, cut_at: list[int], last: int) -> None:
        folder = self._trunk_folder(point, seed)
        for start, end in chain(cut_at, self._there(point, seed, folder), last, self.first):
            spec = self._trunk_segment(point, seed, folder, start, end)
            self.segments.setdefault(spec.id, spec)
            self._ends.setdefault((folder, end), spec.id)

    def _there(self, point: Point, seed: int, folder: str) -> list[Interval]:
        """Stretches of a trunk that exist, here or in other campaigns."""
        others: Iterable[Interval] = ()
        if self.elsewhere:
            whole = self._trunk_segment(point, seed, folder, self.first, point.recipe.training.steps)
            others = self.elsewhere.get(trunk_fingerprint(whole), ())
        return usable(self.cuts.get(folder, ()), others, self.first)

    def _trunk_folder(self, point: Point, seed: int) -> str:
        known = self._trunk_folders.get((id(point), seed))
        if known is None:
            known = self._trunk_folders[(id(point), seed)] = self._find_trunk_folder(point, seed)
        return known

    def _find_trunk_folder(self, point: Point, seed: int) -> str:
        total = point.recipe.training.steps
        mine = self._trunk_segment(point, seed, "", self.first, total)
        plain = self._trunk_segment(self._plain, seed, "", self.first, self.recipe.training.steps)
        mark = fingerprint(mine.identity())
        same = mark == fingerprint(plain.identity())
        # Of points that differ in nothing that reaches the trunk (LionW has no eps) the first gives it its name.
        return self._trunks.setdefault(mark, f"trunk/s{seed}" + ("" if same else label(of_trunk(point.changed))))

    def _trunk_segment(self, point: Point, seed: int, folder: str, start: int, end: int) -> SegmentSpec:
        base = self._base_phase(point)
        parent = None if start == self.first else self._trunk_parent(folder, start)
        spec = self._segment(point, f"{folder}/{start}-{end}", parent, (base,), seed, start, end)
        return _read_off(spec, point.recipe) if end == spec.total_steps else spec

    def _trunk_parent(self, folder: str, step: int) -> str | None:
        return self._ends.get((folder, step))

    def _add_run(self, point: Point, variant: Variant, trunk_seed: int, seed: int, step: int) -> None:
        recipe, folder = point.recipe, self._trunk_folder(point, trunk_seed)
        total = recipe.training.steps
        seeds = f"s{seed}" if trunk_seed == 0 else f"t{trunk_seed}s{seed}"
        identifier = f"{variant.name}/{seeds}"
        if not variant.duration:
            # The control is the trunk's own end. With another data order it is a phase like any other,
            # on the base mix, over the longest duration of the recipe.
            if seed == 0:
                whole = self._trunk_segment(point, trunk_seed, folder, self.first, total)
                mark = fingerprint(whole.identity())
                tail = self._trunk_parent(folder, total)
                assert tail is not None, "the trunk was planned to its end"
                self._require_room(self.segments[tail])
                self._keep_run(point, variant, identifier, trunk_seed, seed, None, total, self.segments[tail], mark)
                return
            step = max(self.first, min(branch_step(recipe.training, d) for d in recipe.phase.durations))
            if (identifier, folder, step) in self._controls:  # of another point, with this very trunk
                return
            self._controls.add((identifier, folder, step))
        end = step + phase_steps(variant, total - step)
        base = self._base_phase(point)
        phase = OrderPhase(start_row=step * recipe.training.batch_size, weights=variant.weights, seed=seed)
        parent = self._trunk_parent(folder, step)
        spec = self._segment(point, f"runs/{identifier}", parent, (base, phase), trunk_seed, step, end)
        spec = _read_off(spec, recipe)
        mark = fingerprint(spec.identity())
        segment = self._by_fingerprint.setdefault(mark, spec.id)
        if segment == spec.id:
            self.segments[spec.id] = spec
        self._keep_run(point, variant, identifier, trunk_seed, seed, step, end, self.segments[segment], mark)

    def _require_room(self, tail: SegmentSpec) -> None:
        """Raise RecipeError where a stretch of trunk that lies on disk is too short for what is averaged at its end."""
        if tail.kept_steps[0] <= tail.start_step:
            message = f"reaches back to step {tail.kept_steps[0]:,}; the last stretch of trunk is {tail.id}"
            remedy = "average fewer checkpoints, or give the campaign another name (campaign=NAME)"
            raise RecipeError([Problem("phase.average", "", f"{message}; {remedy}")])

    def _keep_run(
        self, point: Point, variant: Variant, identifier: str, trunk_seed: int, seed: int,
        step: int | None, end: int, segment: SegmentSpec, mark: str,
    ) -> None:  # fmt: skip
        seeds = identifier.rpartition("/")[2]
        self.runs[identifier] = RunSpec(
            id=identifier,
            variant=variant.name,
            trunk_seed=trunk_seed,
            seed=seed,
            control=None if variant.control is None else f"{variant.control}/{seeds}",
            duration=variant.duration,
            dropped=variant.dropped,
            policy=variant.policy,
            added=variant.added,
            share=variant.share,
            beside=variant.beside,
            changed=point.changed if variant.control else of_control(point.changed),
            protocol=protocol_of(point.recipe.phase, segment.base),
            mix=variant.shares,
            branch_step=step,
            end_step=end,
            segment=segment.id,
            fingerprint=mark,
            eval=self._scoring(point),
        )

    def add_reference(self, point: Point, name: str, reference: ReferenceSpec) -> None:
        """A model that is only scored, to be compared with the control of the first trunk.

        Where every duration has a control of its own it is that of the longest.
        """
        longest = max(self.grid.durations or point.recipe.phase.durations)
        variant = f"{layout.REFERENCE}{name}"
        identifier = f"{variant}/s0"
        self.runs[identifier] = RunSpec(
            id=identifier,
            variant=variant,
            trunk_seed=0,
            seed=0,
            control=f"{control_name(Point(self.recipe), longest)}/s0",
            duration=0.0,
            dropped=(),
            policy=None,
            changed={},
            mix={},
            branch_step=None,
            end_step=0,
            segment=None,
            fingerprint=fingerprint(reference.identity()),
            eval=self._scoring(point),
            reference=reference,
        )

    def _scoring(self, point: Point) -> EvalSpec:
        if id(point) not in self._scorings:
            self._scorings[id(point)] = self._new_scoring(point)
        return self._scorings[id(point)]

    def _new_scoring(self, point: Point) -> EvalSpec:
        asked, suite = point.recipe.eval, point.suite
        return EvalSpec(
            suite=asked.suite,
            tasks=suite.tasks if suite else (),
            aggregate=suite.aggregate if suite else None,
            heldout=suite.heldout and self.data.heldout if suite else False,
            include_path=suite.include_path if suite else (),
            batch_size=asked.batch_size,
            backend=asked.backend,
            limit=asked.limit,
            data=point.benchmarks,
            data_folder=self.data.folder,
            data_sha256=self.data.tasks_sha256,
            runs_code=suite.runs_code if suite else False,
        )

    def _segment(
        self, point: Point, identifier: str, parent: str | None, phases: tuple[OrderPhase, ...],
        seed: int, start: int, end: int,
    ) -> SegmentSpec:  # fmt: skip
        recipe = point.recipe
        # Only sources that this segment reads: adding one to the recipe changes no other run.
        used = sorted({name for phase in phases for name, weight in phase.weights.items() if weight})
        rows = {name: max(self.data.tokens[name] - 1, 0) // recipe.training.seq_len for name in used}
        for name, n in rows.items():
            if n == 0:
                message = f"has less than one row of {recipe.training.seq_len} tokens"
                raise RecipeError([Problem(self.data.folder, f"sources.{name}", message)])
        order = OrderSpec(rows=rows, phases=phases, seed=seed)
        if self.base:
            start_row = self.first * recipe.training.batch_size
            order = order.model_copy(update={"start_row": start_row, "seen": rows_seen(recipe, used)})
        return SegmentSpec(
            id=identifier,
            parent=parent,
            start_step=start,
            end_step=end,
            total_steps=recipe.training.steps,
            order=order,
            model=recipe.model,
            training=recipe.training,
            optimizer=recipe.optimizer,
            schedule=recipe.schedule,
            init_seed=0 if self.base else seed,  # the base's parameters replace the initial ones
            source_sha256={name: self.data.sha256[name] for name in used},
            tokenizer_sha256=self.data.tokenizer_sha256,
            data_folder=self.data.folder,
            base=base_of(recipe, self.base),
        )


def _read_off(spec: SegmentSpec, recipe: Recipe) -> SegmentSpec:
    """A segment at whose end a run is read off: with its LR where that decays anew, and with what is averaged there.

    Where phases decay anew the trunk's end is no run's.
    """
    is_phase, redecays = len(spec.order.phases) > 1, recipe.phase.lr == "redecay"
    if not redecays:
        return spec.model_copy(update={"average": recipe.phase.average}) if recipe.phase.average else spec
    if not is_phase:
        return spec
    redecay = Redecay(start_step=spec.start_step, end_step=spec.end_step)
    return spec.model_copy(update={"redecay": redecay, "average": recipe.phase.average})


def chain(cut_at: Iterable[int], existing: Iterable[Interval], last: int, first: int = 0) -> list[Interval]:
    """Stretches of trunk that give a checkpoint at every step of `cut_at` after `first` and up to `last`.

    Existing stretches are used as they lie, where they begin at `first` or after one that does; a new point starts from
    the nearest checkpoint before it. Every stretch stands after the one it starts from.
    """
    reached, by_end = {first}, dict[int, Interval]()
    for start, end in sorted(existing):
        if start in reached:  # not of a trunk that began elsewhere
            reached.add(end)
            by_end.setdefault(end, (start, end))
    needed = sorted(p for p in {*cut_at} if first < p <= last)
    for point in needed:
        if point not in by_end:
            before = max((p for p in (*by_end, *needed) if p < point), default=first)
            by_end[point] = (before, point)
    wanted: dict[int, Interval] = {}
    for point in needed:
        while point != first and point not in wanted:  # with all it starts from
            wanted[point] = by_end[point]
            point = by_end[point][0]
    return sorted(wanted.values(), key=lambda interval: (interval[0], interval[1]))
