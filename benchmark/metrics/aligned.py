"""Scores that do not punish a shift of the whole image: pairs of two cameras are a few pixels apart."""

from __future__ import annotations

import numpy as np

from benchmark.imaging.alignment import Shift, align, find_shift
from benchmark.imaging.filters import check_pair
from benchmark.metrics import METRICS, register_metric

_SHIFT = (
    "after moving the output by the whole or sub-pixel shift, up to 16 pixels in each direction (on sides below 128 "
    "an eighth of them), that phase correlation and refinement by Gauss-Newton steps on shift, gain and offset find "
    "for the image's grey; moved by a phase ramp, without smoothing; the border that a shift may uncover, 16 pixels "
    "(that same eighth) on each side, is left out of every image; never less than the plain score inside that border"
)


@register_metric(
    "psnr[rgb,aligned]",
    unit="dB",
    definition="10 log10(1 / MSE) of one image, the squared error averaged over pixels and the three channels, peak 1, "
    f"nothing added to the MSE, {_SHIFT}",
)
def psnr_aligned(output: np.ndarray, target: np.ndarray) -> float:
    """Return the PSNR in dB of RGB images (H, W, 3) at their best shift, without the border."""
    return _best("psnr[rgb]", output, target, smallest_side=1)


@register_metric(
    "ssim[gaussian11,rgb,aligned]",
    least=-1.0,
    most=1.0,
    definition="SSIM with an 11x11 Gaussian window, sigma 1.5, only where it fits (no padding), biased variances, "
    f"K1 0.01, K2 0.03, range 1, averaged over positions and the three channels of one image, {_SHIFT}",
)
def ssim_aligned(output: np.ndarray, target: np.ndarray) -> float:
    """Return the Gaussian-window SSIM of RGB images (H, W, 3), at least 11 pixels a side, at their best shift."""
    return _best("ssim[gaussian11,rgb]", output, target, smallest_side=11)


def _best(id: str, output: np.ndarray, target: np.ndarray, *, smallest_side: int) -> float:
    """Return the larger of the scores with the found shift (which minimises the squared error) and with no shift."""
    output, target = check_pair(output, target, smallest_side=smallest_side)
    score = METRICS.get(id).function
    found, here = find_shift(output, target), Shift(0, 0)
    return max(score(*align(output, target, shift)) for shift in dict.fromkeys((here, found)))
