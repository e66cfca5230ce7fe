"""Match the colours of an output to those of its target by one affine transform for the whole image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Colours whose variance in the output is below this share of the largest cannot be told from rounding: of 8 bits, one
# pixel in a million would be above it.
_SINGULAR = 1e-12


def match_colour(output: NDArray[Any], target: NDArray[Any]) -> NDArray[Any]:
    """Return the output (H, W, 3) after the affine transform of its colours that brings it nearest to the target.

    The transform is a 3x3 matrix and an offset, the least squares over all pixels in float64; its result is clamped to
    [0, 1], as a picture is, which takes it no farther from a target in [0, 1], and is not rounded. Where several
    transforms are best, as for gray or flat outputs, it is the one with the smallest matrix. The output itself is
    returned if this has no smaller squared error, and NaN if a value is not finite.
    """
    if not (np.isfinite(output).all() and np.isfinite(target).all()):
        return np.full(output.shape, np.nan)
    colours, wanted = (image.reshape(-1, 3).astype(np.float64, copy=False) for image in (output, target))
    mean = wanted.mean(axis=0)
    centred = colours - colours.mean(axis=0)
    matrix = np.linalg.lstsq(centred.T @ centred, centred.T @ (wanted - mean), rcond=_SINGULAR)[0]
    matched = (centred @ matrix + mean).clip(0.0, 1.0)
    closer = np.sum(np.square(matched - wanted)) < np.sum(np.square(colours - wanted))
    return matched.reshape(output.shape) if closer else output
