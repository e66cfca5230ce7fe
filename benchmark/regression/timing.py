"""Is a network slower than it was? The ratio of two relative latencies, with everything that makes it uncertain.

Each run timed the network and a calibration kernel in turn. The median over these pairs of network time / kernel time
measures the network relative to the machine: slow phases and clock drift cancel in each pair (better than in
``relative_latency``, the ratio of two medians, because a slow phase can move only one of them). The interval of each
run's median allows for correlated and for few pairs (``benchmark.timing.intervals``). Differences between processes and
days (memory layout, clock) do not show in a single run, so BETWEEN_RUNS is added for them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from benchmark.regression.verdicts import Change, Verdict
from benchmark.timing.intervals import logarithms, reach

# Relative standard deviation of a relative latency between runs of the same code on an idle machine.
BETWEEN_RUNS = 0.015
# Fewer pairs of samples than this give no reliable interval.
FEWEST = 5
_Z = 1.96


def ratio_of_samples(
    before: tuple[Sequence[float], Sequence[float]], after: tuple[Sequence[float], Sequence[float]]
) -> Change | None:
    """Return the ratio of two relative latencies from (samples, calibration) in ms; None for too few samples."""
    n = min(len(before[0]), len(after[0]))
    if n < FEWEST:
        return None
    a, b = (logarithms(samples) - logarithms(calibration) for samples, calibration in (before, after))
    both = math.hypot(reach(a, seed=0), reach(b, seed=1))
    return _widened(float(np.median(b) - np.median(a)), both, both, n)


def ratio_of_intervals(
    before: tuple[float, float, float], after: tuple[float, float, float], n: int | None = None
) -> Change:
    """Return the ratio of two (value, low, high) with 95 % intervals; used if the samples are not available."""
    (a, a_low, a_high), (b, b_low, b_high) = (tuple(map(math.log, three)) for three in (before, after))
    return _widened(b - a, math.hypot(b - b_low, a_high - a), math.hypot(b_high - b, a - a_low), n)


def verdict_of(change: Change, tolerance: float, *, higher_is_better: bool | None = False) -> Verdict:
    """Return better or worse if the whole interval of a ratio lies beyond ``tolerance`` (0.1: 10 %), else same."""
    low, high = change.low or change.value, change.high or change.value
    if low > 1 + tolerance:
        return "better" if higher_is_better else "worse"
    if high < 1 / (1 + tolerance):
        return "worse" if higher_is_better else "better"
    return "same"


def _widened(center: float, below: float, above: float, n: int | None) -> Change:
    between = _Z * math.sqrt(2) * BETWEEN_RUNS
    low, high = center - math.hypot(below, between), center + math.hypot(above, between)
    return Change(math.exp(center), "ratio", math.exp(low), math.exp(high), n)
