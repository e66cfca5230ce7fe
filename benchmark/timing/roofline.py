"""Measured ceilings of this machine for arithmetic and for memory traffic, and a model's time compared with them.

The ceilings are the best of several runs in a child process: a matrix product and a copy of 256 MB, both float32 on the
CPU with the threads of the measurement. The product is one of 2048x2048 by ``torch.mm`` or a 1x1 convolution of 1024
channels, whichever is faster, because they use different libraries. Where the processor has instructions for bfloat16,
the same products are also measured in that, for networks in bf16. The ceilings are kept in the cache folder per
machine, torch version and thread count. They allow a model the larger of FLOPs / GEMM ceiling and bytes moved / copy
ceiling as its time. Every executed operation reads its inputs and writes its outputs once (``Trace.moved_bytes``), as
if no cache kept anything between operations. A model may be faster: tensors smaller than the cache do stay there.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from benchmark.backends import has_bf16
from benchmark.cache import cache_root
from benchmark.conditions import Limits
from benchmark.host.calls import Emit, child_call
from benchmark.host.environment import describe_environment
from benchmark.measured import Ceilings, Roofline
from benchmark.record import Record
from benchmark.replacing import replace_text
from benchmark.reporting import Reporter
from benchmark.units import counted
from zoo.errors import DiskError

VERSION = 3
_GEMM_SIZE, _PIXELS, _CHANNELS = 2048, 64, 1024
_COPY_ELEMENTS = 64 << 20
_MIN_RUNS, _SECONDS = 5, 1.5


def ceilings(threads: int, reporter: Reporter | None = None) -> Ceilings | None:
    """Return the ceilings of this machine with ``threads`` threads; None if they cannot be measured.

    They are measured once (about seven seconds), then read from the cache. The caller must hold the lock of timings.
    """
    here, reporter = describe_environment(), reporter or Reporter()
    file = cache_root() / "ceilings" / f"{here.machine}-torch{here.torch}-threads{threads}-v{VERSION}.json"
    # A file that is absent or damaged is measured again.
    with contextlib.suppress(OSError, ValueError):
        return Ceilings.model_validate_json(file.read_bytes())
    reporter.note(f"measuring this machine's ceilings with {counted(threads, 'thread')}, once ...")
    outcome = measure_ceilings.isolated(NoRequest(), limits=Limits(seconds=120), threads=threads)
    if outcome.status != "ok":
        reporter.note(f"warning: the ceilings were not measured: {outcome.error}")
        return None
    measured: Ceilings = outcome.value
    # A cache that cannot be written only costs time.
    with contextlib.suppress(OSError, DiskError):
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_text(file, measured.model_dump_json())
    return measured


class NoRequest(Record):
    """An empty request: the ceilings depend only on the process and its threads."""


@child_call()
def measure_ceilings(request: NoRequest, emit: Emit) -> Ceilings:
    """Measure the ceilings in this process, with the threads that torch has here."""
    source = torch.ones(_COPY_ELEMENTS)
    target = torch.zeros_like(source)
    copy = _fastest(lambda: target.copy_(source))
    moved = 2 * source.numel() * source.element_size()
    return Ceilings(
        gemm_gflops=_gemm_gflops(torch.float32),
        copy_gbs=moved / copy / 1e9,
        gemm_bf16_gflops=_gemm_gflops(torch.bfloat16) if has_bf16() else None,
    )


def _gemm_gflops(dtype: torch.dtype) -> float:
    a, b = (torch.rand(_GEMM_SIZE, _GEMM_SIZE).to(dtype) for _ in range(2))
    product = torch.empty(_GEMM_SIZE, _GEMM_SIZE, dtype=dtype)
    gemm = 2 * _GEMM_SIZE**3 / _fastest(lambda: torch.mm(a, b, out=product)) / 1e9
    # The same product by the convolution library: on AMD processors over twice as fast as torch.mm, which uses MKL.
    x = torch.rand(1, _CHANNELS, _PIXELS, _PIXELS).to(dtype).contiguous(memory_format=torch.channels_last)
    kernel = torch.rand(_CHANNELS, _CHANNELS, 1, 1).to(dtype)
    with torch.inference_mode():
        seconds = _fastest(lambda: F.conv2d(x, kernel))
    return max(gemm, 2 * _PIXELS**2 * _CHANNELS**2 / seconds / 1e9)


def _fastest(run: Callable[[], Any]) -> float:
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < _MIN_RUNS or time.perf_counter() - begin < _SECONDS:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def roofline(flops: int, moved_bytes: int, latency_ms: float, allowed: Ceilings) -> Roofline:
    """Return the time that the ceilings allow compared with the measured time, and which ceiling limits it."""
    compute = flops / allowed.gemm_gflops / 1e6
    bandwidth = moved_bytes / allowed.copy_gbs / 1e6
    least = max(compute, bandwidth)
    return Roofline(
        gemm_gflops=allowed.gemm_gflops,
        copy_gbs=allowed.copy_gbs,
        moved_bytes=moved_bytes,
        compute_ms=compute,
        bandwidth_ms=bandwidth,
        allowed_ms=least,
        share_of_ceiling=least / latency_ms,
        bound="compute" if compute >= bandwidth else "bandwidth",
    )
