"""PSNR, SSIM and MS-SSIM of one image in one pass: all of them use the same pyramid and filtered planes.

The float64 functions in ``benchmark.metrics`` define the values; this module's values are within 1e-5 of them. It
filters in float32 with OpenCV, and it filters the sum s and the difference d of the two images, not the images. With
local means m and variances v, Wang's terms are exactly

    contrast-structure = (2 cov + C2) / (var_x + var_y + C2)       = 1 - 2 v_d / (v_s + v_d + 2 C2)
    luminance          = (2 m_x m_y + C1) / (m_x^2 + m_y^2 + C1)   = 1 - 2 m_d^2 / (m_s^2 + m_d^2 + 2 C1)

so the rounding of v_s, which is the largest (flat and bright images), is multiplied by a small numerator. Both planes
are centred before they are squared, which changes no variance and keeps flat dark images exact. The remaining case,
flat areas of several brightnesses that differ from the target by very different amounts, is detected and computed in
float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.imaging.colour import match_colour
from benchmark.imaging.filters import C1, C2, check_pair, gaussian_window
from benchmark.metrics import METRICS
from zoo.errors import UserError

_WINDOW = gaussian_window(11, 1.5)
_RADIUS = len(_WINDOW) // 2
_WEIGHTS = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])
_SMALLEST = {"ssim": len(_WINDOW), "msssim": len(_WINDOW) * 2 ** (len(_WEIGHTS) - 1)}
_BESSEL = 121 / 120

PSNR = "psnr[rgb]"
SSIM = "ssim[gaussian11,rgb]"
SSIM_UNBIASED = "ssim[gaussian11,rgb,cov_unbiased]"
MSSSIM = "msssim[perchannel]"
MSSSIM_POOLED = "msssim[pynet]"
# Scores after the best colour transform, by the plain score that they are of the transformed output.
COLOUR = {"psnr[rgb,colour]": PSNR, "ssim[gaussian11,rgb,colour]": SSIM}
# Near zero a power below one has an unbounded slope and depends on the sign, so float64 is used there.
_UNDECIDED = 0.01
# In a flat area rounding has one sign: of a square c^2 the variance keeps up to 5e-7 c^2 (measured) instead of 0.
_ROUNDING, _TOLERANCE = 5e-7, 5e-6

Image = NDArray[np.floating[Any]]
Plane = NDArray[np.float32]


@dataclass
class _Terms:
    """The terms of one channel: squared error, both SSIMs of the finest scale, and the terms of each scale."""

    squared_error: float
    ssim: float = math.nan
    unbiased: float = math.nan
    multiscale: tuple[float, ...] = ()


def score_fast(output: Image, target: Image, ids: Sequence[str]) -> dict[str, float]:
    """Return the scores of two images (H, W, 3), float32 or float64 in [0, 1], by metric id, in the order of ``ids``.

    The ids in ``SHARED_IDS`` share one pass within 1e-5 of the reference, and those in ``COLOUR`` a second one of the
    output in the target's colours; other ids, and images with values that are not finite, use the float64 reference.
    Raises UserError in the same cases as the reference. Safe in threads.
    """
    shared = [id for id in ids if id in SHARED_IDS]
    fast: dict[str, float] = {}
    if shared:
        output, target = _check(output, target, shared)
        fast = _one_pass(output, target, shared)
    if coloured := {id: plain for id, plain in COLOUR.items() if id in ids}:
        output, target = _check(output, target, list(coloured))
        matched = match_colour(output, target)
        scores = _one_pass(matched, target, list(coloured.values()))
        fast |= {id: scores[plain] for id, plain in coloured.items() if plain in scores}
    return {id: fast[id] if id in fast else float(METRICS.get(id).function(output, target)) for id in ids}


def _check(output: Image, target: Image, ids: Sequence[str]) -> tuple[Image, Image]:
    """Return the pair if all ``ids`` accept it, without the reference's float64 copies; else raise UserError."""
    side = max(_SMALLEST.get(id.partition("[")[0], 1) for id in ids)
    fits = output.shape == target.shape and output.ndim == 3 and output.shape[2] == 3 and min(output.shape[:2]) >= side
    if not fits or {output.dtype, target.dtype} - {np.dtype(np.float32), np.dtype(np.float64)}:
        return check_pair(output, target, smallest_side=side)
    return output, target


def _one_pass(output: Image, target: Image, ids: Sequence[str]) -> dict[str, float]:
    scales = len(_WEIGHTS) if {MSSSIM, MSSSIM_POOLED} & set(ids) else 1 if {SSIM, SSIM_UNBIASED} & set(ids) else 0
    channels = []
    for channel in range(3):  # one plane at a time, so that its data stays in the cache
        terms = _channel_terms(output[..., channel], target[..., channel], scales, unbiased=SSIM_UNBIASED in ids)
        if terms is None:
            return {}
        channels.append(terms)
    scores = {id: _SCORES[id](channels) for id in ids}
    return {id: value for id, value in scores.items() if value is not None}


def _channel_terms(output: Image, target: Image, scales: int, *, unbiased: bool) -> _Terms | None:
    """Return the terms of one channel (H, W); None if a value is not finite or float32 is not precise enough."""
    cv2 = _opencv()
    output, target = np.ascontiguousarray(output), np.ascontiguousarray(target)
    difference, total = np.subtract(output, target), np.add(output, target)
    offset, level = cv2.mean(difference)[0], cv2.mean(total)[0]
    if not (math.isfinite(offset) and math.isfinite(level)):
        return None
    terms = _Terms(cv2.norm(difference, cv2.NORM_L2SQR) / difference.size)
    if not scales:
        return terms
    difference = np.subtract(difference, offset, out=difference).astype(np.float32, copy=False)
    total = np.subtract(total, level, out=total).astype(np.float32, copy=False)
    multiscale = []
    for scale in range(scales):
        if scale:
            total, difference = _halve(total), _halve(difference)
        last = scale == len(_WEIGHTS) - 1
        maps = _Maps(total, difference)
        if maps.rounding() > _TOLERANCE:
            return None
        if scale == 0:
            luminance = maps.luminance_loss(level, offset)
            if unbiased:
                terms.unbiased = _product(luminance, maps.contrast_loss(_BESSEL))
            contrast = maps.contrast_loss()
            terms.ssim = _product(luminance, contrast)
            multiscale.append(1 - 2 * cv2.mean(contrast)[0])
        elif last:
            multiscale.append(_product(maps.luminance_loss(level, offset), maps.contrast_loss()))
        else:
            multiscale.append(1 - 2 * cv2.mean(maps.contrast_loss())[0])
    terms.multiscale = tuple(multiscale)
    return terms


class _Maps:
    """Local means and variances of the centred sum and difference of two planes, at all positions of the window."""

    def __init__(self, total: Plane, difference: Plane) -> None:
        self.mean_total, self.mean_difference = _filter(total), _filter(difference)
        self.variance_total = _variance(total, self.mean_total)
        self.variance_difference = _variance(difference, self.mean_difference)
        self.variances = self.variance_total + self.variance_difference

    def rounding(self) -> float:
        """Return the approximate float32 error of the mean contrast-structure in flat areas."""
        if not _may_be_flat(self.mean_difference, self.variance_difference) and not _may_be_flat(
            self.mean_total, self.variance_total
        ):
            return 0.0
        loss = self.contrast_loss()
        # d(2 v_d / D) for an error in v_d is 2 / D, for one in v_s it is 2 (v_d / D) / D.
        flat = _flat_squares(self.mean_difference, self.variance_difference)
        flat += _flat_squares(self.mean_total, self.variance_total) * loss
        flat /= self.variances + np.float32(2 * C2)
        return 2 * _ROUNDING * float(_opencv().mean(flat)[0])

    def contrast_loss(self, bessel: float = 1.0) -> Plane:
        """Return (1 - contrast-structure) / 2; ``bessel`` multiplies the variances."""
        loss = self.variances + np.float32(2 * C2 / bessel)
        return np.divide(self.variance_difference, loss, out=loss)

    def luminance_loss(self, level: float, offset: float) -> Plane:
        """Return (1 - luminance) / 2 of planes whose sum has the mean ``level``, and their difference ``offset``."""
        numerator = self.mean_difference + np.float32(offset)
        numerator *= numerator
        denominator = self.mean_total + np.float32(level)
        denominator *= denominator
        denominator += numerator
        denominator += np.float32(2 * C1)
        return np.divide(numerator, denominator, out=numerator)


def _product(luminance_loss: Plane, contrast_loss: Plane) -> float:
    """Return the mean of luminance times contrast-structure."""
    cv2 = _opencv()
    both = cv2.mean(luminance_loss * contrast_loss)[0]
    return float(1 - 2 * cv2.mean(luminance_loss)[0] - 2 * cv2.mean(contrast_loss)[0] + 4 * both)


def _may_be_flat(mean: Plane, variance: Plane) -> bool:
    """Return whether a position can be flat at all, as most images have none: by the extremes alone."""
    cv2 = _opencv()
    low, high, _, _ = cv2.minMaxLoc(mean)
    return bool(cv2.minMaxLoc(variance)[0] <= 2 * _ROUNDING * max(low * low, high * high))


def _flat_squares(mean: Plane, variance: Plane) -> Plane:
    """Return the squared means where the variance is zero except for rounding, and 0 elsewhere."""
    squares = mean * mean
    squares *= np.abs(variance) <= np.float32(2 * _ROUNDING) * squares
    return squares


def _filter(plane: Plane) -> Plane:
    filtered: Plane = _opencv().sepFilter2D(plane, -1, _WINDOW, _WINDOW)
    return filtered[_RADIUS:-_RADIUS, _RADIUS:-_RADIUS]


def _variance(plane: Plane, mean: Plane) -> Plane:
    variance = _filter(plane * plane)
    variance -= mean * mean
    return variance


def _halve(plane: Plane) -> Plane:
    """Return the averages of 2x2 blocks; an odd last row or column is dropped."""
    cv2 = _opencv()
    height, width = plane.shape[0] // 2, plane.shape[1] // 2
    halved: Plane = cv2.resize(plane[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)
    return halved


@cache
def _opencv() -> Any:
    """Return OpenCV with its own threads switched off, because several images are scored at the same time."""
    try:
        import cv2
    except ImportError:
        raise UserError("the one-pass metrics need OpenCV. Install it: pip install opencv-python-headless.") from None
    cv2.setNumThreads(1)
    return cv2


def _psnr(channels: Sequence[_Terms]) -> float:
    error = math.fsum(terms.squared_error for terms in channels) / 3
    return math.inf if error == 0 else -10 * math.log10(error) + 0.0


def _perchannel(channels: Sequence[_Terms]) -> float | None:
    terms = np.array([channel.multiscale for channel in channels])
    if np.any(np.abs(terms) < _UNDECIDED):
        return None
    return float(np.mean(np.prod(np.maximum(terms, 0.0) ** _WEIGHTS, axis=1)))


def _pooled(channels: Sequence[_Terms]) -> float | None:
    terms = np.array([channel.multiscale for channel in channels]).mean(axis=0)
    if np.any(np.abs(terms) < _UNDECIDED):
        return None
    return math.nan if np.any(terms < 0) else float(np.prod(terms**_WEIGHTS))


_SCORES: dict[str, Callable[[Sequence[_Terms]], float | None]] = {
    PSNR: _psnr,
    SSIM: lambda channels: math.fsum(terms.ssim for terms in channels) / 3,
    SSIM_UNBIASED: lambda channels: math.fsum(terms.unbiased for terms in channels) / 3,
    MSSSIM: _perchannel,
    MSSSIM_POOLED: _pooled,
}
SHARED_IDS = tuple(_SCORES)
FAST_IDS = (*SHARED_IDS, *COLOUR)
