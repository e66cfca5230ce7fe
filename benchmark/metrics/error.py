"""What the squared error of an image is made of: a shift of the whole image, its colours, and the rest.

The shift comes first. A colour transform fitted to images that do not lie on each other lowers the contrast, and takes
for itself up to half of the error of a mere shift; the search for the shift is not misled by colours.
"""

from __future__ import annotations

import numpy as np

from benchmark.imaging.alignment import align, crop, find_shift, remembered, search_radius
from benchmark.imaging.colour import match_colour
from benchmark.imaging.filters import check_pair
from benchmark.metrics import register_metric

_WHERE = (
    "squared error averaged over pixels and the three channels of one image, without a border of 16 pixels (on sides "
    "below 128 an eighth of them)"
)
_ORDER = (
    "shift: what moving the output by the shift of psnr[rgb,aligned] takes off the error; colour: what the transform "
    "of psnr[rgb,colour], fitted to the moved output inside the border, takes off what remains; rest: what is left; "
    "the three parts add up to the error"
)


@register_metric(
    "error[shift]",
    unit="MSE",
    higher_is_better=False,
    least=0.0,
    definition=f"the part of the error that a shift explains, {_WHERE}; {_ORDER}",
)
def error_of_shift(output: np.ndarray, target: np.ndarray) -> float:
    """Return the part of the mean squared error of RGB images (H, W, 3) that the best shift takes off."""
    return _parts(*check_pair(output, target))[0]


@register_metric(
    "error[colour]",
    unit="MSE",
    higher_is_better=False,
    least=0.0,
    definition=f"the part of the error that one colour transform explains, {_WHERE}; {_ORDER}",
)
def error_of_colour(output: np.ndarray, target: np.ndarray) -> float:
    """Return the part of the mean squared error that the best colour transform of the moved output takes off."""
    return _parts(*check_pair(output, target))[1]


@register_metric(
    "error[rest]",
    unit="MSE",
    higher_is_better=False,
    least=0.0,
    definition=f"the part of the error that neither a shift nor one colour transform explains, {_WHERE}; {_ORDER}",
)
def error_of_rest(output: np.ndarray, target: np.ndarray) -> float:
    """Return the mean squared error that is left after the best shift and colour transform."""
    return _parts(*check_pair(output, target))[2]


@remembered
def _parts(output: np.ndarray, target: np.ndarray) -> tuple[float, float, float]:
    """Return the parts shift, colour and rest of the error inside the border; none is negative."""
    whole = crop(output, search_radius(*output.shape[:2]))
    moved, wanted = align(output, target, find_shift(output, target))
    errors = [float(np.mean(np.square(image - wanted))) for image in (whole, moved, match_colour(moved, wanted))]
    # None is larger than the one before it, except for rounding.
    plain, aligned, rest = np.minimum.accumulate(errors)
    return float(plain - aligned), float(aligned - rest), float(rest)
