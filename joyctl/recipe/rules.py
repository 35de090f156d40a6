"""What must hold between the keys of a recipe: pure checks, each finding with the keys it is about."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from joyctl.recipe.cluster import LocalCluster, SlurmCluster
    from joyctl.recipe.types import (
        Base,
        Data,
        Mixes,
        Model,
        Phase,
        PublishedNumbers,
        Reference,
        Schedule,
        Suite,
        Training,
    )

Loc = tuple[str | int, ...]


@dataclass(frozen=True)
class Finding:
    """A contradiction in a recipe."""

    loc: Loc
    """The key to point at, as a path."""
    message: str
    related: tuple[Loc, ...] = ()
    """Other keys it may come from; the one set last (command line, then the user's own file) is pointed at."""
    at_key: bool = False
    """Point at the key, not at its value: the key itself is wrong."""


def did_you_mean(word: str, known: Collection[str]) -> str:
    """`; did you mean 'x'?` for the nearest of `known`, else nothing."""
    close = get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""


def check_mixes(mixes: Mixes) -> Iterator[Finding]:
    """Every mix gives some source a weight."""
    for name, weights in (("base", mixes.base), ("upsampled", mixes.upsampled)):
        if not sum(weights.values()):
            message = "weights sum to nothing; give at least one source a weight above 0"
            yield Finding((name,), message, tuple((name, source) for source in weights))


def check_base(base: Base) -> Iterator[Finding]:
    """Exactly one of `dcp` and `hf`, and of a Hugging Face folder where it stands."""
    if (base.dcp is None) == (base.hf is None):
        message = "give either 'dcp' (a checkpoint of torchtitan's) or 'hf' (a Hugging Face folder)"
        yield Finding((), message, (("dcp",), ("hf",)))
    elif base.hf is not None and base.step is None:
        message = "missing; a Hugging Face folder does not say at which step of this run it stands"
        yield Finding(("step",), message, at_key=True)
    elif base.dcp is not None and base.rewarm:
        message = "is for 'hf': a checkpoint's optimizer goes on with its state, and nothing rises anew; leave it out"
        yield Finding(("rewarm",), message, (("dcp",),))
    for name, tokens in base.seen.items():
        if tokens < 0:
            yield Finding(("seen", name), f"{tokens} is no number of tokens; give 0 or more")


def check_model(model: Model) -> Iterator[Finding]:
    """Heads divide what they share."""
    dim, heads = model.dim, model.n_heads
    if dim % heads:
        message = f"{heads} does not divide model.dim, which is {dim}"
        yield Finding(("n_heads",), message, (("dim",),))
    elif (dim // heads) % 2:
        message = f"heads are {dim} / {heads} = {dim // heads} wide; rotary positions need an even width"
        yield Finding(("n_heads",), message, (("dim",),))
    if heads % model.n_kv_heads:
        message = f"{model.n_kv_heads} does not divide model.n_heads, which is {heads}"
        yield Finding(("n_kv_heads",), message, (("n_heads",),))


def check_training(training: Training) -> Iterator[Finding]:
    """There is at least one step."""
    if training.steps < 1:
        message = (
            f"{training.tokens:,} tokens are less than one step, which takes"
            f" seq_len x batch_size = {training.tokens_per_step:,}"
        )
        yield Finding(("tokens",), message, (("seq_len",), ("batch_size",)))


def check_schedule(schedule: Schedule) -> Iterator[Finding]:
    """A cooldown where there can be one, beside the warm-up; nothing that has no effect."""
    kind = schedule.kind
    if kind in ("linear", "cosine"):
        if schedule.cooldown:
            message = f"{schedule.cooldown}, but kind '{kind}' decays all the way; give wsd or inverse_sqrt, or 0"
            yield Finding(("cooldown",), message, (("kind",),))
    elif schedule.warmup + schedule.cooldown > 1:
        message = f"{schedule.cooldown} and the warm-up's {schedule.warmup} are more than all steps"
        yield Finding(("cooldown",), message, (("warmup",),))
    elif kind == "wsd" and schedule.min_lr_factor and not schedule.cooldown:
        message = f"{schedule.min_lr_factor}, but kind 'wsd' never falls without a 'cooldown'; give one, or 0"
        yield Finding(("min_lr_factor",), message, (("kind",), ("cooldown",)))
    if kind == "inverse_sqrt" and not schedule.warmup:
        message = "0, but kind 'inverse_sqrt' falls as sqrt(warm-up steps / step); give a share above 0"
        yield Finding(("warmup",), message, (("kind",),))


def check_suite(suite: Suite) -> Iterator[Finding]:
    """No task stands twice; clusters hold items; an aggregate has all that it needs."""
    first: dict[str, int] = {}
    for i, task in enumerate(suite.tasks):
        if first.setdefault(task.task, i) < i:
            yield Finding(("tasks", i, "task"), f"'{task.task}' stands twice; it is tasks[{first[task.task]}] already")
        if task.clusters is not None and task.clusters > (task.items or 0):
            found = f"{task.clusters} clusters of {task.items} items" if task.items else "clusters of how many items?"
            yield Finding(("tasks", i, "clusters"), f"{found}; give 'items', at least as many as clusters")
        if suite.aggregate is not None and task.category is not None:
            for key in ("metric", "baseline"):
                if getattr(task, key) is None:
                    message = f"missing; 'category' has the task count in {suite.aggregate.name}, which needs it"
                    yield Finding(("tasks", i, key), message, at_key=True)
    if suite.aggregate is not None and all(task.category is None for task in suite.tasks):
        yield Finding(("aggregate",), "no task has a category, so there is nothing to average", at_key=True)


def check_published(numbers: PublishedNumbers) -> Iterator[Finding]:
    """Every task stands beside a benchmark that has numbers."""
    benchmarks = dict.fromkeys(name for scores in numbers.values.values() for name in scores)
    for task, name in numbers.tasks.items():
        if name not in benchmarks:
            known = {each.lower(): each for each in benchmarks}
            close = get_close_matches(name.lower(), known, n=1, cutoff=0.6)
            hint = f"did you mean '{known[close[0]]}'?" if close else f"there is {', '.join(benchmarks)}"
            yield Finding(("tasks", task), f"'{name}' has no published number; {hint}")


def check_recipe(
    *,
    sources: Collection[str] | None,
    data: Data | None,
    model: Model | None,
    training: Training | None,
    schedule: Schedule | None,
    phase: Phase | None,
    policy: str | None,
    references: Mapping[str, Reference],
    world_sources: Sequence[str],
    seen: Collection[str] = (),
) -> Iterator[Finding]:
    """What holds between sections; a section that is not valid in itself is None and is passed over."""
    if sources is not None:
        for name in seen:
            if name not in sources:
                yield Finding(("base", "seen", name), unknown_source(name, sources), at_key=True)
        if policy is not None and policy.startswith("replace:"):
            name = policy.removeprefix("replace:")
            if name not in sources:
                yield Finding(("phase", "policy"), unknown_source(name, sources))
        if data is not None and data.world is not None:
            for name in sources:
                if name not in world_sources:
                    message = f"no data; the micro-world has {', '.join(world_sources)}"
                    yield Finding(("sources", name), message + did_you_mean(name, world_sources), at_key=True)
    if model is not None and training is not None and model.max_seq_len < training.seq_len:
        message = f"{model.max_seq_len} is less than training.seq_len, which is {training.seq_len}"
        yield Finding(("model", "max_seq_len"), message, (("training", "seq_len"),))
    if phase is not None:
        for key, shares in (("durations", phase.durations), ("drop_at", phase.drop_at)):
            yield from _check_shares(("phase", key), shares, training)
    if schedule is not None:
        yield from _check_cooldown(schedule, training, phase)
    if phase is not None and training is not None:
        yield from _check_average(phase, training)
    first: dict[tuple[str, str | None], str] = {}
    for name, reference in references.items():
        other = first.setdefault((reference.model, reference.revision), name)
        if other != name:
            yield Finding(("references", name, "model"), f"'{reference.model}' is references.{other} already")


TIME = "give minutes, HH:MM:SS or D-HH:MM:SS"
MEMORY = "give a whole number with K, M, G or T, such as 64G; without a letter it is M"
OPTION = "use sbatch's long name without the dashes, such as mail_type"


def minutes(time: str | int) -> int:
    """A wall time in whole minutes, rounded up. Raises ValueError for what is none."""
    text = str(time)
    if re.fullmatch(r"\d+", text):
        found = int(text)
    else:
        match = re.fullmatch(r"(?:(\d+)-)?(\d{1,3})(?::([0-5]\d))?(?::([0-5]\d))?", text)
        if match is None:
            raise ValueError(f"'{text}' is no wall time; {TIME}")
        if match[1] is None and match[4] is None:  # what is left has one colon
            raise ValueError(f"'{text}' is minutes and seconds to Slurm; write {match[2]}, or {text}:00 if it is hours")
        days, hours, mins, seconds = (int(part or 0) for part in match.groups())
        found = (days * 24 + hours) * 60 + mins + (seconds > 0)
    if not found:
        raise ValueError("no time at all; give at least a minute")
    return found


def check_time(time: object) -> str | int:
    """A wall time as given. Raises ValueError for what is none."""
    if isinstance(time, bool) or not isinstance(time, str | int):
        raise ValueError(_other_type(time, "wall time", TIME))
    minutes(time)
    return time


def check_memory(memory: object) -> str:
    """An amount of memory as Slurm takes it, `64G`. Raises ValueError for what is none."""
    if isinstance(memory, bool) or not isinstance(memory, str | int):
        raise ValueError(_other_type(memory, "amount of memory", MEMORY))
    match = re.fullmatch(r"(\d+)(?:([KMGT])B?)?", str(memory).upper())
    if match is None:
        raise ValueError(f"'{memory}' is no amount of memory; {MEMORY}")
    return match[1] + (match[2] or "")


def _other_type(value: object, what: str, remedy: str) -> str:
    if value is None:
        return f"empty; {remedy}"
    shown = {dict: "a section", list: "a list", bool: str(value).lower()}.get(type(value), str(value))
    return f"{shown} is no {what}; {remedy}"


def megabytes(memory: str) -> int:
    """Slurm's `64G` in MB of 1024 x 1024 bytes, rounded up; 0 is all of a node's."""
    match = re.fullmatch(r"(\d+)([KMGT]?)", memory)
    if match is None:
        raise ValueError(f"'{memory}' is no amount of memory; {MEMORY}")
    kilobytes = int(match[1]) << 10 * "KMGT".index(match[2] or "M")
    return -(-kilobytes // 1024)


def number_as_text(value: object) -> object:
    """A whole number as the text that it is in a shell; YAML made a number of it."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def check_option(value: object) -> str | int | bool:
    """A value of an option of sbatch. Raises ValueError for what is none."""
    if value is False:
        raise ValueError("false is no value of an option; leave the option out")
    if isinstance(value, str | int):
        return value
    raise ValueError(_other_type(value, "value of an option", "give text, a number, or true for an option without one"))


_SETS_ITSELF = frozenset(
    {"array", "dependency", "error", "hold", "job_name", "output", "parsable", "test_only", "wrap"}
)
"""Options of sbatch by which joyctl finds its jobs again."""


def check_option_name(name: object) -> str:
    """A long option of sbatch in submitit's spelling, `mail_type`. Raises ValueError for what is none, or not free."""
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
        raise ValueError(f"'{name}' cannot be an option here; {OPTION}")
    option = name.replace("-", "_")
    if option in _SETS_ITSELF:
        raise ValueError("joyctl sets this one itself, to find its jobs again; leave it out")
    return option


def check_slurm(cluster: SlurmCluster) -> Iterator[Finding]:
    """What must hold between the keys of a Slurm cluster."""
    for name, stage in (
        ("train", cluster.stages.train),
        ("eval", cluster.stages.eval),
        ("score", cluster.stages.score),
        *((("data", cluster.stages.data),) if cluster.stages.data is not None else ()),
    ):
        above = ("stages", name)
        memory = [key for key in ("mem", "mem_per_cpu", "mem_per_gpu") if getattr(stage, key) is not None]
        if len(memory) > 1:
            message = f"'{memory[0]}' is given as well; Slurm takes one of them"
            yield Finding((*above, memory[1]), message, ((*above, memory[0]),))
        elif stage.mem_per_gpu is not None and not stage.gpus_per_node:
            yield Finding((*above, "mem_per_gpu"), "there are no GPUs here: 'gpus_per_node' is 0; give 'mem'")
        if stage.gres is not None and stage.gpus_per_node:
            message = "'gpus_per_node' is given as well; give one of them"
            yield Finding((*above, "gres"), message, ((*above, "gpus_per_node"),))
        if name != "train" and stage.nodes > 1:
            yield Finding((*above, "nodes"), f"{stage.nodes}; only training can use several nodes")
        if name == "data" and (stage.gpus_per_node or stage.gres is not None):
            key = "gpus_per_node" if stage.gpus_per_node else "gres"
            yield Finding((*above, key), "this work uses no GPU; leave it out")
        if name in ("score", "data") and (stage.processes_per_node or 1) > 1:
            message = f"{stage.processes_per_node}; only training and scoring a model (eval) can be several processes"
            yield Finding((*above, "processes_per_node"), message)
    if cluster.signal_grace_s >= 60 * cluster.stages.train.minutes:
        message = f"{cluster.signal_grace_s} s leave nothing of stages.train.time, which is {cluster.stages.train.time}"
        yield Finding(("signal_grace_s",), message, (("stages", "train", "time"),))


def check_prices(cluster: LocalCluster | SlurmCluster, keys: Sequence[str]) -> Iterator[Finding]:
    """A price says nothing without its currency."""
    given = [key for key in keys if getattr(cluster, key) is not None]
    if given and cluster.currency is None:
        yield Finding((given[0],), "in what? Give 'currency' as well, such as EUR")


def unknown_source(name: str, sources: Collection[str]) -> str:
    """That there is no such source, with the one likely meant or all that there are."""
    hint = did_you_mean(name, sources) or f"; the sources are {', '.join(sorted(map(str, sources)))}"
    return f"unknown source '{name}'{hint}"


_LENGTH: tuple[Loc, ...] = (("training", "tokens"), ("training", "seq_len"), ("training", "batch_size"))
"""The keys that make the number of steps."""


def _check_cooldown(schedule: Schedule, training: Training | None, phase: Phase | None) -> Iterator[Finding]:
    """A cooldown is some steps, so is the warm-up that inverse_sqrt rests on, and a shape is that of some fall."""
    for key in ("warmup", "cooldown") if schedule.kind == "inverse_sqrt" else ("cooldown",):
        share = getattr(schedule, key)
        if training is not None and share and not round(share * training.steps):
            message = f"{share} of {training.steps:,} steps rounds to no step at all"
            yield Finding(("schedule", key), message, _LENGTH)
    if schedule.cooldown_shape != "linear" and not schedule.cooldown and phase is not None and phase.lr == "continue":
        message = "nothing falls by it; give 'cooldown', with kind wsd or inverse_sqrt, or phase.lr: redecay"
        yield Finding(("schedule", "cooldown_shape"), message, (("schedule", "cooldown"), ("phase", "lr")))


def _check_average(phase: Phase, training: Training) -> Iterator[Finding]:
    """The checkpoints that are averaged all lie within the shortest phase."""
    average, shortest = phase.average, min((*phase.durations, *phase.drop_at))
    steps = round(shortest * training.steps)
    if average is not None and average.reach >= steps:
        message = f"{average.last} checkpoints, {average.every:,} steps apart, reach back {average.reach:,} steps; "
        message += f"the shortest phase, {shortest} of {training.steps:,}, has {steps:,}"
        related = tuple(("phase", "average", key) for key in ("last", "every"))
        yield Finding(("phase", "average"), message, related)


def _check_shares(loc: Loc, shares: Sequence[float], training: Training | None) -> Iterator[Finding]:
    """Every share of all steps is some steps, not all, and no other share's."""
    first_with: dict[int, float] = {}
    for i, share in enumerate(shares):
        first = shares.index(share)
        if first < i:
            yield Finding((*loc, i), f"{share} stands twice; it is phase.{loc[-1]}[{first}] already")
        elif training is not None:
            total, steps = training.steps, round(share * training.steps)
            if steps == 0:
                message = f"{share} of {total:,} steps rounds to no step at all"
            elif steps == total:
                message = f"{share} of {total:,} steps rounds to all of them; the trunk would have none"
            elif first_with.setdefault(steps, share) != share:
                message = f"{share} of {total:,} steps rounds to {steps:,}, as {first_with[steps]} does"
            else:
                continue
            yield Finding((*loc, i), message, _LENGTH)
