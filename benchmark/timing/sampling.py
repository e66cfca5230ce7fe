"""Statistics of timings: quartiles, intervals, when a warm-up is over, when a run was disturbed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmark.host.machine import Snapshot
from benchmark.measured import Samples
from benchmark.timing.intervals import logarithms, reach
from benchmark.units import counted

# A warm-up is over when the fastest of the last STEADY passes is not faster by STEADY_GAIN than those before.
STEADY, STEADY_GAIN = 3, 0.05

MAX_STEAL = 0.02
MAX_OTHERS = 0.10
MAX_SPREAD = 0.10
MAX_DRIFT = 0.05
MAX_SLOWER_CLOCK = 0.10
# Over a shorter time the counters (10 ms ticks) are too coarse to show other processes.
MIN_OBSERVED_SECONDS = 0.5


def quartiles(samples: Sequence[float]) -> tuple[float, float, float]:
    """Return the first quartile, median and third quartile, by linear interpolation between samples."""
    if len(samples) == 1:
        return samples[0], samples[0], samples[0]
    q1, median, q3 = statistics.quantiles(samples, n=4, method="inclusive")
    return q1, median, q3


def summarize(samples: Sequence[float], *, seed: int = 0) -> Samples:
    """Return the samples with median, quartiles and the median's 95 % interval (see ``reach``)."""
    q1, median, q3 = quartiles(samples)
    low, high = _around(median, logarithms(samples), seed=seed)
    return Samples(median=median, q1=q1, q3=q3, ci_low=low, ci_high=high, n=len(samples), samples=list(samples))


def relative(
    samples: Sequence[float], calibration: Sequence[float], *, seed: int = 0
) -> tuple[float, float | None, float | None]:
    """Return median(samples) / median(calibration) and its 95 % interval (see ``reach``).

    Sample i and calibration i were taken one after the other: resamples draw pairs, so that a slow period that
    affected both cancels. Raises ValueError if the lengths differ.
    """
    if len(samples) != len(calibration):
        raise ValueError(f"{len(samples)} samples and {len(calibration)} calibrations; expected pairs")
    value = statistics.median(samples) / statistics.median(calibration)
    return (value, *_around(value, logarithms(samples), -logarithms(calibration), seed=seed))


def _around(value: float, *series: NDArray[np.float64], seed: int) -> tuple[float | None, float | None]:
    if len(series[0]) < 2:
        return None, None
    wide = 1 + reach(*series, seed=seed)
    return value / wide, value * wide


def is_steady(passes: Sequence[float]) -> bool:
    """Whether the last three passes are no longer getting faster than those before them (by 5 %)."""
    before, last = passes[:-STEADY], passes[-STEADY:]
    return bool(before) and min(last) > (1 - STEADY_GAIN) * min(before)


def taint_reasons(
    before: Snapshot, after: Snapshot, calibration: Sequence[float], *, threads: int, cores: int
) -> list[str]:
    """Return why timings between two snapshots should not be trusted; empty if nothing speaks against them.

    - more threads than cores;
    - the hypervisor gave more than 2 % of the machine's time to others (steal);
    - other processes kept busy more than half of the spare cores and a tenth of the cores that we use;
    - the calibration kernel's quartiles are more than 10 % of its median apart, or its second half is more
      than 5 % slower or faster than its first;
    - the clock fell by more than 10 %.
    """
    reasons = []
    if threads > cores:
        reasons.append(f"{counted(threads, 'thread')} on {cores} usable cores")
    seconds = after.clock - before.clock
    if seconds >= MIN_OBSERVED_SECONDS:
        reasons += _disturbances(before, after, threads, cores)
    if len(calibration) >= 4:
        reasons += _unsteady(calibration)
    if before.mhz and after.mhz and after.mhz < (1 - MAX_SLOWER_CLOCK) * before.mhz:
        reasons.append(f"the clock fell from {before.mhz:.0f} to {after.mhz:.0f} MHz")
    return reasons


def observed(before: Snapshot, after: Snapshot, *, cores: int) -> dict[str, float | None]:
    """Return what the machine did between two snapshots: load, steal (share of its time), others' cores, clock."""
    seconds = after.clock - before.clock
    stolen = None if before.steal is None or after.steal is None else (after.steal - before.steal) / (seconds * cores)
    return {
        "seconds": seconds,
        "load": after.load,
        "steal_share": stolen,
        "others_busy_cores": other_cores(before, after),
        "mhz_before": before.mhz,
        "mhz_after": after.mhz,
    }


def _disturbances(before: Snapshot, after: Snapshot, threads: int, cores: int) -> list[str]:
    reasons = []
    seen = observed(before, after, cores=cores)
    share, others = seen["steal_share"], seen["others_busy_cores"]
    if share is not None and share > MAX_STEAL:
        reasons.append(f"the hypervisor took {100 * share:.1f} % of the machine's time (limit {100 * MAX_STEAL:g} %)")
    if others is not None:
        limit = MAX_OTHERS * min(threads, cores) + max(cores - threads, 0) / 2
        if others > limit:
            reasons.append(f"other processes kept {others:.2f} cores busy (limit {limit:.2f})")
    return reasons


def other_cores(before: Snapshot, after: Snapshot) -> float | None:
    """Return how many cores other processes kept busy between two snapshots."""
    if before.busy is None or after.busy is None:
        return None
    others = (after.busy - before.busy) - (after.own - before.own)
    return max(0.0, others / (after.clock - before.clock))


def _unsteady(calibration: Sequence[float]) -> list[str]:
    reasons = []
    q1, median, q3 = quartiles(calibration)
    if q3 - q1 > MAX_SPREAD * median:
        reasons.append(
            f"the calibration kernel's quartiles are {100 * (q3 - q1) / median:.0f} % of its median apart"
            f" (limit {100 * MAX_SPREAD:g} %)"
        )
    half = len(calibration) // 2
    first, second = statistics.median(calibration[:half]), statistics.median(calibration[half:])
    if abs(second - first) > MAX_DRIFT * median:
        reasons.append(
            f"the calibration kernel drifted by {100 * (second - first) / median:+.0f} % (limit {100 * MAX_DRIFT:g} %)"
        )
    return reasons
