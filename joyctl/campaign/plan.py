"""The plan: recipes x grid -> runs and the segments they need, each trained once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from joyctl.campaign.grid import DataFacts, Grid, Point
from joyctl.campaign.mixture import integer_weights, normalise
from joyctl.campaign.protocol import protocol_of
from joyctl.campaign.spec import (
    EvalSpec,
    OrderPhase,
    OrderSpec,
    Redecay,
    ReferenceSpec,
    RunSpec,
    SegmentSpec,
)
from joyctl.campaign.variants import Variant, control_name, label, of_control, of_trunk, variants
from joyctl.errors import Problem, RecipeError
from joyctl.recipe.types import Model, Recipe, Training
from joyctl.store import layout
from joyctl.store.fingerprint import fingerprint

Interval = tuple[int, int]


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
        return next(s for s in self.segments if s.id == identifier)


def plan(
    recipe: Recipe,
    points: Sequence[Point],
    grid: Grid,
    data: DataFacts,
    cuts: Mapping[str, Sequence[Interval]] | None = None,
    references: Mapping[str, ReferenceSpec] | None = None,
) -> Plan:
    """Plan a campaign.

    `cuts` are the stretches in which trunks already lie on disk, by trunk folder (`trunk/s0`): they are
    used as they are, so that a later sweep trains only what is missing. `references`, by name, are scored once each,
    as the recipe says; a sweep over keys of `eval` leaves them out. Raises RecipeError for a grid that the recipe
    cannot serve, and for points of more than one protocol.
    """
    _check_one_protocol(points)
    planner = _Planner(recipe, grid, data, dict(cuts or {}))
    for point in points:
        for trunk_seed in range(grid.trunk_seeds):
            planner.add(point, trunk_seed)
    if not any(key.startswith("eval.") for key in points[0].changed):
        for name, reference in (references or {}).items():
            planner.add_reference(points[0], name, reference)
    return Plan(recipe.campaign, recipe, tuple(planner.segments.values()), tuple(planner.runs.values()))


def branch_step(training: Training, duration: float) -> int:
    """The step after which a phase of that share of all steps begins."""
    total = training.steps
    return total - round(duration * total)


def parameters(model: Model) -> int:
    """Number of parameters of a llama3 model with an untied head."""
    head = model.dim // model.n_heads
    attention = model.dim * head * (2 * model.n_heads + 2 * model.n_kv_heads)
    block = attention + 3 * model.dim * model.ffn_hidden + 2 * model.dim
    return model.n_layers * block + 2 * model.vocab_size * model.dim + model.dim


def wanted_variants(point: Point, grid: Grid) -> list[Variant]:
    """The variants of one recipe. Raises RecipeError for a grid that the recipe cannot serve."""
    wanted = list(variants(point, grid))
    total = point.recipe.training.steps
    if any(not 0 < branch_step(point.recipe.training, v.duration) < total for v in wanted if v.duration):
        message = f"a duration rounds to no step or to all of the {total:,} steps"
        raise RecipeError([Problem("--durations", "", message)])
    average = point.recipe.phase.average
    for variant in wanted:
        steps = round(variant.length * (total - branch_step(point.recipe.training, variant.duration)))
        if average is not None and variant.duration and average.reach >= steps:
            message = f"{variant.name} has {steps:,} steps; {average.last} checkpoints, {average.every:,} steps apart, "
            raise RecipeError([Problem("phase.average", "", f"{message}reach back {average.reach:,}")])
    return wanted


def _check_one_protocol(points: Sequence[Point]) -> None:
    keys = sorted({key for point in points for key in point.changed if key.startswith(("phase.lr", "phase.average"))})
    if keys:
        message = "cannot be swept: a table never mixes protocols; give each a campaign of its own (campaign=NAME)"
        raise RecipeError([Problem(f"override '{key}=...'", key, message) for key in keys])


class _Planner:
    """Collects segments and runs; equal ones become one."""

    def __init__(self, recipe: Recipe, grid: Grid, data: DataFacts, cuts: dict[str, Sequence[Interval]]) -> None:
        self.recipe, self.grid, self.data, self.cuts = recipe, grid, data, cuts
        self.segments: dict[str, SegmentSpec] = {}
        self.runs: dict[str, RunSpec] = {}
        self._by_fingerprint: dict[str, str] = {}
        self._trunk_folders: dict[tuple[int, int], str] = {}  # by point, which outlives this, and seed

    def add(self, point: Point, trunk_seed: int) -> None:
        wanted = wanted_variants(point, self.grid)
        steps = [branch_step(point.recipe.training, v.duration) for v in wanted]
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
        for start, end in chain(cut_at, self.cuts.get(folder, ()), last):
            spec = self._trunk_segment(point, seed, folder, start, end)
            self.segments.setdefault(spec.id, spec)

    def _trunk_folder(self, point: Point, seed: int) -> str:
        known = self._trunk_folders.get((id(point), seed))
        if known is None:
            known = self._trunk_folders[(id(point), seed)] = self._find_trunk_folder(point, seed)
        return known

    def _find_trunk_folder(self, point: Point, seed: int) -> str:
        total = point.recipe.training.steps
        mine = self._trunk_segment(point, seed, "", 0, total)
        plain = self._trunk_segment(Point(self.recipe), seed, "", 0, self.recipe.training.steps)
        same = fingerprint(mine.identity()) == fingerprint(plain.identity())
        return f"trunk/s{seed}" + ("" if same else label(of_trunk(point.changed)))

    def _trunk_segment(self, point: Point, seed: int, folder: str, start: int, end: int) -> SegmentSpec:
        base = OrderPhase(start_row=0, weights=integer_weights(normalise(point.recipe.mixes.base)))
        parent = None if start == 0 else self._trunk_parent(folder, start)
        spec = self._segment(point, f"{folder}/{start}-{end}", parent, (base,), seed, start, end)
        return _read_off(spec, point.recipe) if end == spec.total_steps else spec

    def _trunk_parent(self, folder: str, step: int) -> str | None:
        ends = (s.id for s in self.segments.values() if s.id.startswith(folder + "/") and s.end_step == step)
        return next(ends, None)

    def _add_run(self, point: Point, variant: Variant, trunk_seed: int, seed: int, step: int) -> None:
        recipe, folder = point.recipe, self._trunk_folder(point, trunk_seed)
        total = recipe.training.steps
        seeds = f"s{seed}" if trunk_seed == 0 else f"t{trunk_seed}s{seed}"
        identifier = f"{variant.name}/{seeds}"
        if not variant.duration:
            # The control is the trunk's own end. With another data order it is a phase like any other,
            # on the base mix, over the longest duration of the recipe.
            if seed == 0:
                whole = self._trunk_segment(point, trunk_seed, folder, 0, total)
                mark = fingerprint(whole.identity())
                tail = self._trunk_parent(folder, total)
                assert tail is not None, "the trunk was planned to its end"
                self._require_room(self.segments[tail])
                self._keep_run(point, variant, identifier, trunk_seed, seed, None, total, self.segments[tail], mark)
                return
            step = min(branch_step(recipe.training, d) for d in recipe.phase.durations)
        end = step + round(variant.length * (total - step))
        base = OrderPhase(start_row=0, weights=integer_weights(normalise(recipe.mixes.base)))
        phase = OrderPhase(start_row=step * recipe.training.batch_size, weights=integer_weights(variant.mix), seed=seed)
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
            changed=point.changed if variant.control else of_control(point.changed),
            protocol=protocol_of(point.recipe.phase, segment.base),
            mix={name: float(share) for name, share in variant.mix.items()},
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
        asked, suite = point.recipe.eval, point.suite
        return EvalSpec(
            suite=asked.suite,
            tasks=suite.tasks if suite else (),
            aggregate=suite.aggregate if suite else None,
            heldout=suite.heldout if suite else False,
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
        return SegmentSpec(
            id=identifier,
            parent=parent,
            start_step=start,
            end_step=end,
            total_steps=recipe.training.steps,
            order=OrderSpec(rows=rows, phases=phases, seed=seed),
            model=recipe.model,
            training=recipe.training,
            optimizer=recipe.optimizer,
            schedule=recipe.schedule,
            init_seed=seed,
            source_sha256={name: self.data.sha256[name] for name in used},
            tokenizer_sha256=self.data.tokenizer_sha256,
            data_folder=self.data.folder,
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


def chain(cut_at: Iterable[int], existing: Iterable[Interval], last: int) -> list[Interval]:
    """Stretches of trunk that give a checkpoint at every step of `cut_at` up to `last`.

    Existing stretches are used as they lie; a new point starts from the nearest checkpoint before it.
    Every stretch stands after the one it starts from.
    """
    by_end = {end: (start, end) for start, end in sorted(existing, reverse=True)}
    needed = sorted(p for p in {*cut_at} if 0 < p <= last)
    for point in needed:
        if point not in by_end:
            before = max((p for p in (*by_end, *needed) if p < point), default=0)
            by_end[point] = (before, point)
    wanted: dict[int, Interval] = {}
    for point in needed:
        while point and point not in wanted:  # with all it starts from
            wanted[point] = by_end[point]
            point = by_end[point][0]
    return sorted(wanted.values(), key=lambda interval: (interval[0], interval[1]))
