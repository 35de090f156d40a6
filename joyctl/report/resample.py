"""Bootstrap over clusters of items: the same draws for every score of a benchmark, so that scores stay paired."""

from __future__ import annotations

import numpy as np

from joyctl.report.estimate import Floats, Ints

DRAWS = 2_000
SEED = 0
"""Draws are a function of the number of clusters alone, so a report comes out the same every time."""
_CHUNK = 8_000_000  # random indices at once


def cluster_weights(clusters: int, draws: int = DRAWS, seed: int = SEED) -> Floats:
    """How often each cluster is drawn: shape (draws, clusters), every row sums to `clusters`.

    Clusters are drawn with replacement, as B. Efron and R. Tibshirani, An Introduction to the Bootstrap, 1993; the
    random indices are those of scipy.stats.bootstrap for the same generator. Times cluster sums of shape (clusters,
    scores) this gives resampled sums of shape (draws, scores).
    """
    rng = np.random.default_rng(seed)
    weights = np.empty((draws, clusters), dtype=np.float64)
    step = max(1, _CHUNK // clusters)
    for start in range(0, draws, step):
        rows = min(step, draws - start)
        drawn = rng.integers(0, clusters, (rows, clusters)) + np.arange(rows)[:, None] * clusters
        counted = np.bincount(drawn.ravel(), minlength=rows * clusters)
        weights[start : start + rows] = counted.reshape(rows, clusters)
    return weights


def cluster_sums(values: Floats, clusters: Ints) -> Floats:
    """Sums of `values`, shape (items,) or (scores, items), over the items of each cluster: (clusters, scores)."""
    _, index = np.unique(clusters, return_inverse=True)
    rows = np.atleast_2d(values)
    return np.stack([np.bincount(index, weights=row) for row in rows], axis=1)
