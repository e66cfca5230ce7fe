"""Five measurements of one model's relative latency: their spread, and whether the intervals cover it.

    python -m speed latency [MODEL] [HxW]     # goal: a spread under 5 % on a quiet machine of two cores

Each measurement is a process of its own. A tainted one is printed and does not count; it is repeated, at most ten
times in all.
"""

from __future__ import annotations

import sys

from benchmark.conditions import Conditions
from benchmark.costs.prediction import predict
from benchmark.costs.profiling import size_for
from benchmark.timing.session import measure
from benchmark.units import shape_text
from speed.figures import Figure
from zoo.card import get_card

RUNS, MOST_TAINTED = 5, 10


def main() -> list[Figure]:
    """Print relative latency with its interval run by run; return the spread of those that are not tainted."""
    name = sys.argv[1] if len(sys.argv) > 1 else "plainunet_8"
    size = size_for(get_card(name))
    if len(sys.argv) > 2:
        height, width = map(int, sys.argv[2].split("x"))
        size = height, width
    predicted = predict(name, size, {})
    print(f"{name} {shape_text(predicted.shape)}")
    print(f"{'run':>3} {'ms':>9} {'calibration ms':>15} {'relative':>9} {'interval':>15} {'n':>4}  tainted")
    values: list[float] = []
    intervals, tainted = [], 0
    while len(values) < RUNS and tainted < MOST_TAINTED:
        measured = measure(name, {"": predicted}, conditions=Conditions(threads=2))[""]
        timing = measured.timing
        if timing is None or timing.relative_latency_ci is None:
            print(measured.measurement.error)
            return []
        latency, interval = timing.latency_ms, timing.relative_latency_ci
        if timing.tainted:
            tainted += 1
        else:
            values.append(timing.relative_latency)
            intervals.append(interval)
        print(
            f"{'-' if timing.tainted else len(values):>3} {latency.median:9.3f}"
            f" {timing.calibration_ms.median:15.3f} {timing.relative_latency:9.4f}"
            f" {interval[0]:7.4f}-{interval[1]:.4f} {latency.n:4}  {'; '.join(timing.taint_reasons) or 'no'}",
            flush=True,
        )
    if not values:
        print("every run was tainted: nothing can be said on this machine now")
        return []
    middle = sorted(values)[len(values) // 2]
    covered = sum(low <= middle <= high for low, high in intervals)
    print(f"{covered} of {len(values)} intervals cover the median of the runs; {tainted} tainted runs")
    spread = 100 * (max(values) - min(values)) / middle
    return [
        Figure("spread of the runs, of their median", spread, "%", at_most=5),
        Figure("runs whose interval covers the median", covered / len(values) * 100, "%"),
    ]
