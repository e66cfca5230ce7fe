"""The metrics against golden values, closed forms and independent implementations."""

from __future__ import annotations

import hashlib
import json
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.lib.stride_tricks import sliding_window_view
from pytorch_msssim import ms_ssim
from scipy.signal.windows import gaussian
from skimage.metrics import structural_similarity

from benchmark.metrics import METRICS
from tests.golden_pairs import golden_pairs
from zoo.errors import UserError

GOLDEN = json.loads((Path(__file__).parent / "data" / "metrics.json").read_text())["pairs"]
PSNR = ("psnr[rgb]", "psnr[gray]")
SSIM_SIDES = {
    "ssim[gaussian11,rgb]": 11,
    "ssim[gaussian11,rgb,cov_unbiased]": 11,
    "ssim[uniform7,skimage]": 7,
    "ssim[matlab3d,rgb]": 11,
    "ssim[matlab2d,gray]": 11,
}
MSSSIM = ("msssim[perchannel]", "msssim[pynet]")
SIMILARITY = (*SSIM_SIDES, *MSSSIM)
IDS = (*PSNR, *SIMILARITY)
C1, C2 = 1e-4, 9e-4


def score(metric: str, output: np.ndarray, target: np.ndarray) -> float:
    return METRICS.get(metric).function(output, target)


def make_pair(height: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return an output and a target with smooth structure, noise and a colour cast between them."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [0.5 + 0.3 * np.sin(rows / period + columns / (period + 3)) for period in (5, 9, 17)]
    target = np.stack(waves, axis=2) + 0.05 * random.standard_normal((height, width, 3))
    output = 0.9 * target + [0.02, 0.0, 0.07] + 0.08 * random.standard_normal((height, width, 3))
    return np.clip(output, 0, 1), np.clip(target, 0, 1)


def constant(*colour: float, side: int = 176) -> np.ndarray:
    return np.full((side, side, 3), colour if len(colour) == 3 else colour[0])


@cache
def make_golden_pairs() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {name: (target, output) for name, target, output in golden_pairs(GOLDEN)}


# Golden values


def test_golden_pairs_are_rebuilt_byte_for_byte() -> None:
    pairs = make_golden_pairs()
    digests = {name: hashlib.sha256(t.tobytes() + o.tobytes()).hexdigest()[:16] for name, (t, o) in pairs.items()}
    assert digests == {name: golden["sha256"] for name, golden in GOLDEN.items()}
    assert {name: list(target.shape) for name, (target, _) in pairs.items()} == {
        name: golden["shape"] for name, golden in GOLDEN.items()
    }


@pytest.mark.parametrize("metric", IDS)
def test_golden_values(metric: str) -> None:
    scores = {name: score(metric, output / 255, target / 255) for name, (target, output) in make_golden_pairs().items()}
    expected = {name: float(golden["values"][metric]) for name, golden in GOLDEN.items()}
    assert len(expected) == 16
    assert scores == pytest.approx(expected, abs=1e-7)


# Registration


def test_ids_are_registered_with_unit_and_definition() -> None:
    units = {metric: METRICS.get(metric).unit for metric in IDS}
    assert units == {metric: "dB" if metric in PSNR else "" for metric in IDS}
    cards = [METRICS.get(metric) for metric in IDS]
    assert all(card.higher_is_better for card in cards)
    assert all("K1 0.01, K2 0.03, range 1" in card.definition for card in cards if card.id in SIMILARITY)
    assert all("peak 1" in card.definition for card in cards if card.id in PSNR)
    assert len({card.definition for card in cards}) == len(IDS)


# Closed forms


@pytest.mark.parametrize(("difference", "decibels"), [(0.1, 20.0), (-0.1, 20.0), (1e-6, 120.0), (0.8, 1.93820026)])
def test_psnr_of_a_constant_difference(difference: float, decibels: float) -> None:
    target = constant(0.5, side=9)
    assert score("psnr[rgb]", target + difference, target) == pytest.approx(decibels, abs=1e-6)


def test_psnr_averages_the_squared_error_over_channels() -> None:
    output, target = constant(0.8, 0.5, 0.5, side=9), constant(0.5, side=9)
    assert score("psnr[rgb]", output, target) == pytest.approx(-10 * math.log10(0.3**2 / 3), abs=1e-9)


def test_psnr_of_black_and_white_is_a_positive_zero() -> None:
    decibels = score("psnr[rgb]", constant(0.0, side=9), constant(1.0, side=9))
    assert str(decibels) == "0.0"


@pytest.mark.parametrize(("colour", "gray"), [((1, 0, 0), 76), ((0, 1, 0), 150), ((0, 0, 1), 29), ((1, 1, 1), 255)])
def test_gray_is_the_rounded_luma(colour: tuple[float, float, float], gray: int) -> None:
    output, target = constant(*map(float, colour)), constant(0.0)
    assert score("psnr[gray]", output, target) == pytest.approx(-20 * math.log10(gray / 255), abs=1e-9)
    luminance = C1 / ((gray / 255) ** 2 + C1)
    assert score("ssim[matlab2d,gray]", output, target) == pytest.approx(luminance, abs=1e-9)


def test_gray_metrics_do_not_see_what_rounds_away() -> None:
    target = constant(100 / 255)
    output = target + 0.4 / 255
    assert score("psnr[gray]", output, target) == math.inf
    assert score("ssim[matlab2d,gray]", output, target) == 1
    assert math.isfinite(score("psnr[rgb]", output, target))


@pytest.mark.parametrize("metric", IDS)
def test_identical_images_have_the_best_value(metric: str) -> None:
    _, image = make_pair(176, 181)
    assert score(metric, image.copy(), image) == (math.inf if metric in PSNR else 1)


@pytest.mark.parametrize("metric", SIMILARITY)
def test_similarity_of_two_constant_images(metric: str) -> None:
    luminance = (2 * 0.2 * 0.6 + C1) / (0.2**2 + 0.6**2 + C1)
    # Only the last of the five scales looks at luminance.
    expected = luminance**0.1333 if metric in MSSSIM else luminance
    assert score(metric, constant(0.2), constant(0.6)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("metric", IDS)
def test_output_and_target_may_be_exchanged(metric: str) -> None:
    output, target = make_pair(176, 183)
    value = score(metric, output, target)
    assert score(metric, target, output) == pytest.approx(value, rel=1e-13)
    assert value != score(metric, output, 0.9 * target)


@pytest.mark.parametrize("metric", ["psnr[rgb]", "ssim[gaussian11,rgb]", *MSSSIM])
def test_order_of_channels_does_not_matter(metric: str) -> None:
    output, target = make_pair(176, 176)
    permuted = score(metric, output[..., [1, 2, 0]], target[..., [1, 2, 0]])
    assert permuted == pytest.approx(score(metric, output, target), rel=1e-13)


@pytest.mark.parametrize("metric", ["psnr[gray]", "ssim[matlab2d,gray]", "ssim[matlab3d,rgb]"])
def test_order_of_channels_matters_to_luma_and_volume(metric: str) -> None:
    output, target = make_pair(32, 32)
    permuted = score(metric, output[..., [1, 2, 0]], target[..., [1, 2, 0]])
    assert abs(permuted - score(metric, output, target)) > 1e-4


def test_pooling_channels_changes_nothing_if_they_are_equal() -> None:
    output, target = make_pair(176, 192)
    output, target = output[..., [0, 0, 0]], target[..., [0, 0, 0]]
    assert score("msssim[pynet]", output, target) == pytest.approx(score("msssim[perchannel]", output, target))


def test_negative_contrast_is_nan_when_pooled_and_zero_per_channel() -> None:
    _, target = make_pair(176, 192)
    assert math.isnan(score("msssim[pynet]", 1 - target, target))
    assert score("msssim[perchannel]", 1 - target, target) == 0


def test_negative_similarity_is_not_clamped() -> None:
    _, target = make_pair(32, 32)
    assert all(score(metric, 1 - target, target) < -0.1 for metric in SSIM_SIDES)


# Independent implementations


def windowed_ssim(output: np.ndarray, target: np.ndarray, window: np.ndarray) -> float:
    """Return the mean SSIM by its definition: a weighted mean and variance at every place where the window fits."""
    axes = tuple(range(output.ndim, 2 * output.ndim))
    x, y = sliding_window_view(output, window.shape), sliding_window_view(target, window.shape)
    mean_x, mean_y = (window * x).sum(axes, keepdims=True), (window * y).sum(axes, keepdims=True)
    variance_x, variance_y = (window * (x - mean_x) ** 2).sum(axes), (window * (y - mean_y) ** 2).sum(axes)
    covariance = (window * (x - mean_x) * (y - mean_y)).sum(axes)
    mean_x, mean_y = mean_x.reshape(covariance.shape), mean_y.reshape(covariance.shape)
    numerator = (2 * mean_x * mean_y + C1) * (2 * covariance + C2)
    return float((numerator / ((mean_x**2 + mean_y**2 + C1) * (variance_x + variance_y + C2))).mean())


def gaussian_weights() -> np.ndarray:
    weights = gaussian(11, 1.5)
    return weights / weights.sum()


def multiscale_terms(output: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return (3, 5) terms of MS-SSIM from two-dimensional convolutions and average pooling in torch."""
    window = torch.from_numpy(np.multiply.outer(gaussian_weights(), gaussian_weights()))[None, None]
    x, y = (torch.from_numpy(image).permute(2, 0, 1)[:, None] for image in (output, target))
    terms = []
    for _ in range(5):
        mean_x, mean_y = F.conv2d(x, window), F.conv2d(y, window)
        variance_x, variance_y = F.conv2d(x * x, window) - mean_x**2, F.conv2d(y * y, window) - mean_y**2
        contrast = (2 * (F.conv2d(x * y, window) - mean_x * mean_y) + C2) / (variance_x + variance_y + C2)
        similarity = contrast * (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
        terms.append(contrast.mean(dim=(1, 2, 3)))
        x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
    return torch.stack([*terms[:4], similarity.mean(dim=(1, 2, 3))], dim=1).numpy()


@pytest.mark.parametrize(
    ("metric", "options"),
    [
        ("ssim[gaussian11,rgb]", {"gaussian_weights": True, "use_sample_covariance": False}),
        ("ssim[gaussian11,rgb,cov_unbiased]", {"gaussian_weights": True, "win_size": 11}),
        ("ssim[uniform7,skimage]", {}),
    ],
)
@pytest.mark.parametrize("size", [(37, 52), (11, 40)])
def test_ssim_agrees_with_skimage(metric: str, options: dict[str, bool | int], size: tuple[int, int]) -> None:
    output, target = make_pair(*size)
    expected = structural_similarity(target, output, data_range=1, channel_axis=2, **options)
    assert score(metric, output, target) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("size", [(13, 18), (11, 11)])
def test_volume_ssim_agrees_with_its_definition(size: tuple[int, int]) -> None:
    output, target = make_pair(*size)
    weights = gaussian_weights()
    window = np.multiply.outer(np.multiply.outer(weights, weights), weights)
    expected = windowed_ssim(np.pad(output, 5, mode="edge"), np.pad(target, 5, mode="edge"), window)
    assert score("ssim[matlab3d,rgb]", output, target) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("size", [(23, 34), (11, 11)])
def test_gray_ssim_agrees_with_its_definition(size: tuple[int, int]) -> None:
    weights = [0.298936021293775, 0.587043074451121, 0.114020904255103]
    output, target = make_pair(*size)
    x, y = (np.pad(np.rint(255 * image @ weights) / 255, 5, mode="edge") for image in (output, target))
    expected = windowed_ssim(x, y, np.multiply.outer(gaussian_weights(), gaussian_weights()))
    assert score("ssim[matlab2d,gray]", output, target) == pytest.approx(expected, abs=1e-12)


def test_msssim_agrees_with_pytorch_msssim() -> None:
    output, target = make_pair(176, 224)
    x, y = (torch.from_numpy(image).permute(2, 0, 1)[None] for image in (output, target))
    # The library's own window is float32; with this one all of it runs in float64.
    window = torch.from_numpy(gaussian_weights()).repeat(3, 1, 1, 1)
    expected = ms_ssim(x, y, data_range=1, win=window).item()
    assert score("msssim[perchannel]", output, target) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("size", [(176, 176), (191, 179)])
def test_msssim_agrees_with_convolutions_in_torch(size: tuple[int, int]) -> None:
    output, target = make_pair(*size)
    terms, powers = multiscale_terms(output, target), np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])
    perchannel, pooled = np.prod(terms**powers, axis=1).mean(), np.prod(terms.mean(axis=0) ** powers)
    assert perchannel != pytest.approx(pooled, abs=1e-7)
    assert score("msssim[perchannel]", output, target) == pytest.approx(perchannel, abs=1e-12)
    assert score("msssim[pynet]", output, target) == pytest.approx(pooled, abs=1e-12)


# Inputs


@pytest.mark.parametrize("metric", IDS)
def test_images_are_only_read(metric: str) -> None:
    output, target = make_pair(176, 176)
    copies = output.copy(), target.copy()
    output.flags.writeable = target.flags.writeable = False
    score(metric, output, target)
    np.testing.assert_array_equal((output, target), copies)


@pytest.mark.parametrize("metric", IDS)
def test_strided_and_single_precision_images_are_scored_in_double(metric: str) -> None:
    output, target = (image.astype(np.float32) for image in make_pair(176, 192))
    expected = score(metric, output.astype(np.float64), target.astype(np.float64))
    assert score(metric, output, target) == expected
    flipped = score(metric, output[:, ::-1].transpose(1, 0, 2), target[:, ::-1].transpose(1, 0, 2))
    assert flipped == pytest.approx(expected, rel=1e-12)


def test_values_outside_the_range_are_not_clamped() -> None:
    assert score("psnr[rgb]", constant(1.5), constant(1.0)) == pytest.approx(-20 * math.log10(0.5))
    luminance = (2 * 1.5 + C1) / (1.5**2 + 1 + C1)
    assert score("ssim[gaussian11,rgb]", constant(1.5), constant(1.0)) == pytest.approx(luminance)


@pytest.mark.parametrize("metric", IDS)
def test_a_pixel_that_is_not_a_number_makes_the_score_nan(metric: str) -> None:
    output, target = make_pair(176, 176)
    output[88, 88] = math.nan
    assert math.isnan(score(metric, output, target))


# Mistakes


@pytest.mark.parametrize("metric", IDS)
def test_different_shapes_are_refused(metric: str) -> None:
    with pytest.raises(UserError, match=r"output of shape \(176, 177, 3\) against target of shape \(176, 176, 3\)"):
        score(metric, np.zeros((176, 177, 3)), np.zeros((176, 176, 3)))


@pytest.mark.parametrize("metric", IDS)
@pytest.mark.parametrize("shape", [(176, 176), (176, 176, 4), (3, 176, 176), (1, 176, 176, 3)])
def test_images_that_are_not_rgb_are_refused(metric: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"expected \(height, width, 3\)"):
        score(metric, np.zeros(shape), np.zeros(shape))


@pytest.mark.parametrize(("output_type", "target_type"), [(np.uint8, np.float64), (np.float64, np.uint16)])
@pytest.mark.parametrize("metric", IDS)
def test_integers_are_refused(metric: str, output_type: type, target_type: type) -> None:
    with pytest.raises(UserError, match=r"of type uint.*expected floats in \[0, 1\]"):
        score(metric, np.zeros((176, 176, 3), output_type), np.zeros((176, 176, 3), target_type))


@pytest.mark.parametrize(
    ("metric", "side"), [*SSIM_SIDES.items(), *((metric, 176) for metric in MSSSIM), *((metric, 1) for metric in PSNR)]
)
def test_images_below_the_smallest_size_are_refused(metric: str, side: int) -> None:
    smallest = np.full((side, side, 3), 0.5)
    assert score(metric, smallest, smallest) == (math.inf if metric in PSNR else 1)
    for small in (smallest[1:], smallest[:, 1:]):
        with pytest.raises(
            UserError, match=rf"{small.shape[0]}x{small.shape[1]} pixels.*at least {side} pixels a side"
        ):
            score(metric, small, small)
