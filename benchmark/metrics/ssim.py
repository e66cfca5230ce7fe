"""Structural similarity (Wang et al. 2004) as the papers of the field compute it; the variants differ by up to 0.4."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from benchmark.imaging.filters import check_pair, filter_replicated, filter_valid, gaussian_window, ssim_terms, to_gray
from benchmark.metrics import register_metric

_GAUSSIAN = gaussian_window(11, 1.5)
_UNIFORM = np.full(7, 1 / 7)
_replicated = partial(filter_replicated, window=_GAUSSIAN)


@register_metric(
    "ssim[gaussian11,rgb]",
    least=-1.0,
    most=1.0,
    definition="SSIM with an 11x11 Gaussian window, sigma 1.5, only where it fits into the image (no padding), biased "
    "variances, K1 0.01, K2 0.03, range 1, averaged over positions and the three channels of one image; as Wang et "
    "al. 2004 per channel, scikit-image with gaussian_weights and without use_sample_covariance (VDN, AWNet), and "
    "pytorch_msssim.ssim (PyNET-CA)",
)
def ssim_gaussian(output: np.ndarray, target: np.ndarray) -> float:
    """Return the mean Gaussian-window SSIM of RGB images (H, W, 3), at least 11 pixels a side."""
    return _ssim_per_channel(output, target, _GAUSSIAN)


@register_metric(
    "ssim[gaussian11,gray]",
    least=-1.0,
    most=1.0,
    takes_gray=True,
    definition="SSIM of one gray image (RGB converted as for psnr[gray]) with an 11x11 Gaussian window, sigma 1.5, "
    "only where it fits into the image (no padding), biased variances, K1 0.01, K2 0.03, range 1, averaged over "
    "positions; as Wang et al. 2004, and scikit-image with gaussian_weights and without use_sample_covariance",
)
def ssim_gaussian_gray(output: np.ndarray, target: np.ndarray) -> float:
    """Return the mean Gaussian-window SSIM of gray images (H, W, 1), or of RGB's luma, at least 11 pixels a side."""
    output, target = check_pair(output, target, smallest_side=len(_GAUSSIAN), gray=True)
    return _ssim(to_gray(output), to_gray(target), partial(filter_valid, window=_GAUSSIAN))


@register_metric(
    "ssim[gaussian11,rgb,cov_unbiased]",
    least=-1.0,
    most=1.0,
    definition="SSIM with an 11x11 Gaussian window, sigma 1.5, only where it fits into the image (no padding), "
    "variances and covariance times 121/120, K1 0.01, K2 0.03, range 1, averaged over positions and the three channels "
    "of one image; as scikit-image with win_size 11 and gaussian_weights (LiteISP)",
)
def ssim_gaussian_unbiased(output: np.ndarray, target: np.ndarray) -> float:
    """Return the mean Gaussian-window SSIM with sample variances of RGB images (H, W, 3), at least 11 pixels a side."""
    return _ssim_per_channel(output, target, _GAUSSIAN, bessel=121 / 120)


@register_metric(
    "ssim[uniform7,skimage]",
    least=-1.0,
    most=1.0,
    definition="SSIM with a uniform 7x7 window, only where it fits into the image (no padding), sample variances and "
    "covariance (times 49/48), K1 0.01, K2 0.03, range 1, averaged over positions and the three channels of one image; "
    "as scikit-image by default",
)
def ssim_uniform(output: np.ndarray, target: np.ndarray) -> float:
    """Return the mean uniform-window SSIM of RGB images (H, W, 3), at least 7 pixels a side."""
    return _ssim_per_channel(output, target, _UNIFORM, bessel=49 / 48)


@register_metric(
    "ssim[matlab3d,rgb]",
    least=-1.0,
    most=1.0,
    definition="SSIM of height x width x 3 taken as one volume: 11x11x11 Gaussian window, sigma 1.5, border values "
    "replicated on all three axes, biased variances, K1 0.01, K2 0.03, range 1, averaged over the full volume of one "
    "image; as MATLAB's ssim given an RGB array, and a proxy for the SIDD server, whose code is not public",
)
def ssim_volume(output: np.ndarray, target: np.ndarray) -> float:
    """Return the mean SSIM of RGB images (H, W, 3) as volumes, at least 11 pixels a side."""
    output, target = check_pair(output, target, smallest_side=len(_GAUSSIAN))
    return _ssim(output, target, _replicated)


@register_metric(
    "ssim[matlab2d,gray]",
    least=-1.0,
    most=1.0,
    takes_gray=True,
    definition="SSIM of gray images, RGB after rint(0.298936021293775 R + 0.587043074451121 G + 0.114020904255103 B) "
    "on 0..255, then / 255: 11x11 Gaussian window, sigma 1.5, border values replicated, biased variances, K1 0.01, "
    "K2 0.03, range 1, averaged over all pixels of one image; as MATLAB's ssim after rgb2gray",
)
def ssim_gray(output: np.ndarray, target: np.ndarray) -> float:
    """Return the mean SSIM of gray images (H, W, 1), or of RGB's rounded luma, at least 11 pixels a side."""
    output, target = check_pair(output, target, smallest_side=len(_GAUSSIAN), gray=True)
    return _ssim(to_gray(output), to_gray(target), _replicated)


def _ssim_per_channel(output: np.ndarray, target: np.ndarray, window: np.ndarray, *, bessel: float = 1.0) -> float:
    output, target = check_pair(output, target, smallest_side=len(window))
    local_mean = partial(filter_valid, window=window)
    # One plane at a time needs a third of the memory.
    return float(np.mean([_ssim(output[..., c], target[..., c], local_mean, bessel=bessel) for c in range(3)]))


def _ssim(
    output: np.ndarray, target: np.ndarray, local_mean: Callable[[np.ndarray], np.ndarray], *, bessel: float = 1.0
) -> float:
    luminance, contrast = ssim_terms(output, target, local_mean, bessel=bessel)
    return float(np.mean(luminance * contrast))
