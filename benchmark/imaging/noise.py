"""The level of the noise in a picture, estimated by scikit-image."""

from __future__ import annotations

import warnings

import numpy as np
from torch import Tensor

from benchmark.conditions import ESTIMATE, Sigma


def estimated_sigma(image: Tensor) -> float:
    """Return the standard deviation of the noise in an image (1, C, H, W) in [0, 1], on the scale of 8-bit values.

    It is the mean over the channels of ``skimage.restoration.estimate_sigma``: the median of the finest diagonal
    wavelet coefficients (db2), 0 if all of them are 0. The noise is taken for white; what a camera has smoothed or
    compressed has less of the highest frequencies, and so a level that is too low.
    """
    # Imported only here: it takes a moment, and most runs do not need it.
    from skimage.restoration import estimate_sigma

    with warnings.catch_warnings():
        # Flat images have no coefficients, and very narrow ones look like colours to it.
        warnings.simplefilter("ignore")
        found = float(estimate_sigma(image[0].double().numpy(), channel_axis=0, average_sigmas=True))
    return 255 * found if np.isfinite(found) else 0.0


def told_sigma(image: Tensor, sigma: Sigma | None) -> float | None:
    """Return what a network is told about the noise in an image (1, C, H, W): ``sigma``, or the estimate."""
    return estimated_sigma(image) if sigma == ESTIMATE else sigma
