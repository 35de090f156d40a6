"""How many rows of every source are dealt by some turn, without dealing all turns before it: so a plan of thousands of
mixes counts what each would see.

The deal (joyctl.data.deal) is a queue: a source's row comes in at the turn from which on it may be dealt, and the one
due first is taken. The q rows due first are served before all others, as if these were not there. So they are just the
first q dealt exactly if they never leave a turn t <= q without work, that is if at least t of them have come in before
it. Such a q is looked for a little before the turn that is asked about, and only what follows it is dealt.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]
_TRIES = 64
_MOST = 1 << 18
"""Sources times turns that are looked at in one try; above, dealing is as fast."""


def counts_early(weights: Int64, turns: int) -> Int64 | None:
    """Rows of every source, shape of `weights`, among the first `turns`, which are less than a period.

    None where no turn to begin from is found nearby.
    """
    live = np.flatnonzero(weights)
    share, period, slack = weights[live], int(weights.sum()), 2 * len(live) - 2
    counts: Int64 = np.zeros_like(weights)
    if not slack:
        counts[live] = turns
        return counts
    begun = _begin(share, period, slack, turns)
    if begun is not None:
        counts[live] = _deal_on(begun.tolist(), share.tolist(), period, slack, turns)
        return counts
    return None


def _begin(share: Int64, period: int, slack: int, turns: int) -> Int64 | None:
    """Counts of the first q rows dealt, for some q up to `turns` and near it."""
    for back in range(_TRIES):
        if back >= turns:
            return np.zeros_like(share)
        counts = _due_before((turns - back) * slack / period, share, slack)
        if counts.sum() <= turns and (busy := _never_idle(counts, share, period, slack)) is not False:
            return counts if busy else None
    return None


def _due_before(time: float, share: Int64, slack: int) -> Int64:
    """How many rows of every source are due before a time, in the deal's own numbers to the last digit."""
    counts = np.clip(((time * share - (slack - 1)) / slack).astype(np.int64), 0, share)  # or one beside it
    counts -= (counts > 0) & ((slack - 1 + slack * (counts - 1)) / share >= time)
    counts += (counts < share) & ((slack - 1 + slack * counts) / share < time)
    return counts


def _never_idle(counts: Int64, share: Int64, period: int, slack: int) -> bool | None:
    """Whether so many first rows of every source keep all their turns busy; None where that is too much to look at."""
    released = np.where(counts < share, -(-(period * (1 + slack * counts)) // (slack * share)) - 1, period)
    first, last = int(released.min()), int(counts.sum())
    if first >= last:
        return True  # all rows that have come in by then are among them, and of all rows there are always enough
    if (last - first) * len(share) > _MOST:
        return None
    turn = np.arange(first + 1, last + 1)
    come = np.minimum((slack * share[:, None] * turn - period) // (slack * period) + 1, counts[:, None])
    return bool((come.sum(axis=0) >= turn).all())


def _deal_on(counts: list[int], share: list[int], period: int, slack: int, turns: int) -> list[int]:
    """The counts after `turns`, from those at an earlier one."""
    for turn in range(sum(counts) + 1, turns + 1):
        ready = [i for i, w in enumerate(share) if slack * turn * w >= period * (1 + slack * counts[i])]
        counts[min(ready, key=lambda i: ((slack - 1 + slack * counts[i]) / share[i], i))] += 1
    return counts
