"""Intervals of medians of times that were taken one after the other, so that neighbours are alike.

``docs/timing.md`` has the coverage of these intervals in simulations (``python -m speed timing_intervals``).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

RESAMPLES = 2000
LEVEL = 0.95
# The blocks whose means show slow changes: 200 samples, the most that are taken, make blocks of six. Fewer blocks than
# FEWEST_BLOCKS show nothing.
LONGEST_BLOCK, FEWEST_BLOCKS = 6, 5
# A larger correlation of neighbours leaves no interval to speak of.
LARGEST_CORRELATION = 0.97
# Logarithms of times that differ by less are equal but for rounding.
_ROUNDING = 1e-12


def logarithms(times: Sequence[float]) -> NDArray[np.float64]:
    """Return the logarithms of times in ms; a time of zero counts as a femtosecond."""
    return np.asarray(np.log(np.maximum(np.asarray(times, dtype=np.float64), 1e-12)))


def reach(*series: NDArray[np.float64], seed: int = 0) -> float:
    """Return how far the 95 % interval reaches to each side of the sum of the medians of ``series``, each (n,), n >= 2.

    A bootstrap, for which position i of all series is drawn together, gives the standard error for positions that are
    independent. They are not: a slow spell lasts for several passes. So it is multiplied by the larger of two factors:
    one from the correlation of neighbours, and one from means of blocks of about the cube root of n, which also show a
    slow change under the noise of single passes. Both are found in the influence of each position on the sum of the
    medians: its side of each median, weighted by how uncertain that median is.
    """
    n = len(series[0])
    draws = [np.median(values[_resampled(n, seed)], axis=1) for values in series]
    error = float(np.std(np.sum(draws, axis=0)))
    if error < _ROUNDING:
        return 0.0
    sides = [np.sign(values - np.median(values)) for values in series]
    return error * _factor(np.asarray(sum(drawn.std() * side for drawn, side in zip(draws, sides))))


def _factor(influence: NDArray[np.float64]) -> float:
    """Return by what to multiply the standard error for independent positions, given their influence in order."""
    variance = influence.var()
    if variance < _ROUNDING**2:
        return _factor_of_mean(len(influence), 0.0)
    # The influences are mostly of two values; normal values with this correlation of their signs have the sine of it.
    found = _factor_of_mean(len(influence), math.sin(math.pi / 2 * max(0.0, _of_neighbours(influence))))
    length = min(math.ceil(len(influence) ** (1 / 3)), LONGEST_BLOCK)
    num_blocks = len(influence) // length
    if num_blocks < FEWEST_BLOCKS:
        return found
    blocks = influence[-num_blocks * length :].reshape(num_blocks, length).mean(axis=1)
    in_blocks = _factor_of_mean(num_blocks, max(0.0, _of_neighbours(blocks)))
    return max(found, in_blocks * math.sqrt(length * blocks.var() / variance))


def _factor_of_mean(n: int, correlation: float) -> float:
    """Return how many times std / sqrt(n) the 95 % interval of a mean of ``n`` values reaches.

    ``correlation`` is that of neighbours. In a short series it comes out too small by (1 + 3 correlation) / n (Kendall
    1954), and uncertain, so half a standard error is added. The variance of the mean, relative to that within the
    series, is that of a first-order autoregressive process with this correlation. Student's factor is that of as many
    values as are independent, but of at least four, because fewer would give hardly any interval.
    """
    found = correlation + (1 + 3 * correlation) / n
    found = min(found + 0.5 * math.sqrt(max(0.0, 1 - found**2) / n), LARGEST_CORRELATION)
    of_mean = variance_of_mean(n, found)
    independent = max(n * (1 - found) / (1 + found), min(n, 4))
    return float(stdtrit(independent - 1, (1 + LEVEL) / 2)) * math.sqrt(n * of_mean / (1 - of_mean))


def variance_of_mean(n: int, correlation: float) -> float:
    """Return the variance of the mean of ``n`` values of variance 1 whose correlation at lag k is its k-th power."""
    lags = np.arange(1, n)
    return (1 + 2 * float(np.sum((1 - lags / n) * correlation**lags))) / n


def _of_neighbours(values: NDArray[np.float64]) -> float:
    """Return the correlation of each value with the next one; 0 if all are equal."""
    centered = values - values.mean()
    squares = float(np.sum(centered**2))
    return float(np.sum(centered[1:] * centered[:-1])) / squares if squares > 0 else 0.0


@functools.lru_cache(maxsize=16)
def _resampled(n: int, seed: int) -> NDArray[np.int64]:
    """Return RESAMPLES draws of ``n`` positions, (RESAMPLES, n); the same for every call."""
    indices = np.random.default_rng(seed).integers(0, n, size=(RESAMPLES, n))
    indices.setflags(write=False)
    return indices
