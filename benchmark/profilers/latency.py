"""Time of one forward pass on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from benchmark.profilers import register_profiler
from benchmark.types import Measurement

WARM_UP = 2
MAX_SAMPLES = 20
MIN_SAMPLES = 5
BUDGET_SECONDS = 10.0


@register_profiler("latency", kind="timing")
def measure_latency(
    forward: Callable[[], object], *, threads: int, budget_seconds: float = BUDGET_SECONDS
) -> dict[str, Measurement]:
    """Median time of one forward pass on the CPU, with quartiles.

    Two passes warm up; then 20 are timed, fewer (but at least 5) when ``budget_seconds`` is spent.
    """
    for _ in range(WARM_UP):
        forward()
    samples: list[float] = []
    begin = time.perf_counter()
    while len(samples) < MAX_SAMPLES:
        start = time.perf_counter()
        forward()
        end = time.perf_counter()
        samples.append(1000 * (end - start))
        if len(samples) >= MIN_SAMPLES and end - begin > budget_seconds:
            break
    q1, median, q3 = statistics.quantiles(samples, n=4, method="inclusive")
    return {
        "latency_ms": Measurement(
            value=median,
            unit="ms",
            definition=f"median wall-clock time of one forward pass of one image on the CPU after {WARM_UP} warm-up"
            " passes, in the tool's own process",
            kind="timing",
            higher_is_better=False,
            q1=q1,
            q3=q3,
            n=len(samples),
            threads=threads,
        )
    }
