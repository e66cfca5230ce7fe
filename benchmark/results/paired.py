"""How sure a mean over images is, or the mean difference of two sets of scores of the same images.

The scene is the unit: images of one scene are no independent evidence. `docs/statistics.md` says how the interval was
chosen and what it reaches in simulations (`speed/scene_intervals.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

LEVEL = 0.95
# With fewer scenes there is no interval, and nothing is called significant.
FEWEST_SCENES = 6
# This value replaces an infinite score (identical images) in a difference; 8-bit images of 10 MPix that differ in
# one value by one have 118 dB.
INFINITE_AS = 120.0
# How much wider each side is than that of Student's t: for few scenes, and for skewness towards that side. With these
# numbers log-normal differences (log-sd 1) are covered as often as normal ones are by Student's t.
_FEW, _SKEWED, _FEWEST_FREEDOM = 16.0, 12.0, 4.0

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """A mean over ``n`` images, and its 95 % interval over scenes (None with fewer than 6 scenes)."""

    mean: float
    low: float | None
    high: float | None
    n: int
    num_scenes: int

    @property
    def is_significant(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def paired_difference(a: Sequence[float], b: Sequence[float], scenes: Sequence[str]) -> Difference:
    """Return the mean of ``b - a`` over images, and its interval over scenes as `mean_interval` defines it.

    Score i of both belongs to the same image of the scene ``scenes[i]``, so what makes an image hard cancels. An
    infinite score counts as 120. Raises ValueError if the lengths differ or are 0.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} scores; expected pairs")
    return mean_interval(_finite(b) - _finite(a), scenes)


def mean_interval(values: Sequence[float] | Array, scenes: Sequence[str]) -> Difference:
    """Return the mean of ``values``, one of each image, and its 95 % interval; image i shows ``scenes[i]``.

    Scenes are assumed to be drawn independently; images of one scene may depend on each other in any way. With n_k of
    all n images and the mean m_k in scene k, let w_k = n_k / n, e_k = w_k (m_k - mean), S = Σ w_k²:

        error² = Σ e_k² · S / Σ w_k² (1 - 2 w_k + S)      (unbiased if the images of a scene are copies of each other,
                                                           and never too small on average if they are independent)
        skew   = Σ e_k³ / (Σ e_k²)^1.5
        high   = mean + t · error · (1 + 16 / v² + 12 / √v · max(skew, 0)),  v = max(ν, 4)
        low    = the same on the other side, with -skew

    t is the 97.5 % quantile of Student's t with ν degrees of freedom, as Satterthwaite counts them for that error: one
    less than the number of scenes if all have as many images, fewer if some scenes have most of them. Without the two
    terms that follow the 1, it is the usual t-interval over the means of scenes, which misses the mean of skewed
    differences (log-normal of log-sd 1) 17 % of the time instead of 5 %. With them no design in the simulation misses
    it more than 5.3 % of the time; the price is a wider interval, 2.2 times with 6 scenes and 1.1 times with 24.

    Nothing is drawn at random. Equal values have an interval of zero width; an infinite value counts as 120. Raises
    ValueError if there are no values, or not one scene for each.
    """
    names = tuple(scenes)
    if len(values) != len(names) or not names:
        raise ValueError(f"{len(values)} values in {len(names)} scenes; expected a scene for each value")
    finite = _finite(values)
    n, (index, sizes) = len(finite), _sizes(names)
    mean = math.fsum(finite) / n
    if len(sizes) < FEWEST_SCENES:
        return Difference(mean, None, None, n, len(sizes))
    if finite.min() == finite.max():
        mean = float(finite[0])
        return Difference(mean, mean, mean, n, len(sizes))
    below, above = interval_sides(np.bincount(index, finite) / sizes, sizes)
    return Difference(mean, mean - float(below), mean + float(above), n, len(sizes))


def interval_sides(scene_means: Array, sizes: Sequence[int]) -> tuple[Array, Array]:
    """Return how far the interval of `mean_interval` reaches below and above the mean.

    ``scene_means`` is (..., K), scene k having ``sizes[k]`` images.
    """
    design = _design(tuple(sizes))
    shares = design.weights * (scene_means - (scene_means @ design.weights)[..., None])
    squares = np.sum(shares**2, axis=-1)
    skew = np.sum(shares**3, axis=-1) / np.maximum(squares**1.5, np.finfo(np.float64).tiny)
    side = design.scale * np.sqrt(squares)
    few, skewed = design.few, design.skewed
    return side * (1 + few + skewed * np.maximum(-skew, 0)), side * (1 + few + skewed * np.maximum(skew, 0))


class _Design(NamedTuple):
    """What an interval takes from the numbers of images per scene alone."""

    weights: Array
    scale: float  # t · error / √Σ e_k²
    few: float
    skewed: float


@lru_cache(maxsize=64)
def _design(sizes: tuple[int, ...]) -> _Design:
    weights = np.asarray(sizes, dtype=np.float64) / sum(sizes)
    p2, p3, p4, p5 = (math.fsum(weights**power) for power in (2, 3, 4, 5))
    # With scene means of variance 1, Σ e_k² is a quadratic form of this mean and twice this variance.
    mean = p2 - 2 * p3 + p2**2
    spread = p2**4 + 4 * p2 * p4 - 4 * p2**2 * p3 + 2 * p3**2 + p4 - 4 * p5
    freedom = mean**2 / spread
    v = max(freedom, _FEWEST_FREEDOM)
    scale = float(stdtrit(freedom, (1 + LEVEL) / 2)) * math.sqrt(p2 / mean)
    return _Design(weights, scale, _FEW / v**2, _SKEWED / math.sqrt(v))


@lru_cache(maxsize=64)
def _sizes(scenes: tuple[str, ...]) -> tuple[NDArray[np.intp], tuple[int, ...]]:
    """Return the number of each image's scene, and how many images each scene has."""
    numbers = {scene: number for number, scene in enumerate(dict.fromkeys(scenes))}
    index = np.array([numbers[scene] for scene in scenes])
    return index, tuple(np.bincount(index).tolist())


def _finite(scores: Sequence[float] | Array) -> Array:
    return np.nan_to_num(np.asarray(scores, dtype=np.float64), posinf=INFINITE_AS, neginf=-INFINITE_AS)
