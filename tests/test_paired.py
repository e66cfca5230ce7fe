"""Paired bootstrap: it finds true differences, keeps its level, and leaves equal scores equal."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmark.results.paired import paired_difference


def test_equal_scores_are_equal() -> None:
    found = paired_difference([30.0, 31.0, math.inf], [30.0, 31.0, math.inf])
    assert (found.mean, found.low, found.high) == (0, 0, 0)
    assert not found.is_significant


def test_what_makes_images_hard_cancels() -> None:
    rng = np.random.default_rng(1)
    hard = rng.normal(30, 5, 50)
    found = paired_difference(hard, hard + rng.normal(0.2, 0.1, 50))
    assert found.is_significant
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.2 < found.high


def test_false_alarms_keep_to_the_level() -> None:
    rng = np.random.default_rng(2)
    alarms = sum(
        paired_difference(rng.normal(size=100), rng.normal(size=100), resamples=500, seed=i).is_significant
        for i in range(400)
    )
    assert 5 <= alarms <= 40  # 20 expected


def test_the_interval_is_that_of_95_percent() -> None:
    differences = np.random.default_rng(3).normal(size=400)
    found = paired_difference(np.zeros(400), differences, resamples=20_000)
    # The mean of many images is normal: 1.96 of its standard deviations each way (90 %: 1.645, 99 %: 2.576).
    sides = np.array([found.mean - found.low, found.high - found.mean]) / (differences.std() / 20)
    np.testing.assert_allclose(sides, 1.96, rtol=0.04)


def test_one_image_has_no_interval() -> None:
    found = paired_difference([30.0], [40.0])
    assert found.mean == 10
    assert found.low is None
    assert not found.is_significant


def test_unpaired_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="3 and 2 scores"):
        paired_difference([1, 2, 3], [1, 2])
