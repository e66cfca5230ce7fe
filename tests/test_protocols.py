"""What stands between outputs and scores: clamping, rounding to 8 bits, and one grid for the same 8-bit value."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from benchmark.metrics import METRICS
from benchmark.protocols import SIDD, ZRR, prepare_pair
from benchmark.scoring.evaluation import mean_scores, score_pair

LEVELS = np.arange(256)


def on_sidd_grid(values, dtype=np.float64):
    """Return an output's values as SIDD's protocol compares them, in steps of 1/255."""
    image = np.asarray(values, dtype).reshape(-1, 1, 1).repeat(3, axis=2)
    prepared, _ = prepare_pair(image, np.zeros_like(image), SIDD)
    assert prepared.dtype == np.float64
    return prepared[:, 0, 0] * 255


@pytest.mark.parametrize(
    ("value", "level"),
    [
        (0.4 / 255, 0),
        (0.6 / 255, 1),
        (99.49 / 255, 99),
        (99.51 / 255, 100),
        (254.4 / 255, 254),
        (254.6 / 255, 255),
        (-0.7, 0),
        (1.3, 255),
        # Of two that are equally near, the even one: half up would give 128 and 129.
        (0.5, 128),
        (128.5 / 255, 128),
        (127.5 / 255, 128),
    ],
)
def test_sidd_rounds_to_the_nearest_of_8_bits(value, level):
    assert on_sidd_grid([value]) == pytest.approx([level], abs=1e-9)


def test_rounding_is_decided_in_float64():
    """The products in float32 are exact halves, which the values are not."""
    values = ((LEVELS[:-1] + 0.5) / 255).astype(np.float32)
    exact = [math.floor(float(value) * 255 + 0.5) for value in values]
    np.testing.assert_allclose(on_sidd_grid(values, np.float32), exact, atol=1e-9)
    assert (np.rint(values * np.float32(255)) != exact).any()


def test_an_output_within_half_a_step_is_the_target_in_both_scorings():
    levels = np.resize(LEVELS, (16, 20, 3)).astype(np.float32)
    target = torch.from_numpy(levels / np.float32(255)).permute(2, 0, 1)[None]
    for step in (-0.49, 0.0, 0.49):
        output = target + step / 255
        for scoring in ("one-pass", "float64"):
            scores = score_pair(output, target, SIDD, SIDD.metrics, scoring)
            assert scores["psnr[rgb]"] == math.inf
            assert scores["ssim[gaussian11,rgb]"] == pytest.approx(1, abs=1e-12)
            # Another protocol does not round.
            assert score_pair(output, target, ZRR, ["psnr[rgb]"], scoring)["psnr[rgb]"] < 60 or step == 0
    means = mean_scores({"a": {"psnr[rgb]": math.inf}, "b": {"psnr[rgb]": 30.0}}, ["psnr[rgb]"], SIDD)
    assert (means["psnr[rgb]"].n_inf, means["psnr[rgb]"].finite_mean) == (1, 30.0)


@pytest.mark.parametrize("scoring", ["one-pass", "float64"])
def test_sidd_scores_are_those_of_8_bit_pictures(scoring):
    """One step of one value, and noise: what whole numbers give, to the documented accuracy."""
    random = np.random.RandomState(0)
    clean = random.randint(0, 256, (24, 20, 3))
    target = torch.from_numpy((clean / 255).astype(np.float32)).permute(2, 0, 1)[None]
    noisy = (clean / 255 + random.normal(0, 0.02, clean.shape)).astype(np.float32)
    one = clean.copy()
    one[3, 4, 1] += 1 if one[3, 4, 1] < 255 else -1
    for output in (noisy, (one / 255).astype(np.float32)):
        levels = np.rint(output.astype(np.float64).clip(0, 1) * 255)
        expected = -10 * math.log10(np.mean((levels - clean) ** 2) / 255**2)
        moved = torch.from_numpy(output).permute(2, 0, 1)[None]
        assert score_pair(moved, target, SIDD, ["psnr[rgb]"], scoring)["psnr[rgb]"] == pytest.approx(expected, abs=1e-9)
        ssim = METRICS.get("ssim[gaussian11,rgb]").function(levels / 255, clean / 255)
        found = score_pair(moved, target, SIDD, ["ssim[gaussian11,rgb]"], scoring)["ssim[gaussian11,rgb]"]
        assert found == pytest.approx(ssim, abs=1e-5 if scoring == "one-pass" else 1e-12)


def test_zrr_is_clamped_and_not_rounded():
    image = np.array([-0.2, 0.3017, 1.2]).reshape(3, 1, 1).repeat(3, axis=2)
    prepared, target = prepare_pair(image, image, ZRR)
    np.testing.assert_array_equal(prepared[:, 0, 0], [0, 0.3017, 1])
    np.testing.assert_array_equal(target, image)


def test_a_target_of_more_than_8_bits_stays_as_it_is():
    deep = (np.arange(65536).reshape(256, 256, 1).repeat(3, axis=2) / 65535).astype(np.float32)
    output, target = prepare_pair(deep, deep, SIDD)
    np.testing.assert_array_equal(target, deep)
    assert len(np.unique(output)) == 256
