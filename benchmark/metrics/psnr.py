"""Peak signal-to-noise ratio: the mean squared error of one image on a logarithmic scale."""

from __future__ import annotations

import math

import numpy as np

from benchmark.imaging.filters import check_pair, to_gray
from benchmark.metrics import register_metric


@register_metric(
    "psnr[rgb]",
    unit="dB",
    definition="10 log10(1 / MSE) of one image, the squared error averaged over all pixels and the three channels, "
    "peak 1, nothing added to the MSE (identical images: inf)",
)
def psnr_rgb(output: np.ndarray, target: np.ndarray) -> float:
    """Return the PSNR in dB over the pixels and channels of RGB images (H, W, 3); inf if they are identical."""
    output, target = check_pair(output, target)
    return _psnr(output, target)


@register_metric(
    "psnr[gray]",
    unit="dB",
    takes_gray=True,
    definition="10 log10(1 / MSE) of one gray image, RGB after conversion, "
    "rint(0.298936021293775 R + 0.587043074451121 G + 0.114020904255103 B) on 0..255 (MATLAB's rgb2gray), then / 255; "
    "the squared error averaged over all pixels, peak 1, nothing added to the MSE (identical gray images: inf)",
)
def psnr_gray(output: np.ndarray, target: np.ndarray) -> float:
    """Return the PSNR in dB of gray images (H, W, 1), or of the rounded luma of RGB; inf if they are identical."""
    output, target = check_pair(output, target, gray=True)
    return _psnr(to_gray(output), to_gray(target))


def _psnr(output: np.ndarray, target: np.ndarray) -> float:
    error = float(np.mean(np.square(output - target)))
    # Black against white is 0 dB: adding 0.0 turns -0.0 into 0.0.
    return math.inf if error == 0 else -10 * math.log10(error) + 0.0
