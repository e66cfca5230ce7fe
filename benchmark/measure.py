"""Time and memory of one network, measured in a child process of its own (see ``benchmark.engine``).

**Latency.** Passes warm up until the last three are no longer getting faster by 5 % (at least 4, at most 12, or a
quarter of the budget). Then passes of the network and of a calibration kernel alternate: at least 20 pairs and
3 seconds, at most 200 pairs, fewer when the budget is spent, which is marked. A first pass that takes the whole
budget is the only sample, marked cold. The calibration kernel is a fixed 3x3 convolution of 64 channels in
float32, on the CPU of about 10-30 ms: time relative to it can be compared between runs of a machine.

**Memory.** What one pass adds to the resident memory of a process that holds the network and its input already: a
small pass has loaded the libraries, freed heap is given back, the peak mark is reset, one pass runs. On a GPU
what one pass adds to the allocator's bytes.
"""

from __future__ import annotations

import contextlib
import gc
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark import machine
from benchmark.sampling import STEADY, is_steady, relative, summarize, taint_reasons
from benchmark.selection import Entry, entry_of
from zoo.errors import SizeError
from zoo.raw import padded_size

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
MIN_PAIRS, MAX_PAIRS, MIN_SECONDS = 20, 200, 3.0
MAX_WARM_UP = 12
BUDGET_SECONDS = 60.0
CALIBRATION = "conv2d 3x3, 64 -> 64 channels, float32, one image of 192x192 (CPU) or 2048x2048 (GPU); version 1"
_CALIBRATION_SIZE = {"cpu": 192, "cuda": 2048}
Emit = Callable[[Any], None]


@dataclass(frozen=True)
class Job:
    """What is measured: a model with its options and weights, planes of ``shape``, and how it runs."""

    model: str
    shape: Sequence[int]
    options: dict[str, Any] = field(default_factory=dict)
    weights: str | None = None
    seed: int = 0
    device: str = "cpu"
    precision: str = "fp32"
    channels_last: bool = False

    def entry(self) -> Entry:
        """Return the model with its options and weights."""
        return entry_of(self.model, self.weights, self.options)

    def layout(self, tensor: Tensor) -> Tensor:
        """Return ``tensor`` as the job wants its planes: device, precision, memory format."""
        tensor = tensor.to(self.device, PRECISIONS[self.precision])
        return tensor.contiguous(memory_format=torch.channels_last) if self.channels_last else tensor

    def network(self) -> Callable[[Tensor], Any]:
        """Build the network; return a callable that runs one pass on planes, without gradients."""
        model = self.entry().build(seed=self.seed).to(self.device, PRECISIONS[self.precision])
        if self.channels_last:
            model = model.to(memory_format=torch.channels_last)

        def forward(planes: Tensor) -> Any:
            with torch.inference_mode():
                return model(planes)

        return forward

    def planes(self) -> Tensor:
        """Return uniform noise in [0, 1] of the job's shape."""
        generator = torch.Generator().manual_seed(self.seed)
        return self.layout(torch.rand(*self.shape, generator=generator))


def measure_latency(*, job: dict[str, Any], budget_seconds: float | None, emit: Emit) -> dict[str, Any]:
    """Time a job; return what ``summary_of`` returns.

    Each pair of samples is emitted as it comes, as ``{"latency_ms", "calibration_ms"}``, each warm-up pass as
    ``{"warm_up_ms"}``: what a hard end leaves.
    """
    task = Job(**job)
    budget = BUDGET_SECONDS if budget_seconds is None else budget_seconds
    network, planes = task.network(), task.planes()
    clock = stopwatch(task.device)
    calibrate = calibration_kernel(task.device)
    clock(calibrate)
    begin = time.perf_counter()
    warm_up = _warm_up(lambda: clock(lambda: network(planes)), budget, emit)
    before = machine.snapshot()
    samples: list[float] = []
    calibration: list[float] = []
    cold = time.perf_counter() - begin > budget
    while not cold and not _enough(samples, calibration, time.perf_counter() - begin, budget):
        samples.append(clock(lambda: network(planes)))
        calibration.append(clock(calibrate))
        emit({"latency_ms": samples[-1], "calibration_ms": calibration[-1]})
    if cold:
        samples, calibration = warm_up[:1], [clock(calibrate)]
    reasons = taint_reasons(
        before,
        machine.snapshot(),
        calibration,
        threads=torch.get_num_threads(),
        cores=machine.usable_cores(),
    )
    return summary_of(samples, calibration, warm_up, cold=cold, reasons=reasons)


def _warm_up(run: Callable[[], float], budget: float, emit: Emit) -> list[float]:
    passes: list[float] = []
    begin = time.perf_counter()
    while len(passes) < MAX_WARM_UP:
        passes.append(run())
        emit({"warm_up_ms": passes[-1]})
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
) -> dict[str, Any]:
    """Return the statistics of paired samples (ms) as JSON-ready values, the raw samples among them."""
    ratio, low, high = relative(samples, calibration)
    numbers = summarize(samples)
    return {
        "latency_ms": {
            **vars(numbers),
            "threads": torch.get_num_threads(),
            "samples": list(samples),
            "warm_up": list(warm_up),
            "steady": is_steady(warm_up),
            "cold": cold,
            "complete": not cold and len(samples) >= MIN_PAIRS,
        },
        "relative_latency": ratio,
        "relative_latency_ci": None if low is None else [low, high],
        "calibration_ms": {**vars(summarize(calibration)), "samples": list(calibration), "kernel": CALIBRATION},
        "tainted": bool(reasons),
        "taint_reasons": list(reasons),
    }


def stopwatch(device: str) -> Callable[[Callable[[], Any]], float]:
    """Return a function that runs a callable once and returns its time in ms, on a GPU by events."""
    if device == "cpu":
        return _wall_clock

    def by_events(run: Callable[[], Any]) -> float:
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        return float(start.elapsed_time(end))

    return by_events


def _wall_clock(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return 1000 * (time.perf_counter() - start)


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


def measure_memory(*, job: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Return the peak of memory that one pass adds: ``peak_rss_bytes`` with how it was read, the GPU's beside it."""
    task = Job(**job)
    network, planes = task.network(), task.planes()
    _load_libraries(task, network)
    on_gpu = task.device != "cpu"
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
    gc.collect()
    machine.return_free_memory()
    marked = machine.reset_peak_resident()
    resting = machine.resident_bytes()
    if resting is None or not marked:
        # The mark since the process began: an upper bound where building the network took more than the pass.
        resting = _peak_since_start()
    emit({"resting_bytes": resting})
    network(planes)
    document: dict[str, Any] = {"cuda_peak_bytes": None}
    if on_gpu:
        torch.cuda.synchronize()
        document["cuda_peak_bytes"] = torch.cuda.max_memory_allocated() - held
    peak = machine.peak_resident_bytes() if marked else _peak_since_start()
    document["peak_rss_bytes"] = max(0, (peak or 0) - resting)
    document["peak_rss"] = {
        "resting_bytes": resting,
        "input_bytes": planes.numel() * planes.element_size(),
        "method": "VmHWM, reset before the pass" if marked else "ru_maxrss, which cannot be reset",
    }
    return document


def _load_libraries(task: Job, network: Callable[[Tensor], Any]) -> None:
    """Run a pass on the smallest planes that the network takes, so that thread pools and code are in memory."""
    entry = task.entry()
    spec = entry.card.input_for(entry.options)
    least = max(spec.min_size, spec.multiple, 32)
    # A network that refuses small planes is measured with its libraries.
    with contextlib.suppress(SizeError, RuntimeError, ValueError):
        size = padded_size(least, least, spec)
        if size[0] * size[1] < task.shape[-2] * task.shape[-1]:
            network(task.layout(torch.rand(1, task.shape[1], *size)))


def _peak_since_start() -> int:
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else 1024 * peak)
