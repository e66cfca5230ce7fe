"""How sure a mean over images is, with the scene as the unit: two sets of scores of the same images, or one set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

LEVEL = 0.95
# With fewer scenes there is no interval, and nothing is called significant.
FEWEST_SCENES = 6
# This value replaces an infinite score (identical images) in a difference; 8-bit images of 10 MPix that differ in
# one value by one have 118 dB.
INFINITE_AS = 120.0
RESAMPLES = 2000  # for callers of the bootstrap before


@dataclass(frozen=True)
class Difference:
    """A mean over images and its 95 % interval over scenes (None with fewer than 6 scenes)."""

    mean: float
    low: float | None
    high: float | None
    n: int
    num_scenes: int

    @property
    def is_significant(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def paired_difference(a: Sequence[float], b: Sequence[float], scenes: Sequence[str] | None = None) -> Difference:
    """Return mean(b - a) over images and its interval over scenes, as `mean_interval` defines it.

    Score i of both belongs to the same image, which shows ``scenes[i]``, so the difficulty of an image cancels. Raises
    ValueError if the lengths differ or are 0.
    """
    if len(a) != len(b) or not len(a):
        raise ValueError(f"{len(a)} and {len(b)} scores; expected pairs")
    return mean_interval(_finite(b) - _finite(a), scenes)


def mean_interval(values: Sequence[float] | NDArray[np.float64], scenes: Sequence[str] | None = None) -> Difference:
    """Return the mean of ``values``, one for each image, and its 95 % interval over ``scenes``, one name per value."""
    scenes = [str(index) for index in range(len(values))] if scenes is None else scenes
    if len(values) != len(scenes) or not len(values):
        raise ValueError(f"{len(values)} values and {len(scenes)} scenes; expected one scene for each value")
    finite = _finite(values)
    mean, n = float(finite.mean()), len(finite)
    _, index = np.unique(np.asarray(scenes, dtype=str), return_inverse=True)
    sizes = np.bincount(index)
    k = len(sizes)
    if k < FEWEST_SCENES:
        return Difference(mean, None, None, n, k)
    contributions = np.bincount(index, finite - mean) / n
    error = float(np.sqrt(k / (k - 1) * np.sum(contributions**2)))
    side = _quantile(k - 1) * error
    return Difference(mean, mean - side, mean + side, n, k)


@lru_cache(maxsize=256)
def _quantile(freedom: float) -> float:
    return float(student.ppf((1 + LEVEL) / 2, freedom))


def _finite(scores: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    return np.nan_to_num(np.asarray(scores, dtype=np.float64), posinf=INFINITE_AS, neginf=-INFINITE_AS)
