"""Multi-scale structural similarity (Wang et al. 2003); the two variants differ in when the channels are averaged."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmark.imaging.filters import check_pair, filter_valid, gaussian_window, ssim_terms, to_gray
from benchmark.metrics import register_metric

_WEIGHTS = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])
_WINDOW = gaussian_window(11, 1.5)
# Halving 176 pixels four times gives the 11 pixels of the window. Some implementations shrink the window instead, but
# that would be another metric under the same name.
_SMALLEST_SIDE = len(_WINDOW) * 2 ** (len(_WEIGHTS) - 1)


@register_metric(
    "msssim[perchannel]",
    least=0.0,
    most=1.0,
    definition="MS-SSIM over five scales with weights 0.0448, 0.2856, 0.3001, 0.2363, 0.1333: 11x11 Gaussian window, "
    "sigma 1.5, only where it fits (no padding), biased variances, K1 0.01, K2 0.03, range 1, scales by 2x2 averages "
    "(an odd last row or column is dropped), sides of at least 176; per channel the product of the mean "
    "contrast-structure terms and the mean SSIM of the last scale, negative ones set to 0, then the mean over the "
    "three channels of one image; as Wang et al. 2003 per channel, and as tf.image.ssim_multiscale (PyNET, TensorFlow) "
    "and pytorch_msssim.ms_ssim where sides are multiples of 16 (both pad odd sides)",
)
def msssim_perchannel(output: np.ndarray, target: np.ndarray) -> float:
    """Return the mean over channels of the MS-SSIM of RGB images (H, W, 3), at least 176 pixels a side."""
    terms = _scale_terms(output, target)
    return float(np.mean(np.prod(np.maximum(terms, 0.0) ** _WEIGHTS, axis=1)))


@register_metric(
    "msssim[pynet]",
    least=0.0,
    most=1.0,
    definition="MS-SSIM over five scales with weights 0.0448, 0.2856, 0.3001, 0.2363, 0.1333: 11x11 Gaussian window, "
    "sigma 1.5, only where it fits (no padding), biased variances, K1 0.01, K2 0.03, range 1, scales by 2x2 averages "
    "(an odd last row or column is dropped), sides of at least 176; the contrast-structure terms and the SSIM of the "
    "last scale are averaged over the three channels of one image before the product, and a negative one makes the "
    "value nan; as PyNET's PyTorch code at batch size 1",
)
def msssim_pynet(output: np.ndarray, target: np.ndarray) -> float:
    """Return the channel-pooled MS-SSIM of RGB images (H, W, 3), at least 176 pixels a side; nan if a term is < 0."""
    terms = _scale_terms(output, target).mean(axis=0)
    if np.any(terms < 0):
        return float("nan")
    return float(np.prod(terms**_WEIGHTS))


@register_metric(
    "msssim[gray]",
    least=0.0,
    most=1.0,
    takes_gray=True,
    definition="msssim[perchannel] of the one channel of a gray image (RGB converted as for psnr[gray])",
)
def msssim_gray(output: np.ndarray, target: np.ndarray) -> float:
    """Return the MS-SSIM of gray images (H, W, 1), or of RGB's luma, at least 176 pixels a side."""
    output, target = check_pair(output, target, smallest_side=_SMALLEST_SIDE, gray=True)
    terms = np.array(_channel_terms(to_gray(output), to_gray(target)))
    return float(np.prod(np.maximum(terms, 0.0) ** _WEIGHTS))


def _scale_terms(output: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return (3, 5): per channel the mean contrast-structure of four scales and the mean SSIM of the fifth."""
    output, target = check_pair(output, target, smallest_side=_SMALLEST_SIDE)
    return np.array([_channel_terms(output[..., channel], target[..., channel]) for channel in range(3)])


def _channel_terms(output: np.ndarray, target: np.ndarray) -> list[float]:
    local_mean = partial(filter_valid, window=_WINDOW)
    terms = []
    for _ in _WEIGHTS[:-1]:
        _, contrast = ssim_terms(output, target, local_mean)
        terms.append(float(np.mean(contrast)))
        output, target = _halve(output), _halve(target)
    luminance, contrast = ssim_terms(output, target, local_mean)
    terms.append(float(np.mean(luminance * contrast)))
    return terms


def _halve(plane: np.ndarray) -> np.ndarray:
    """Return the averages of 2x2 blocks; an odd last row or column is dropped."""
    height, width = plane.shape[0] // 2 * 2, plane.shape[1] // 2 * 2
    plane = plane[:height, :width]
    return (plane[0::2, 0::2] + plane[0::2, 1::2] + plane[1::2, 0::2] + plane[1::2, 1::2]) / 4
