"""How often do the 95 % intervals of timings hold the true value? Simulated runs, with a seed; nothing is timed.

    python -m speed timing_intervals [--runs 400] [--samples 5 9 15 20 30 60] [--noise jitter spikes ...]

Each run is a series of pairs, as ``benchmark.timing.child`` takes them: 20 to 200 in a full measurement, fewer if its
budget ends. The correlation is that of neighbours: of the noise (a first-order autoregressive process), or of being in
a slow phase, which takes a quarter of the time. Standard deviations are those of logarithms. A cell gives the coverage
in % of the method before (percentiles of a bootstrap over blocks of the cube root of n) and of the one in use. The
first half is about ``relative_latency`` of one run; the second about the ratio of two runs of the same code as the gate
judges it, whose network's own time shifts by 1.5 % from run to run.
"""

from __future__ import annotations

import argparse
import functools
import math
from collections.abc import Callable, Sequence

import numpy as np

from benchmark.regression.timing import BETWEEN_RUNS, ratio_of_samples
from benchmark.timing.sampling import relative
from speed.figures import Figure

Array = np.ndarray
CORRELATIONS = (0.0, 0.3, 0.6, 0.9)
SAMPLES = (5, 9, 15, 20, 30, 60)
SLOW_SHARE, SLOWER = 0.25, 0.35


def jitter(rng: np.random.Generator, shape: tuple[int, int], correlation: float) -> Array:
    """Return standard normal noise (runs, n) whose neighbours have this correlation."""
    fresh = rng.normal(size=shape)
    values = np.empty(shape)
    values[:, 0] = fresh[:, 0]
    for i in range(1, shape[1]):
        values[:, i] = correlation * values[:, i - 1] + math.sqrt(1 - correlation**2) * fresh[:, i]
    return values


def phases(rng: np.random.Generator, shape: tuple[int, int], correlation: float) -> Array:
    """Return SLOWER inside slow phases, else 0; neighbours are of the same phase with this probability, or drawn."""
    stays, drawn = rng.random(shape) < correlation, rng.random(shape) < SLOW_SHARE
    values = drawn.copy()
    for i in range(1, shape[1]):
        values[:, i] = np.where(stays[:, i], values[:, i - 1], drawn[:, i])
    return SLOWER * values


def spikes(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Return the logarithms of rare delays with a heavy tail: one pass in twenty, Pareto with exponent 1.5."""
    return np.where(rng.random(shape) < 0.05, np.log1p(rng.pareto(1.5, shape)), 0.0)


def draw(noise: str, rng: np.random.Generator, shape: tuple[int, int], correlation: float) -> tuple[Array, Array]:
    """Return logarithms of times (runs, n): of the network, and of the calibration kernel after each pass."""

    def own(deviation: float) -> Array:
        return deviation * jitter(rng, shape, correlation)

    def white(deviation: float) -> Array:
        return deviation * rng.normal(size=shape)

    if noise == "jitter":
        return own(0.05), own(0.05)
    if noise == "under white":
        return own(0.04) + white(0.04), own(0.04) + white(0.04)
    if noise == "of both":
        machine = own(0.08)
        return machine + own(0.03), machine + own(0.03)
    if noise == "spikes":
        return own(0.05) + spikes(rng, shape), own(0.05) + spikes(rng, shape)
    slow = phases(rng, shape, correlation)
    if noise == "phases of both":
        return slow + own(0.03), slow + own(0.03)
    if noise == "phases unequal":
        return slow + white(0.05), 0.8 * slow + white(0.02)
    assert noise == "phases of one"
    return slow + white(0.04), white(0.04)


NOISES = ("jitter", "under white", "of both", "spikes", "phases of both", "phases unequal", "phases of one")


@functools.cache
def true_ratio(noise: str) -> float:
    """Return the ratio of the medians of all passes, from two million of them."""
    network, kernel = draw(noise, np.random.default_rng(99), (2_000_000, 1), 0.0)
    return math.exp(np.median(network) - np.median(kernel))


def relative_before(samples: Array, calibration: Array) -> tuple[float, float]:
    """Return the interval of ``relative_latency`` as it was until this script was written."""
    drawn = _blocks(len(samples), 0)
    return _percentiles(np.median(samples[drawn], axis=1) / np.median(calibration[drawn], axis=1))


def ratio_before(before: tuple[Array, Array], after: tuple[Array, Array]) -> tuple[float, float]:
    """Return the interval of the ratio in the gate as it was until this script was written."""
    a, b = (np.log(samples / calibration) for samples, calibration in (before, after))
    draws = [np.median(one[_blocks(len(one), seed)], axis=1) for seed, one in enumerate((a, b))]
    center = float(np.median(b) - np.median(a))
    low, high = _percentiles(draws[1] - draws[0])
    between = 1.96 * math.sqrt(2) * BETWEEN_RUNS
    return (
        math.exp(center - math.hypot(center - low, between)),
        math.exp(center + math.hypot(high - center, between)),
    )


def _blocks(n: int, seed: int) -> Array:
    length = max(1, round(n ** (1 / 3)))
    starts = np.random.default_rng(seed).integers(0, n, size=(2000, -(-n // length)))
    return (starts[:, :, None] + np.arange(length)).reshape(2000, -1)[:, :n] % n


def _percentiles(values: Array) -> tuple[float, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


Covers = tuple[float, float]
Interval = tuple[float | None, float | None]


def coverage_of_one(noise: str, n: int, correlation: float, runs: int) -> Covers:
    """Return how often the intervals of ``relative_latency`` hold the truth: the method before, the one in use."""
    truth = true_ratio(noise)
    series = np.exp(draw(noise, np.random.default_rng(n), (runs, n), correlation))
    found = [(relative_before(a, c), relative(a, c)[1:]) for a, c in zip(*series)]
    return _share(found, truth)


def coverage_of_two(noise: str, n: int, correlation: float, runs: int) -> Covers:
    """Return how often the intervals of the ratio of two runs hold 1, for the same code in both."""
    rng = np.random.default_rng(1000 + n)
    network, kernel = draw(noise, rng, (runs, n), correlation)
    network = network + rng.normal(0, BETWEEN_RUNS, (runs, 1))
    sides = list(zip(np.exp(network), np.exp(kernel)))
    found = []
    for before, after in zip(sides[::2], sides[1::2]):
        change = ratio_of_samples(before, after)
        assert change is not None
        found.append((ratio_before(before, after), (change.low, change.high)))
    return _share(found, 1.0)


def _share(found: Sequence[tuple[Interval, Interval]], truth: float) -> Covers:
    before, now = (np.mean([_holds(interval, truth) for interval in side]) for side in zip(*found))
    return float(before), float(now)


def _holds(interval: Interval, truth: float) -> bool:
    low, high = interval
    return low is not None and high is not None and low <= truth <= high


def main() -> list[Figure]:
    """Print the table, a line for each noise and number of samples; return the least coverage of each measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=400, help="simulated runs for each cell (an even number)")
    parser.add_argument("--samples", type=int, nargs="+", default=SAMPLES)
    parser.add_argument("--noise", nargs="+", default=NOISES, choices=NOISES)
    chosen = parser.parse_args()
    titles = [f"{what} {correlation:g}" for what in ("one run", "two runs") for correlation in CORRELATIONS]
    print(f"| noise | samples | {' | '.join(titles)} |")
    print(f"|{'---|' * (2 + len(titles))}")
    measures: list[Callable[[str, int, float, int], Covers]] = [coverage_of_one, coverage_of_two]
    least = [1.0, 1.0]
    for noise in chosen.noise:
        for n in chosen.samples:
            cells = [measure(noise, n, c, chosen.runs) for measure in measures for c in CORRELATIONS]
            for index, (_, now) in enumerate(cells):
                least[index // len(CORRELATIONS)] = min(least[index // len(CORRELATIONS)], now)
            texts = [f"{100 * before:.0f} → {100 * now:.0f}" for before, now in cells]
            print(f"| {noise} | {n} | {' | '.join(texts)} |", flush=True)
    whats = ("one run", "two runs")
    return [Figure(f"least coverage, {what}", 100 * value, "%") for what, value in zip(whats, least)]
