"""Time and memory of one network at one or more sizes, measured in a child process (see ``benchmark.host.isolation``).

**Memory** comes first, size by size: what one pass adds to the resident memory of a process that already holds the
network and its input. A small pass loads the libraries, freed heap is given back, the peak mark is reset, and one pass
runs. Freed tensors go back to the system at once (if the C library is glibc, whose heap would keep some between tensors
in use, in amounts that vary from run to run). On a GPU it is what one pass adds to the allocator's bytes.

**Latency.** From here on the C library (if it is glibc) keeps freed memory. By default every pass returns its tensors
to the system and takes them again page by page; this is up to two fifths of the time, varies between processes by a
fifth, and is not a cost of the network. Warm-up passes run until the last three are no longer 5 % faster than those
before (at least 4 passes, at most 12, or a quarter of the budget). Then passes of the network and of a calibration
kernel alternate, and with several threads of a CPU an exchange of data between them (``benchmark.timing.exchange``): at
least 20 pairs and 3 seconds, at most 200 pairs. If the budget ends earlier, there are fewer pairs, which is marked, but
at least one after one warm-up pass. Only if the very first pass takes longer than is allowed, it is the only sample,
marked cold. The calibration kernel is a fixed 3x3 convolution of 64 channels in float32, about 10-30 ms on a CPU: times
relative to it can be compared between runs on one machine.

**Tiles** (``--tile``) are chosen for each size before its memory is measured. A pass is then the whole image: every
pass that finds the filters of a hyper-network, and the assembled output. All threads take memory from one heap.

An **engine** loads its libraries with a network of one layer and compiles the network for each size (under ``--tile``,
for each size of crop) before the memory of a pass is measured; the memory of both is reported beside that of the pass,
never as a part of it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.fullres.memory import set_heap
from benchmark.fullres.network import reporting
from benchmark.host import machine
from benchmark.host.calls import Emit, child_call
from benchmark.measured import Calibration, Latency, PassMemory, ResidentPeak, Timing
from benchmark.reporting import Relay
from benchmark.timing.exchange import exchange_kernel, moved_meanwhile
from benchmark.timing.messages import MemoryAt, PairAt, PreparedAt, Reply, Request, SizeEvent, TimedAt, WarmUpAt
from benchmark.timing.preparing import load_libraries, prepare, run_once
from benchmark.timing.sampling import STEADY, is_steady, observed, relative, summarize, taint_reasons
from zoo import surroundings

MIN_PAIRS, MAX_PAIRS, MIN_SECONDS = 20, 200, 3.0
MAX_WARM_UP = 12
BUDGET_SECONDS = 60.0
CALIBRATION = "conv2d 3x3, 64 -> 64 channels, float32, one image of 192x192 (CPU) or 2048x2048 (GPU); version 2"
_CALIBRATION_SIZE = {"cpu": 192, "cuda": 2048}


@child_call(SizeEvent, PreparedAt, MemoryAt, WarmUpAt, PairAt, TimedAt)
def measure_model(request: Request, emit: Emit) -> Reply:
    """Measure memory, then latency of a job at several named shapes; return the measured values by name.

    Every value is emitted at once with its size, so that the parent has it and knows the size if the child dies.
    """
    job, own_process = request.job, request.own_process
    before = surroundings.read()
    tiled = job.conditions.is_tiled
    if own_process and tiled:
        # This must happen before any thread has a heap of its own.
        set_heap(keep=False)
    network = job.network()
    given_back = own_process and set_heap(keep=False, in_pieces=tiled)
    held = load_libraries(job, network, min(shape[-2] * shape[-1] for shape in request.sizes.values()))
    found = Reply(prepared={}, memory={}, timing={})
    for size, shape in request.sizes.items():
        emit(SizeEvent(size=size))
        with reporting(network, Relay(emit)):
            found.prepared[size] = prepare(job, network, job.planes(shape), held)
            emit(PreparedAt(size=size, prepared=found.prepared[size]))
            found.memory[size] = measure_memory(network, job.planes(shape), given_back=given_back)
        emit(MemoryAt(size=size, memory=found.memory[size]))
    kept = own_process and set_heap(keep=True, in_pieces=tiled)
    for size, shape in request.sizes.items():
        emit(SizeEvent(size=size))
        # An engine keeps only the crops of the latest sizes.
        prepare(job, network, job.planes(shape), held)
        budget = request.budgets.get(size)
        found.timing[size] = measure_latency(
            network,
            job.planes(shape),
            size=size,
            budget_seconds=BUDGET_SECONDS if budget is None else budget,
            cold_after=request.cold_after,
            first_pass_ms=found.memory[size].pass_ms,
            heap_kept=kept,
            emit=emit,
        )
        emit(TimedAt(size=size, timing=found.timing[size]))
    if changed := [name for name in surroundings.put_back(before) if name.startswith("torch")]:
        raise RuntimeError(f"the network changed {', '.join(changed)} while it ran: its times are of other conditions")
    return found


def measure_latency(
    network: nn.Module,
    planes: Tensor,
    *,
    size: str = "",
    budget_seconds: float,
    cold_after: float | None = None,
    first_pass_ms: float = 0.0,
    heap_kept: bool = False,
    emit: Emit,
) -> Timing:
    """Time passes over ``planes``, emitted as those of ``size``. ``first_pass_ms``: the time of an earlier pass."""
    longest = budget_seconds if cold_after is None else max(cold_after, budget_seconds)
    device = planes.device.type
    clock, calibrate = stopwatch(device), calibration_kernel(device)
    run = partial(run_once, network, planes)
    exchange = exchange_kernel() if device == "cpu" and torch.get_num_threads() > 1 else None
    for _ in range(3):
        clock(calibrate)
        if exchange:
            clock(exchange)
    cold = first_pass_ms > 1000 * longest
    begin = time.perf_counter()
    warm_up = [first_pass_ms] if cold else _warm_up(lambda: clock(run), size, budget_seconds, emit)
    before = machine.snapshot()
    cold = cold or time.perf_counter() - begin > longest
    samples: list[float] = []
    exchanges: list[float] = []
    calibration: list[float] = []
    while not cold and not _enough(samples, calibration, time.perf_counter() - begin, budget_seconds):
        samples.append(clock(run))
        if exchange:
            exchanges.append(clock(exchange))
        calibration.append(clock(calibrate))
        emit(
            PairAt(
                size=size,
                latency_ms=samples[-1],
                calibration_ms=calibration[-1],
                exchange_ms=exchanges[-1] if exchange else None,
            )
        )
    if cold:
        samples, calibration = warm_up[:1], [clock(calibrate)]
    after, cores = machine.snapshot(), machine.usable_cores()
    reasons = taint_reasons(before, after, calibration, threads=torch.get_num_threads(), cores=cores)
    if moved := moved_meanwhile(exchanges):
        reasons.append(moved)
    timing = summary_of(samples, calibration, warm_up, cold=cold, reasons=reasons, heap_kept=heap_kept)
    return timing.model_copy(update={"exchange_ms": exchanges, "observed": observed(before, after, cores=cores)})


def _warm_up(run: Callable[[], float], size: str, budget: float, emit: Emit) -> list[float]:
    passes: list[float] = []
    begin = time.perf_counter()
    while len(passes) < MAX_WARM_UP:
        passes.append(run())
        emit(WarmUpAt(size=size, warm_up_ms=passes[-1]))
        if len(passes) > STEADY and is_steady(passes):
            break
        if time.perf_counter() - begin > budget / 4:
            break
    return passes


def _enough(samples: Sequence[float], calibration: Sequence[float], spent: float, budget: float) -> bool:
    if not samples:
        return False
    if spent > budget or len(samples) >= MAX_PAIRS:
        return True
    return len(samples) >= MIN_PAIRS and (sum(samples) + sum(calibration)) / 1000 >= MIN_SECONDS


def summary_of(
    samples: Sequence[float],
    calibration: Sequence[float],
    warm_up: Sequence[float],
    *,
    cold: bool = False,
    reasons: Sequence[str] = (),
    heap_kept: bool = False,
    whole: bool = True,
) -> Timing:
    """Return the statistics of paired samples (ms), with the raw samples; ``whole``: sampling was not cut off."""
    ratio, low, high = relative(samples, calibration)
    return Timing(
        latency_ms=Latency(
            **vars(summarize(samples)),
            threads=torch.get_num_threads(),
            warm_up=list(warm_up),
            steady=is_steady(warm_up),
            cold=cold,
            complete=whole and not cold and len(samples) >= MIN_PAIRS,
            heap_kept=heap_kept,
        ),
        relative_latency=ratio,
        relative_latency_ci=None if low is None or high is None else (low, high),
        calibration_ms=Calibration(**vars(summarize(calibration)), kernel=CALIBRATION),
        tainted=bool(reasons),
        taint_reasons=list(reasons),
    )


def stopwatch(device: str) -> Callable[[Callable[[], Any]], float]:
    """Return a function that runs a callable once and returns its time in ms; on a GPU it uses events."""

    def by_wall_clock(run: Callable[[], Any]) -> float:
        start = time.perf_counter()
        run()
        return 1000 * (time.perf_counter() - start)

    def by_events(run: Callable[[], Any]) -> float:
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        return float(start.elapsed_time(end))

    return by_wall_clock if device == "cpu" else by_events


def calibration_kernel(device: str = "cpu") -> Callable[[], Any]:
    """Return a callable that runs the calibration kernel once."""
    size = _CALIBRATION_SIZE[device]
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 64, size, size, generator=generator).to(device)
    weight = torch.rand(64, 64, 3, 3, generator=generator).to(device)

    def run() -> None:
        with torch.inference_mode():
            F.conv2d(image, weight, padding=1)

    return run


def measure_memory(network: nn.Module, planes: Tensor, *, given_back: bool = False) -> PassMemory:
    """Return the peak memory that one pass adds. ``given_back``: freed tensors go back to the system at once."""
    device = planes.device.type
    held = _reset_gpu() if device != "cpu" else 0
    resting = machine.settled_resident_bytes()
    marked = machine.reset_peak_resident()
    if resting is None or not marked:
        # This is the peak since the process began: an upper bound if building the network took more than the pass.
        resting = _peak_since_start()
    spent = stopwatch(device)(partial(run_once, network, planes))
    peak = machine.peak_resident_bytes() if marked else _peak_since_start()
    return PassMemory(
        cuda_peak_bytes=torch.cuda.max_memory_allocated() - held if device != "cpu" else None,
        peak_rss_bytes=max(0, (peak or 0) - resting),
        peak_rss=ResidentPeak(
            resting_bytes=resting,
            input_bytes=planes.numel() * planes.element_size(),
            method="VmHWM, reset before the pass" if marked else "ru_maxrss, which cannot be reset",
            given_back=given_back,
        ),
        pass_ms=spent,
    )


def _reset_gpu() -> int:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def _peak_since_start() -> int:
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else 1024 * peak)
