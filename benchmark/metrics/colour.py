"""Scores of colour: what is left after the best affine colour transform of each image, and the CIEDE2000 difference."""

from __future__ import annotations

import numpy as np

from benchmark.imaging.colour import match_colour
from benchmark.imaging.filters import check_pair
from benchmark.metrics import METRICS, register_metric

_MATCHED = (
    "after the affine transform of the output's colours (3x3 matrix and offset, one for each image) that makes the "
    "squared error over all its pixels smallest, solved in float64, with the smallest matrix where it is not unique; "
    "applied to the output as the protocol compares it, its result clamped to [0, 1] and not rounded"
)


@register_metric(
    "psnr[rgb,colour]",
    unit="dB",
    definition="10 log10(1 / MSE) of one image, the squared error averaged over all pixels and the three channels, "
    f"peak 1, nothing added to the MSE, {_MATCHED}; never less than the plain score",
)
def psnr_colour(output: np.ndarray, target: np.ndarray) -> float:
    """Return the PSNR in dB of RGB images (H, W, 3) after the best colour transform; inf if they are identical."""
    return _matched("psnr[rgb]", output, target, smallest_side=1)


@register_metric(
    "ssim[gaussian11,rgb,colour]",
    least=-1.0,
    most=1.0,
    definition="SSIM with an 11x11 Gaussian window, sigma 1.5, only where it fits (no padding), biased variances, "
    f"K1 0.01, K2 0.03, range 1, averaged over positions and the three channels of one image, {_MATCHED}",
)
def ssim_colour(output: np.ndarray, target: np.ndarray) -> float:
    """Return the Gaussian-window SSIM of RGB images, at least 11 pixels a side, after the best colour transform."""
    return _matched("ssim[gaussian11,rgb]", output, target, smallest_side=11)


def _matched(id: str, output: np.ndarray, target: np.ndarray, *, smallest_side: int) -> float:
    output, target = check_pair(output, target, smallest_side=smallest_side)
    return METRICS.get(id).function(match_colour(output, target), target)


@register_metric(
    "ciede2000[rgb]",
    unit="ΔE00",
    higher_is_better=False,
    least=0.0,
    definition="CIEDE2000 colour difference (kL, kC, kH 1) of each pixel, averaged over the pixels of one image; "
    "values are sRGB (IEC 61966-2-1), converted to CIELAB with the white point D65 and the observer of 2 degrees, as "
    "by scikit-image's rgb2lab and deltaE_ciede2000",
)
def ciede2000(output: np.ndarray, target: np.ndarray) -> float:
    """Return the mean CIEDE2000 difference of sRGB images (H, W, 3); 0 if they are identical."""
    # Imported only here: it takes a moment, and most runs do not need it.
    from skimage.color import deltaE_ciede2000, rgb2lab

    output, target = check_pair(output, target)
    return float(np.mean(deltaE_ciede2000(rgb2lab(target), rgb2lab(output))))
