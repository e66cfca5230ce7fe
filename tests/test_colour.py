"""Scores after the best colour transform, and CIEDE2000: closed forms, numpy, another implementation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from benchmark.imaging.colour import match_colour
from benchmark.metrics import ERROR_IDS, METRICS
from benchmark.scoring.fastmetrics import score_fast
from tests.test_fastmetrics import PAIRS
from tests.test_metrics import make_pair
from zoo.errors import UserError

PSNR, SSIM, CIEDE = "psnr[rgb,colour]", "ssim[gaussian11,rgb,colour]", "ciede2000[rgb]"
MATRIX = np.array([[0.7, 0.1, 0.0], [-0.1, 0.6, 0.2], [0.1, 0.1, 0.5]])
OFFSET = np.array([0.05, 0.02, -0.03])


def score(id, output, target):
    return METRICS.get(id).function(output, target)


def fitted(output, target):
    """Return numpy's least squares fit with a column of ones, clamped."""
    colours = np.c_[output.reshape(-1, 3), np.ones(output.size // 3)]
    solution = np.linalg.lstsq(colours, target.reshape(-1, 3), rcond=None)[0]
    return (colours @ solution).reshape(target.shape).clip(0, 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_affine_transform_of_the_target_has_no_error_left(dtype):
    target = make_pair(40, 48)[1].astype(dtype)
    output = (target @ MATRIX + OFFSET).astype(dtype)
    assert score("psnr[rgb]", output, target) < 20
    assert score(PSNR, output, target) > (120 if dtype == np.float32 else 250)
    assert score(SSIM, output, target) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_numpys_least_squares(seed):
    output, target = make_pair(40, 48, seed)
    matched = fitted(output, target)
    assert score(PSNR, output, target) == pytest.approx(-10 * math.log10(np.mean((matched - target) ** 2)), abs=1e-9)
    similarity = {"gaussian_weights": True, "use_sample_covariance": False}
    expected = structural_similarity(target, matched, data_range=1, channel_axis=2, **similarity)
    assert score(SSIM, output, target) == pytest.approx(expected, abs=1e-9)
    assert score(PSNR, output, target) > score("psnr[rgb]", output, target)


def test_colours_of_the_output_do_not_matter_and_the_order_of_pixels_neither():
    output, target = make_pair(40, 48)
    expected = score(PSNR, output, target)
    assert score(PSNR, output @ MATRIX + OFFSET, target) == pytest.approx(expected, abs=1e-9)
    assert score(PSNR, 1 - output, target) == pytest.approx(expected, abs=1e-9)
    assert score(PSNR, output[..., [2, 0, 1]], target[..., [1, 2, 0]]) == pytest.approx(expected, abs=1e-9)
    order = np.random.default_rng(0).permutation(40 * 48)
    mixed = (image.reshape(-1, 3)[order].reshape(image.shape) for image in (output, target))
    assert score(PSNR, *mixed) == pytest.approx(expected, abs=1e-9)


def test_a_flat_output_becomes_the_mean_of_the_target():
    target = make_pair(24, 24)[1]
    expected = -10 * math.log10(np.mean(target.var(axis=(0, 1))))
    for colour in (0.0, 0.3, [0.1, 0.5, 0.9]):
        assert score(PSNR, np.zeros_like(target) + colour, target) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("noise", [0.0, 1e-9])
def test_a_gray_output_has_the_smallest_of_the_best_matrices(noise):
    """The three equal channels give no unique matrix; rounding between them must not be made into colours."""
    output, target = make_pair(24, 24)
    gray = output[..., :1] + noise * np.random.default_rng(0).standard_normal(output.shape)
    np.testing.assert_allclose(match_colour(gray, target), fitted(output[..., [0, 0, 0]], target), atol=1e-6)
    flat = np.zeros((1, 1, 3))
    np.testing.assert_array_equal(match_colour(flat + 0.2, flat + 0.7), flat + 0.7)


def test_identical_images_have_the_best_value():
    image = make_pair(24, 24)[1]
    assert [score(id, image.copy(), image) for id in (PSNR, SSIM, CIEDE)] == [math.inf, 1, 0]
    flat = np.full((16, 16, 3), 0.5)
    assert score(PSNR, flat.copy(), flat) == math.inf


def test_the_result_is_a_picture():
    """A transform that leaves [0, 1] is clamped, as every output is: white stays white."""
    target = np.zeros((16, 16, 3))
    target[:, 6:] = 1
    output = np.linspace(0, 1, 16)[None, :, None] * np.ones((16, 1, 3))
    matched = match_colour(output, target)
    assert (matched.min(), matched.max()) == (0, 1)
    np.testing.assert_allclose(matched, fitted(output, target), atol=1e-12)


@pytest.mark.parametrize("id", [PSNR, SSIM, CIEDE])
def test_mistakes_are_refused_and_nan_stays_visible(id):
    image = np.full((16, 16, 3), 0.5)
    broken = image.copy()
    broken[5, 5, 0] = math.nan
    assert math.isnan(score(id, broken, image))
    assert math.isnan(score(id, image, broken))
    with pytest.raises(UserError, match="expected equal shapes"):
        score(id, image[1:], image)
    with pytest.raises(UserError, match="expected floats"):
        score(id, image.astype(np.uint8), image)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", PAIRS)
def test_one_pass_agrees_with_the_definitions(name, dtype):
    output, target = (image.astype(dtype) for image in PAIRS[name])
    expected = {id: score(id, output, target) for id in ERROR_IDS}
    assert score_fast(output, target, ERROR_IDS) == pytest.approx(expected, abs=1e-5)


# CIEDE2000


def lab_of(rgb):
    """Return CIELAB under D65 of one sRGB colour, by the formulas of IEC 61966-2-1 and CIE 15."""
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in rgb]
    rows = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
    xyz = [sum(a * b for a, b in zip(row, linear)) / white for row, white in zip(rows, (0.95047, 1.0, 1.08883))]
    x, y, z = (t ** (1 / 3) if t > (6 / 29) ** 3 else t / (3 * (6 / 29) ** 2) + 4 / 29 for t in xyz)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def difference(first, second):
    """Return CIEDE2000 by the steps of Sharma, Wu and Dalal 2005, in degrees."""
    (l1, a1, b1), (l2, a2, b2) = first, second
    mean_chroma = (math.hypot(a1, b1) + math.hypot(a2, b2)) / 2
    g = 0.5 * (1 - math.sqrt(mean_chroma**7 / (mean_chroma**7 + 25**7)))
    c1, c2 = math.hypot((1 + g) * a1, b1), math.hypot((1 + g) * a2, b2)
    h1, h2 = (math.degrees(math.atan2(b, (1 + g) * a)) % 360 for a, b in ((a1, b1), (a2, b2)))
    turn = (h2 - h1 + 180) % 360 - 180 if c1 * c2 else 0.0
    hue = 2 * math.sqrt(c1 * c2) * math.sin(math.radians(turn / 2))
    h = h1 + turn / 2 if c1 * c2 else h1 + h2
    light, c = (l1 + l2) / 2, (c1 + c2) / 2
    t = 1 - 0.17 * math.cos(math.radians(h - 30)) + 0.24 * math.cos(math.radians(2 * h))
    t += 0.32 * math.cos(math.radians(3 * h + 6)) - 0.2 * math.cos(math.radians(4 * h - 63))
    sl, sc, sh = 1 + 0.015 * (light - 50) ** 2 / math.sqrt(20 + (light - 50) ** 2), 1 + 0.045 * c, 1 + 0.015 * c * t
    turning = 60 * math.exp(-((((h % 360) - 275) / 25) ** 2))
    rt = -2 * math.sqrt(c**7 / (c**7 + 25**7)) * math.sin(math.radians(turning))
    dl, dc, dh = (l2 - l1) / sl, (c2 - c1) / sc, hue / sh
    return math.sqrt(dl**2 + dc**2 + dh**2 + rt * dc * dh)


def test_the_tests_own_ciede2000_is_that_of_the_paper():
    """Three of the pairs that Sharma, Wu and Dalal publish."""
    assert difference((50, 2.6772, -79.7751), (50, 0, -82.7485)) == pytest.approx(2.0425, abs=1e-4)
    assert difference((50, 2.5, 0), (58, 24, 15)) == pytest.approx(19.4535, abs=1e-4)
    assert difference((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514)) == pytest.approx(0.9082, abs=1e-4)


def test_ciede2000_is_the_mean_over_pixels():
    random = np.random.default_rng(0)
    output, target = random.random((2, 6, 7, 3))
    pixels = zip(output.reshape(-1, 3), target.reshape(-1, 3))
    expected = np.mean([difference(lab_of(first), lab_of(second)) for first, second in pixels])
    assert score(CIEDE, output, target) == pytest.approx(expected, abs=2e-3)
    assert score(CIEDE, target, output) == pytest.approx(score(CIEDE, output, target), rel=1e-12)
    black, white = np.zeros((3, 3, 3)), np.ones((3, 3, 3))
    assert score(CIEDE, black, white) == pytest.approx(100, abs=1e-3)
    assert not METRICS.get(CIEDE).higher_is_better
