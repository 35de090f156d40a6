"""Items of two outputs of lm-eval put beside each other, after checking that both were asked the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from joyctl.errors import Missing, Refused
from joyctl.report.lmeval_files import Side
from joyctl.report.lmeval_samples import HASHES, Logged, read_samples

_MANY = 5
"""Tasks that a message lists."""


@dataclass(frozen=True, eq=False)
class LeafPair:
    """One leaf task on both sides, by filter."""

    a: Mapping[str, Logged]
    """All items of A, whatever B has."""
    b: Mapping[str, Logged]
    both: Mapping[str, tuple[Logged, Logged]]
    """The items that both have, A's and B's in one order."""


def pair_leaves(
    a: Side, b: Side, leaves: Sequence[str], *, common: bool = False
) -> tuple[dict[str, LeafPair], dict[str, str]]:
    """Pairs by leaf task; and for leaf tasks without items on a side, on which.

    With `common` items that only one side has are left out. Raises Missing where no leaf task has items on both sides;
    Refused for torn items, for items that only one side has, and where document, prompt or target of one differ.
    """
    found: dict[str, LeafPair] = {}
    lacking: dict[str, str] = {}
    uneven: list[str] = []
    asked_otherwise: list[tuple[str, str]] = []
    for leaf in leaves:
        paths = a.samples(leaf), b.samples(leaf)
        if paths[0] is None or paths[1] is None:
            lacking[leaf] = "A and B" if paths == (None, None) else "A" if paths[0] is None else "B"
            continue
        mine, other = (
            read_samples(path, sorted({metric for metric, _ in side.scores.get(leaf, ())}))
            for side, path in ((a, paths[0]), (b, paths[1]))
        )
        filters = [name for name in mine if name in other]
        if not common and (why := _uneven(leaf, mine, other, filters)):
            uneven.append(why)
            continue
        both = {name: _aligned(mine[name], other[name]) for name in filters}
        asked_otherwise += [found_one for pair in both.values() if (found_one := _other_hash(leaf, *pair))][:1]
        found[leaf] = LeafPair(mine, other, both)
    if lacking and len(lacking) == len(leaves):
        who = next(iter(lacking.values()))
        where = " and ".join(str(s.path.parent) for name, s in (("A", a), ("B", b)) if name in who)
        raise Missing(
            f"no items of {leaves[0]} in {where}: there is no samples_{leaves[0]}_<date>.jsonl beside the results file",
            hint="lm_eval writes them with --log_samples: run it again with that.",
        )
    if uneven:
        raise Refused(
            "A and B do not hold the same items\n" + _lines(uneven) + _limits(a, b),
            hint="Score both on the same items, or compare those that both have: --common",
        )
    if asked_otherwise:
        hints = dict.fromkeys(_HINTS[name] for _, name in asked_otherwise)
        raise Refused(
            "A and B were not asked the same\n" + _lines([text for text, _ in asked_otherwise]),
            hint="\n".join([*hints, "Score one of them again, as the other was, or leave the task out (--tasks)."]),
        )
    return found, lacking


_HINTS = {
    "document": "The dataset is another, or another version of it.",
    "prompt": "The prompts differ though the settings do not: another chat template, or other examples (fewshot seed).",
    "target": "The right answers differ: another version of the task or of its dataset.",
}


def _uneven(leaf: str, mine: Mapping[str, Logged], other: Mapping[str, Logged], filters: Sequence[str]) -> str | None:
    """What only one side has, in words."""
    for name in filters:
        here, there = mine[name].docs, other[name].docs
        if set(here) == set(there):
            continue
        counts = f"{leaf}: {len(here):,} items in A, {len(there):,} in B"
        for side, one, another in (("B", here, set(there)), ("A", there, set(here))):
            first = next((doc for doc in one if doc not in another), None)
            if first is not None:
                return f"{counts}; the first that {side} lacks: document {first}"
    return None


def _aligned(mine: Logged, other: Logged) -> tuple[Logged, Logged]:
    if mine.docs == other.docs:
        return mine, other
    there = set(other.docs)
    docs = [doc for doc in mine.docs if doc in there]
    return mine.taken(docs), other.taken(docs)


def _other_hash(leaf: str, mine: Logged, other: Logged) -> tuple[str, str] | None:
    """The first item whose hashes differ, in words, and what differs: document, prompt or target."""
    for name, field in HASHES.items():
        if mine.hashes[name] == other.hashes[name]:
            continue
        unequal = [i for i, digest in enumerate(mine.hashes[name]) if digest != other.hashes[name][i]]
        count = f", the first of {len(unequal):,}" if len(unequal) > 1 else ""
        return f"{leaf}, document {mine.docs[unequal[0]]}: another {name} ({field}){count}", name
    return None


def _lines(texts: Sequence[str]) -> str:
    left = f"\n  and {len(texts) - _MANY} tasks more" if len(texts) > _MANY else ""
    return "\n".join(f"  {text}" for text in texts[:_MANY]) + left


def _limits(a: Side, b: Side) -> str:
    """Both limits, where the outputs say that they differ."""
    configs = [side.results.get("config") for side in (a, b)]
    limits = [config.get("limit") for config in configs if isinstance(config, Mapping)]
    if len(limits) < 2 or limits[0] == limits[1]:
        return ""
    words = ["none" if limit is None else str(limit) for limit in limits]
    return f"\n  limit  {words[0]} → {words[1]}"
