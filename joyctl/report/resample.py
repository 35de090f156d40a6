"""Bootstrap over clusters of items: the same draws for every score of a benchmark, so that scores stay paired."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from joyctl.report.estimate import Floats, Ints

DRAWS = 2_000
SEED = 0
"""Draws are a function of the number of clusters alone, so a report comes out the same every time."""
_CHUNK = 4_000_000  # random indices at once


def cluster_weights(clusters: int, draws: int = DRAWS, seed: int = SEED) -> Floats:
    """How often each cluster is drawn: shape (draws, clusters), every row sums to `clusters`.

    Clusters are drawn with replacement, as B. Efron and R. Tibshirani, An Introduction to the Bootstrap, 1993; the
    random indices are those of scipy.stats.bootstrap for the same generator. Times cluster sums of shape (clusters,
    scores) this gives resampled sums of shape (draws, scores).
    """
    return np.concatenate(list(_weights(clusters, draws, seed)))


def resampled(sums: Floats, draws: int = DRAWS, seed: int = SEED) -> Floats:
    """`cluster_weights` times cluster sums of shape (clusters, scores), in little memory: (draws, scores)."""
    return np.concatenate([weights @ sums for weights in _weights(len(sums), draws, seed)])


def cluster_sums(values: Floats, clusters: Ints) -> Floats:
    """Sums of `values`, shape (items,) or (scores, items), over the items of each cluster: (clusters, scores).

    Clusters are numbered from 0; numbers that no item has are left out.
    """
    there = np.flatnonzero(np.bincount(clusters))
    return np.stack([np.bincount(clusters, weights=row)[there] for row in np.atleast_2d(values)], axis=1)


def _weights(clusters: int, draws: int, seed: int) -> Iterator[Floats]:
    """The rows of `cluster_weights` in pieces; of few clusters, which many scores share, in one that is kept."""
    if clusters * draws <= _CHUNK:
        yield _kept(clusters, draws, seed)
        return
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // clusters)
    for start in range(0, draws, step):
        yield _drawn(rng, clusters, min(step, draws - start))


@lru_cache(maxsize=4)
def _kept(clusters: int, draws: int, seed: int) -> Floats:
    return _drawn(np.random.default_rng(seed), clusters, draws)


def _drawn(rng: np.random.Generator, clusters: int, rows: int) -> Floats:
    drawn = rng.integers(0, clusters, (rows, clusters)) + np.arange(rows)[:, None] * clusters
    return np.bincount(drawn.ravel(), minlength=rows * clusters).reshape(rows, clusters).astype(np.float64)
