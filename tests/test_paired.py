"""Intervals over scenes: closed forms, coverage, and what must not move them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from benchmark.results.paired import FEWEST_SCENES, Difference, interval_sides, mean_interval, paired_difference


def own(count: int) -> list[str]:
    """Return a scene for each of ``count`` images."""
    return [f"scene {index}" for index in range(count)]


def bounds(found: Difference) -> list[float]:
    assert found.low is not None
    assert found.high is not None
    return [found.low, found.mean, found.high]


def test_equal_scores_are_equal() -> None:
    scores = [30.0, 31.0, math.inf, 32.0, 33.0, 34.0]
    found = paired_difference(scores, scores, own(6))
    assert bounds(found) == [0, 0, 0]
    assert not found.is_significant


def test_equal_differences_have_no_width() -> None:
    found = mean_interval([0.1] * 7, own(7))
    assert bounds(found) == [0.1, 0.1, 0.1]
    assert found.is_significant


def test_what_makes_images_hard_cancels() -> None:
    rng = np.random.default_rng(1)
    hard = rng.normal(30, 5, 50)
    found = paired_difference(hard, hard + rng.normal(0.2, 0.1, 50), own(50))
    assert found.is_significant
    low, _, high = bounds(found)
    assert low < 0.2 < high


def test_infinite_scores_count_as_120() -> None:
    a, b = [30.0] * 6, [math.inf, 31.0, 31.0, 31.0, 31.0, 31.0]
    assert paired_difference(a, b, own(6)) == paired_difference(a, [120.0, *b[1:]], own(6))


def test_symmetric_differences_have_the_t_interval_over_scene_means_and_the_term_for_few_scenes() -> None:
    means = np.array([-0.5, -0.2, -0.1, 0.1, 0.2, 0.5]) + 1
    values = np.concatenate([means - 0.3, means + 0.1, means + 0.2])
    found = mean_interval(values, [*"abcdef"] * 3)
    low, high = stats.t.interval(0.95, 5, means.mean(), stats.sem(means))
    wider = 1 + 16 / 5**2
    np.testing.assert_allclose(bounds(found), [1 - (1 - low) * wider, 1, 1 + (high - 1) * wider])
    assert (found.n, found.num_scenes) == (18, 6)


def test_skewed_differences_reach_further_on_their_long_side() -> None:
    means = np.exp(np.random.default_rng(4).normal(size=12))
    found = mean_interval(means, own(12))
    side = stats.t.ppf(0.975, 11) * stats.sem(means)
    skew = stats.skew(means) / math.sqrt(12)
    assert skew > 0
    few, skewed = 16 / 11**2, 12 / math.sqrt(11) * skew
    np.testing.assert_allclose(bounds(found)[0], means.mean() - side * (1 + few))
    np.testing.assert_allclose(bounds(found)[2], means.mean() + side * (1 + few + skewed))


def test_scenes_of_unequal_numbers_have_satterthwaites_degrees_of_freedom() -> None:
    sizes = np.array([1, 2, 3, 5, 8, 13, 21, 34])
    weights = sizes / sizes.sum()
    means = np.random.default_rng(5).normal(size=(2, 8))
    centred = np.eye(8) - weights
    form = centred.T @ np.diag(weights**2) @ centred
    freedom = np.trace(form) ** 2 / np.trace(form @ form)
    shares = weights * (means @ centred.T)
    error = np.sqrt(np.sum(shares**2, axis=1) * np.sum(weights**2) / np.trace(form))
    skew = np.sum(shares**3, axis=1) / np.sum(shares**2, axis=1) ** 1.5
    assert freedom < 4
    below, above = interval_sides(means, sizes.tolist())
    np.testing.assert_allclose(
        above, stats.t.ppf(0.975, freedom) * error * (1 + 16 / 4**2 + 12 / math.sqrt(4) * np.maximum(skew, 0))
    )
    np.testing.assert_allclose(interval_sides(-means, sizes.tolist()), (above, below))


@pytest.mark.parametrize(("log_sd", "most"), [(0.0, 5.0), (1.0, 7.5)], ids=["normal", "log-normal"])
@pytest.mark.parametrize("scenes", [6, 24])
def test_false_alarms_keep_to_the_level_whatever_images_of_a_scene_share(
    scenes: int, log_sd: float, most: float
) -> None:
    rng = np.random.default_rng(2)
    logs = math.sqrt(0.9) * rng.normal(size=(2000, scenes, 1)) + math.sqrt(0.1) * rng.normal(size=(2000, scenes, 8))
    images = np.exp(log_sd * logs) - math.exp(log_sd**2 / 2) if log_sd else logs
    mean = images.mean(axis=(1, 2))
    below, above = interval_sides(images.mean(axis=2), [8] * scenes)
    alarms = 100 * np.mean((mean - below > 0) | (mean + above < 0))
    assert alarms <= most
    # An interval over the 8 images of each scene, as if they were independent, has false alarms all the time.
    side = stats.t.ppf(0.975, scenes * 8 - 1) * stats.sem(images.reshape(2000, -1), axis=1)
    assert 100 * np.mean(abs(mean) > side) > 40


def test_many_scenes_have_the_normal_interval() -> None:
    values = np.random.default_rng(3).normal(size=4000)
    low, mean, high = bounds(mean_interval(values, own(4000)))
    np.testing.assert_allclose([mean - low, high - mean], 1.96 * stats.sem(values), rtol=0.02)


def test_copies_of_images_within_their_scenes_are_no_evidence() -> None:
    rng = np.random.default_rng(6)
    values, scenes = rng.normal(0.3, 1, 30), [*"abcdefghij"] * 3
    scenes[-2:] = "aa"
    once = mean_interval(values, scenes)
    np.testing.assert_allclose(bounds(mean_interval(np.tile(values, 5), scenes * 5)), bounds(once))


def test_order_and_names_of_scenes_do_not_matter() -> None:
    rng = np.random.default_rng(7)
    values, scenes = rng.normal(size=40), [f"{index % 7}" for index in range(40)]
    once, order = bounds(mean_interval(values, scenes)), rng.permutation(40)
    np.testing.assert_allclose(bounds(mean_interval(values[order], [scenes[i] for i in order])), once)
    np.testing.assert_allclose(bounds(mean_interval(values, [f"photo {9 - int(s)}" for s in scenes])), once)


def test_the_difference_turned_round_is_the_interval_turned_round() -> None:
    a, b = np.random.default_rng(8).exponential(size=(2, 9))
    there, back = bounds(paired_difference(a, b, own(9))), bounds(paired_difference(b, a, own(9)))
    np.testing.assert_allclose(there, [-x for x in reversed(back)])


def test_fewer_than_six_scenes_have_no_interval() -> None:
    found = paired_difference([30.0] * 20, [40.0] * 20, [*"abcde"] * 4)
    assert found == Difference(10, None, None, 20, FEWEST_SCENES - 1)
    assert not found.is_significant


def test_one_image_has_no_interval() -> None:
    found = paired_difference([30.0], [40.0], ["a"])
    assert found.mean == 10
    assert found.low is None
    assert not found.is_significant


def test_unpaired_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="3 and 2 scores"):
        paired_difference([1, 2, 3], [1, 2], ["a", "b", "c"])
    with pytest.raises(ValueError, match="0 values in 0 scenes"):
        paired_difference([], [], [])


def test_each_value_needs_its_scene() -> None:
    with pytest.raises(ValueError, match="3 values in 2 scenes"):
        mean_interval([1, 2, 3], ["a", "b"])
