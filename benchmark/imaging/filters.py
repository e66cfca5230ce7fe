"""Functions used by several metrics: checked pairs of images, gray, window filters and the terms of SSIM."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy  # Its parts are imported where they are first used: processes that score nothing start sooner.

from zoo.errors import UserError

# Constants of Wang et al. 2004, for images whose range is 1.
C1 = 0.01**2
C2 = 0.03**2


def check_pair(
    output: np.ndarray, target: np.ndarray, *, smallest_side: int = 1, gray: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return both images as float64 arrays (H, W, 3); other float types are converted, values are not changed.

    With ``gray`` they may also be gray, (H, W, 1). Raises UserError if the shapes differ, an image has another number
    of channels, a side is below ``smallest_side`` or the values are not floats: the range of integers would have to be
    guessed.
    """
    if output.shape != target.shape:
        raise UserError(
            f"output of shape {output.shape} against target of shape {target.shape}: expected equal shapes. "
            "Crop or scale one of the two before it is scored."
        )
    if output.ndim != 3 or (output.shape[2] != 3 and not (gray and output.shape[2] == 1)):
        raise UserError(f"images of shape {output.shape}: expected (height, width, 3). Convert them to RGB first.")
    if min(output.shape[:2]) < smallest_side:
        height, width = output.shape[:2]
        raise UserError(
            f"images of {height}x{width} pixels: this metric expects at least {smallest_side} pixels a side. "
            "Score larger images, or leave this metric out."
        )
    for role, image in (("output", output), ("target", target)):
        if not np.issubdtype(image.dtype, np.floating):
            raise UserError(
                f"{role} of type {image.dtype}: expected floats in [0, 1]. Divide by the white value first."
            )
    return output.astype(np.float64, copy=False), target.astype(np.float64, copy=False)


def to_gray(image: np.ndarray) -> np.ndarray:
    """Return the luma (H, W) of RGB (H, W, 3) in [0, 1], rounded to whole steps of 1/255; a gray (H, W, 1) as it is.

    The weights are the luma row of the inverted YIQ matrix, as in MATLAB's rgb2gray. No 8-bit colour is closer than
    4e-6 to a tie, so values in [0, 1] are rounded exactly like integers.
    """
    if image.shape[2] == 1:
        return image[..., 0]
    red, green, blue = np.moveaxis(image * 255.0, 2, 0)
    return np.rint(0.298936021293775 * red + 0.587043074451121 * green + 0.114020904255103 * blue) / 255.0


def gaussian_window(num_taps: int, sigma: float) -> np.ndarray:
    """Return ``num_taps`` samples of a centred Gaussian, with sum 1."""
    offsets = np.arange(num_taps) - (num_taps - 1) / 2
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    return weights / weights.sum()


def filter_valid(plane: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Return the plane (H, W) filtered along both axes, only where all n taps fit: (H - n + 1, W - n + 1)."""
    radius = len(window) // 2
    rows = scipy.ndimage.correlate1d(plane, window, axis=0)[radius : plane.shape[0] - radius]
    return scipy.ndimage.correlate1d(rows, window, axis=1)[:, radius : plane.shape[1] - radius]


def filter_replicated(array: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Return the array filtered along all its axes, with the same size; border values are repeated outside."""
    for axis in range(array.ndim):
        array = scipy.ndimage.correlate1d(array, window, axis=axis, mode="nearest")
    return array


def ssim_terms(
    output: np.ndarray, target: np.ndarray, local_mean: Callable[[np.ndarray], np.ndarray], *, bessel: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the maps of luminance and contrast-structure of two arrays; their product is the SSIM map.

    ``local_mean`` averages over the window around each position. ``bessel`` multiplies variances and covariance;
    n / (n - 1) gives the sample variances of n values.
    """
    mean_output, mean_target = local_mean(output), local_mean(target)
    mean_product = mean_output * mean_target
    mean_squares = mean_output**2 + mean_target**2
    # SSIM needs only the sum of the two variances, which saves one filtering.
    variances = bessel * (local_mean(output**2 + target**2) - mean_squares)
    covariance = bessel * (local_mean(output * target) - mean_product)
    luminance = (2 * mean_product + C1) / (mean_squares + C1)
    contrast_structure = (2 * covariance + C2) / (variances + C2)
    return luminance, contrast_structure
