"""Are two sets of scores of the same images different? Paired bootstrap over images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
LEVEL = 0.95
# This value replaces an infinite score (identical images) in a difference; 8-bit images of 10 MPix that differ in
# one value by one have 118 dB.
INFINITE_AS = 120.0


@dataclass(frozen=True)
class Difference:
    """Mean of the differences ``b - a`` over images, and its bootstrap interval (None for a single image)."""

    mean: float
    low: float | None
    high: float | None
    n: int

    @property
    def is_significant(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def paired_difference(
    a: Sequence[float], b: Sequence[float], *, resamples: int = RESAMPLES, seed: int = 0
) -> Difference:
    """Return mean(b - a) and its percentile interval over ``resamples`` draws of images.

    Score i of both belongs to the same image, so the difficulty of an image cancels. An infinite score counts as 120.
    If all differences are the same, the interval has zero width: exact reruns are equal. Images are assumed to be
    independent; for crops of one photograph, which are not, the interval is too narrow. Raises ValueError if the
    lengths differ or are 0.
    """
    if len(a) != len(b) or not len(a):
        raise ValueError(f"{len(a)} and {len(b)} scores; expected pairs")
    differences = _finite(b) - _finite(a)
    n = len(differences)
    if n == 1:
        return Difference(float(differences[0]), None, None, 1)
    low, high = np.quantile(_draws(n, resamples, seed) @ differences / n, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Difference(float(differences.mean()), float(low), float(high), n)


@lru_cache(maxsize=4)
def _draws(n: int, resamples: int, seed: int) -> NDArray[np.float64]:
    """Return how often each of ``n`` images is drawn, (resamples, n); the draws are the same for every comparison."""
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64)


def _finite(scores: Sequence[float]) -> NDArray[np.float64]:
    return np.nan_to_num(np.asarray(scores, dtype=np.float64), posinf=INFINITE_AS, neginf=-INFINITE_AS)
