"""Intervals of timings: they hold the truth as often as they say, and widen with correlation and with few samples."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmark.regression.timing import ratio_of_samples
from benchmark.timing.intervals import logarithms, reach, variance_of_mean
from benchmark.timing.sampling import relative, summarize


def correlated(seed: int, n: int, correlation: float, runs: int = 1) -> np.ndarray:
    """Normal noise (runs, n) of 5 % whose neighbours have this correlation."""
    fresh = np.random.default_rng(seed).normal(0, 0.05, (runs, n))
    for i in range(1, n):
        fresh[:, i] = correlation * fresh[:, i - 1] + math.sqrt(1 - correlation**2) * fresh[:, i]
    return fresh


# Percentiles of a block bootstrap, as before, hold the truth in 80, 84 and 60 % of these runs.
@pytest.mark.parametrize(("n", "correlation"), [(9, 0.6), (20, 0.6), (30, 0.9)])
def test_the_interval_of_a_relative_latency_holds_the_truth(n: int, correlation: float) -> None:
    network, kernel = (np.exp(correlated(seed, n, correlation, runs=100)) for seed in (1, 2))
    intervals = [relative(list(a), list(c))[1:] for a, c in zip(network, kernel)]
    assert np.mean([low <= 1 <= high for low, high in intervals]) >= 0.92


def test_the_interval_of_a_ratio_of_two_runs_holds_the_truth(monkeypatch) -> None:
    monkeypatch.setattr("benchmark.regression.timing.BETWEEN_RUNS", 0.0)
    sides = [(np.exp(row), np.ones(30)) for row in correlated(3, 30, 0.9, runs=100)]
    changes = [ratio_of_samples(before, after) for before, after in zip(sides[::2], sides[1::2])]
    # 50 % before.
    assert np.mean([change.low <= 1 <= change.high for change in changes]) >= 0.95


def test_a_slow_change_under_the_noise_of_single_passes_is_seen() -> None:
    noise = np.random.default_rng(0).normal(0, 0.05, (20, 200))
    slow = correlated(1, 200, 0.9, runs=20)
    # The median's standard error without regard to order is 0.006; of the slow part alone it is 0.015.
    assert np.mean([reach(a + b) for a, b in zip(noise, slow)]) > 1.96 * 0.013


def test_more_correlation_is_a_wider_interval() -> None:
    for n in (9, 20, 60):
        widths = [np.mean([reach(row) for row in correlated(4, n, rho, runs=25)]) for rho in (0.0, 0.3, 0.6)]
        assert widths == sorted(widths)
    steps = np.linspace(-0.1, 0.1, 40)
    drifting, shuffled = reach(steps), reach(np.random.default_rng(0).permutation(steps))
    assert drifting > 3 * shuffled


def test_fewer_samples_are_a_wider_interval() -> None:
    widths = [np.mean([reach(row) for row in correlated(5, n, 0.0, runs=30)]) for n in (3, 5, 9, 20, 60)]
    assert widths == sorted(widths, reverse=True)
    # Five samples reach much farther than the error of their median, 0.026, times 1.96.
    assert widths[1] > 3 * 1.96 * 0.026


def test_many_independent_samples_have_nearly_the_normal_interval() -> None:
    normal = 1.96 * 0.05 * math.sqrt(math.pi / 2 / 200)
    # The larger of two factors costs a fifth of the width.
    assert normal < np.mean([reach(row) for row in correlated(6, 200, 0.0, runs=20)]) < 1.3 * normal


@pytest.mark.parametrize(("n", "rho"), [(1, 0.5), (2, 0.5), (7, 0.9), (60, 0.3)])
def test_the_variance_of_a_mean_is_that_of_its_closed_form(n: int, rho: float) -> None:
    closed = ((1 + rho) / (1 - rho) - 2 * rho * (1 - rho**n) / (n * (1 - rho) ** 2)) / n
    assert variance_of_mean(n, rho) == pytest.approx(closed)
    assert variance_of_mean(n, 0.0) == pytest.approx(1 / n)


def test_what_both_share_has_no_width_and_equal_samples_neither() -> None:
    kernel = list(np.exp(correlated(7, 30, 0.9)[0]))
    assert relative([3 * k for k in kernel], kernel)[1:] == pytest.approx((3, 3))
    assert reach(logarithms([5.0] * 9)) == 0.0


def test_a_time_of_zero_has_a_finite_interval() -> None:
    summary = summarize([0.0, 1.0, 1.0, 1.1, 1.2])
    assert 0 < summary.ci_low <= 1.0 <= summary.ci_high < math.inf
