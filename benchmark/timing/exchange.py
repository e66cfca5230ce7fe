"""How fast the cores of a machine exchange data: fast while they share a cache, several times slower while they do not.

The host of a virtual machine may move its cores apart and together again, for seconds or for hours. Nothing else shows
it: the clock, the steal and the calibration kernel, whose threads hardly read each other's data, stay as they were. But
a network of small layers takes up to half as long again with two threads (``docs/timing.md``). So between a pass of the
network and one of the calibration kernel runs a kernel in which half of the threads read what the others wrote.
"""

from __future__ import annotations

import contextlib
import json
import math
import statistics
from collections.abc import Callable, Sequence

import torch

from benchmark.cache import cache_root
from benchmark.host.environment import describe_environment
from benchmark.replacing import replace_text
from benchmark.timing.sampling import quartiles
from zoo.errors import DiskError

VERSION = 1
# An exchange that is this many times slower is one between cores that lie elsewhere, not noise: 7 was measured.
MOVED = 2.0
# Fewer samples say nothing about a change during the measurement.
FEWEST = 8
_TENSORS, _ELEMENTS = 4, 400_000


def exchange_kernel() -> Callable[[], None]:
    """Return a callable that adds 1 to four float32 tensors of 1.6 MB in turn, whose halves it exchanges."""
    tensors = [torch.zeros(2, _ELEMENTS // 2) for _ in range(_TENSORS)]

    def run() -> None:
        with torch.inference_mode():
            for i, tensor in enumerate(tensors):
                torch.add(tensor.flip(0), 1.0, out=tensors[(i + 1) % _TENSORS])

    return run


def moved_meanwhile(samples: Sequence[float]) -> str | None:
    """Return that the quartiles of these times (ms) are too far apart for cores that stayed where they were."""
    if len(samples) < FEWEST:
        return None
    q1, _, q3 = quartiles(samples)
    if q3 <= MOVED * q1:
        return None
    return f"the machine's cores were moved meanwhile: they exchanged data in {q1:.2g} to {q3:.2g} ms"


def moved_between(before: Sequence[float], after: Sequence[float]) -> str | None:
    """Return that the cores lay elsewhere in one of two runs, from the times of the exchange (ms); () is unknown."""
    if not before or not after:
        return None
    a, b = statistics.median(before), statistics.median(after)
    if max(a, b) <= MOVED * min(a, b):
        return None
    return f"the machine's cores lay elsewhere: they exchanged data in {a:.2g} ms before, {b:.2g} ms after"


def moved_apart(samples: Sequence[float], threads: int) -> str | None:
    """Return that the cores exchange data more slowly than the best that was seen here, which the cache folder keeps.

    ``samples`` are times in ms with ``threads`` threads; () is unknown. Without a cache earlier runs are unknown too.
    """
    if not samples:
        return None
    here, now = describe_environment(), statistics.median(samples)
    file = cache_root() / "ceilings" / f"{here.machine}-torch{here.torch}-threads{threads}-exchange-v{VERSION}.json"
    best = math.inf
    # A file that is absent or damaged is written again.
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        best = float(json.loads(file.read_text(encoding="utf-8"))["best_ms"])
    if now < best:
        with contextlib.suppress(OSError, DiskError):
            file.parent.mkdir(parents=True, exist_ok=True)
            replace_text(file, json.dumps({"best_ms": now}))
    if now <= MOVED * best:
        return None
    return f"the machine's cores lay apart: they exchanged data in {now:.2g} ms, {best:.2g} ms at best"
