"""Agreement with implementations that are not ours: statsmodels and scipy, on fixed data, to 1e-6."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as their_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from joyctl.report.estimate import Estimate, Part, benjamini_hochberg, holm, ratio
from joyctl.report.exact import mcnemar, mcnemar_detectable, mcnemar_power
from joyctl.report.power import detectable, power
from joyctl.report.resample import cluster_sums, cluster_weights, resampled

RNG = np.random.default_rng(11)
CLOSE = {"rel": 1e-6, "abs": 1e-12}


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (0, 6), (3, 11), (25, 25), (80, 131), (400, 310)])
def test_mcnemar_is_statsmodels_exact_test(lost: int, won: int) -> None:
    theirs = their_mcnemar(np.array([[50, lost], [won, 70]]), exact=True)
    assert mcnemar(lost, won) == pytest.approx(theirs.pvalue, **CLOSE)


def test_clustered_standard_error_of_equal_clusters_is_statsmodels_cluster_robust_one() -> None:
    clusters = np.repeat(np.arange(30), 12)
    values = RNG.normal(size=360) + 0.4 * RNG.normal(size=30)[clusters]
    fitted = sm.OLS(values, np.ones(360)).fit(cov_type="cluster", cov_kwds={"groups": clusters})
    found = ratio(values, np.ones(360), clusters)
    assert found.value == pytest.approx(fitted.params[0], **CLOSE)
    assert found.stderr == pytest.approx(fitted.bse[0], **CLOSE)


def test_clustered_standard_error_of_unequal_clusters_is_hc2_over_cluster_means() -> None:
    sizes = RNG.integers(1, 60, 40)
    clusters = np.repeat(np.arange(40), sizes)
    size = RNG.lognormal(4, 1, len(clusters))  # bytes: a ratio of sums is a mean weighted by them
    values = size * (0.7 + 0.1 * RNG.normal(size=40)[clusters] + 0.1 * RNG.normal(size=len(clusters)))
    above, below = cluster_sums(np.stack([values, size]), clusters).T
    fitted = sm.WLS(above / below, np.ones(40), weights=below).fit()
    found = ratio(values, size, clusters)
    assert found.value == pytest.approx(fitted.params[0], **CLOSE)
    assert found.stderr == pytest.approx(fitted.HC2_se[0], **CLOSE)


@settings(max_examples=30, deadline=None)  # statsmodels takes its time
@given(st.lists(st.floats(1e-12, 1), min_size=1, max_size=40))
def test_holm_and_benjamini_hochberg_are_statsmodels(p_values: list[float]) -> None:
    for ours, method in ((holm, "holm"), (benjamini_hochberg, "fdr_bh")):
        theirs = multipletests(p_values, method=method)[1]
        assert ours(p_values) == pytest.approx(list(theirs), **CLOSE)


def test_bootstrap_is_scipys_with_the_same_generator() -> None:
    values = RNG.normal(size=120)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=2_000, method="percentile", rng=np.random.default_rng(0), vectorized=True
    )
    means = resampled(values[:, None])[:, 0] / 120
    assert means == pytest.approx(theirs.bootstrap_distribution, **CLOSE)
    assert tuple(np.quantile(means, (0.025, 0.975))) == pytest.approx(tuple(theirs.confidence_interval), **CLOSE)


def test_bootstrap_of_a_clustered_ratio_is_scipys_over_cluster_sums() -> None:
    clusters = np.repeat(np.arange(25), RNG.integers(3, 20, 25))
    size = RNG.lognormal(5, 0.5, len(clusters))
    above, below = cluster_sums(np.stack([size * RNG.normal(0.1, 0.3, len(clusters)), size]), clusters).T
    theirs = stats.bootstrap(
        (above, below),
        lambda a, b, axis: a.sum(axis=axis) / b.sum(axis=axis),
        paired=True,
        n_resamples=2_000,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    weights = cluster_weights(25)
    assert (weights @ above) / (weights @ below) == pytest.approx(theirs.bootstrap_distribution, **CLOSE)


@pytest.mark.parametrize("effect", [0.01, 0.05, 0.1])
@pytest.mark.parametrize("n", [60, 400])
def test_power_of_one_run_is_statsmodels_t_test_power(effect: float, n: int) -> None:
    sd = 0.35
    found = Estimate(0.0, (Part(sd**2 / n, n - 1.0),), n, n, False)
    theirs = TTestPower().power(effect_size=effect / sd, nobs=n, alpha=0.01)
    assert power(effect, found, 0.01) == pytest.approx(theirs, abs=1e-4)


def test_detectable_difference_has_the_power_it_names() -> None:
    one = Estimate(0.0, (Part(1e-4, 200.0),), 201, 201, False)
    three = Estimate(0.0, (Part(1e-4, 200.0), Part(2e-4, 2.0)), 201, 201, False)
    for found in (one, three):
        for level in (0.05, 0.001):
            assert power(detectable(found, level), found, level) == pytest.approx(0.8, abs=0.002)
    assert detectable(three) > detectable(one)


@pytest.mark.parametrize("df", [3.0, 29.0, 199.0, 399.0, 1318.0])
@pytest.mark.parametrize("level", [0.05, 0.0012, 1e-6])
def test_power_grows_with_the_effect_to_certainty(df: float, level: float) -> None:
    found = Estimate(0.0, (Part(1.0, df),), 400, 400, False)
    grid = [power(effect, found, level) for effect in np.linspace(0, 400 if df < 10 else 60, 300)]
    assert grid[0] == pytest.approx(level, abs=2e-4)
    assert all(a <= b + 1e-9 for a, b in itertools.pairwise(grid))
    assert grid[-1] > 0.99
    assert power(detectable(found, level), found, level) == pytest.approx(0.8, abs=0.002)


@pytest.mark.parametrize(("items", "level"), [(40, 0.05), (164, 0.05), (164, 0.0009)])
def test_power_of_mcnemar_by_counting_every_table(items: int, level: float) -> None:
    up, down = 0.16, 0.05
    m = np.arange(items + 1)
    total = 0.0
    for both in m:
        won = np.arange(both + 1)
        calls = 2 * stats.binom.cdf(np.minimum(won, both - won), both, 0.5) <= level
        chance = stats.binom.pmf(won, both, up / (up + down))
        total += stats.binom.pmf(both, items, up + down) * float((chance * calls).sum())
    assert mcnemar_power(up - down, up + down, items, level) == pytest.approx(total, abs=1e-9)
    least = mcnemar_detectable(up + down, items, level)
    assert mcnemar_power(least, up + down, items, level) == pytest.approx(0.8, abs=0.005)


def test_six_items_can_never_be_called_after_a_strict_correction() -> None:
    assert mcnemar_power(1.0, 1.0, 6, 0.001) == 0.0
    assert mcnemar_detectable(0.5, 6, 0.001) == 1.0
