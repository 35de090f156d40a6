"""Whether a partition has what a stage of a cluster file asks for. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from joyctl.recipe.cluster import Resources
from joyctl.recipe.rules import did_you_mean, megabytes


@dataclass(frozen=True)
class Gres:
    """An amount of a generic resource: `gpu:h100:8`."""

    name: str
    type: str | None
    count: int

    def __str__(self) -> str:
        return ":".join(filter(None, (self.name, self.type, str(self.count))))


@dataclass(frozen=True)
class Nodes:
    """Nodes of one partition that are alike."""

    count: int
    gres: tuple[Gres, ...]
    features: frozenset[str]
    memory_mb: int
    cpus: int


@dataclass(frozen=True)
class Partition:
    """A partition as sinfo shows it."""

    name: str
    state: str
    """`up`, or what keeps it from starting jobs."""
    default: bool
    minutes: int | None
    """Longest wall time; None for no limit."""
    nodes: tuple[Nodes, ...]


def parse_gres(text: str) -> tuple[Gres, ...]:
    """Generic resources from Slurm's words: `gpu:h100:8(S:0-1),lscratch:100G`."""
    found = []
    for word in filter(None, re.sub(r"\([^)]*\)", "", text).split(",")):
        name, *rest = word.split(":")
        count = re.fullmatch(r"(\d+)([KMGT]?)", rest[-1].upper()) if rest else None
        amount = int(count[1]) << 10 * " KMGT".index(count[2] or " ") if count else 1
        types = rest[:-1] if count else rest
        found.append(Gres(name, types[0] if types else None, amount))
    return tuple(found)


def misfit(need: Resources, constraint: str | None, partition: Partition) -> tuple[str, str] | None:
    """The first key for which a partition has too little, and what it has; None when jobs can start there."""
    name = f"partition {partition.name}"
    if partition.state != "up":
        return "partition", f"{name} is {partition.state}: it starts no jobs now"
    if partition.minutes is not None and need.minutes > partition.minutes:
        return "time", f"{need.time} is above the limit of {name}, which is {_duration(partition.minutes)}"
    nodes = list(partition.nodes)
    if (total := sum(n.count for n in nodes)) < need.nodes:
        return "nodes", f"{need.nodes}; {name} has {_counted(total, 'node')}"
    for need_ in _needs(need, constraint):
        left = [n for n in nodes if need_.fits(n)]
        enough = sum(n.count for n in left)
        if not enough:
            return need_.key, f"no node of {name} has {need_.asked}{need_.there(nodes)}"
        if enough < need.nodes:
            only = f"only {_counted(enough, 'node')} of {name} have {need_.asked}"
            return need_.key, f"{only}; {need.nodes} are asked for"
        nodes = left
    return None


@dataclass(frozen=True)
class _Need:
    """Something that a node must have."""

    key: str
    asked: str
    fits: Callable[[Nodes], bool]
    there: Callable[[Sequence[Nodes]], str]
    """What nodes have instead, as the end of a message."""


def _needs(need: Resources, constraint: str | None) -> Iterator[_Need]:
    if constraint is not None:
        yield _need_features(constraint)
    gres = parse_gres(need.gres) if need.gres else ()
    if need.gpus_per_node:
        gres = (Gres("gpu", None, need.gpus_per_node),)
    for wanted in gres:
        yield _need_gres(wanted, "gres" if need.gres else "gpus_per_node")
    if need.cpus_per_task:
        cpus = need.cpus_per_task
        most = partial(_most, of=lambda n: n.cpus, unit="")
        yield _Need("cpus_per_task", _counted(cpus, "core"), lambda n: n.cpus >= cpus, most)
    gpus = sum(g.count for g in gres if g.name == "gpu")
    for key, times in (("mem", 1), ("mem_per_cpu", need.cpus_per_task or 1), ("mem_per_gpu", gpus)):
        given: str | None = getattr(need, key)
        if given is not None:
            yield _need_memory(key, given, times)


def _need_features(constraint: str) -> _Need:
    def there(nodes: Sequence[Nodes]) -> str:
        known = frozenset[str]().union(*(n.features for n in nodes))
        unknown = next((word for word in _features(constraint) if word not in known), "")
        return did_you_mean(unknown, known) or f"; there are {', '.join(sorted(known)) or 'none'}"

    return _Need("constraint", f"features '{constraint}'", lambda n: _allows(constraint, n.features), there)


def _need_gres(wanted: Gres, key: str) -> _Need:
    def count(nodes: Nodes) -> int:
        return sum(g.count for g in nodes.gres if g.name == wanted.name and wanted.type in (None, g.type))

    def there(nodes: Sequence[Nodes]) -> str:
        found = sorted({str(g) for n in nodes for g in n.gres})
        return f"; there are {', '.join(found)}" if found else "; they have none"

    asked = str(wanted) if key == "gres" else _counted(wanted.count, "GPU")
    return _Need(key, asked, lambda n: count(n) >= wanted.count, there)


def _need_memory(key: str, given: str, times: int) -> _Need:
    memory = megabytes(given) * times
    asked = f"{given} of memory" if times == 1 else f"{times} x {given} of memory"
    return _Need(key, asked, lambda n: n.memory_mb >= memory, partial(_most, of=lambda n: n.memory_mb, unit="M"))


def _most(nodes: Sequence[Nodes], *, of: Callable[[Nodes], int], unit: str) -> str:
    return f"; the most is {max(map(of, nodes))}{unit}"


def _duration(minutes: int) -> str:
    days, rest = divmod(minutes, 1_440)
    return f"{f'{days}-' if days else ''}{rest // 60:02}:{rest % 60:02}:00"


def _counted(count: int, word: str) -> str:
    return f"{count} {word}{'s' if count != 1 else ''}"


def _features(constraint: str) -> list[str]:
    """The names in a constraint such as `[rack1|rack2]&h100*4`."""
    return [re.sub(r"\*\d+$", "", word) for word in re.split(r"[&|,()\[\]]+", constraint) if word]


def _allows(constraint: str, features: frozenset[str]) -> bool:
    """Whether nodes may have what a constraint wants; of one with brackets or counts only Slurm can tell."""
    if re.search(r"[*()\[\]]", constraint):
        return any(word in features for word in _features(constraint))
    return any(set(re.split("[&,]", choice)) <= features for choice in constraint.split("|"))
