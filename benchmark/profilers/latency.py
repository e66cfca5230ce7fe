"""Time of one forward pass on this machine, from the result of the measuring process."""

from __future__ import annotations

from typing import Any

from benchmark.measured import Latency, Measured
from benchmark.profilers import register_profiler, timing
from benchmark.types import Measurement
from benchmark.units import counted

# A remark is added if there are fewer samples than this.
FEW = 5


@register_profiler("latency", kind="timing")
def latency_of(measured: Measured) -> dict[str, Measurement]:
    """Time of one forward pass: median, relative to the calibration kernel, per megapixel, against the ceilings."""
    timed, how = measured.timing, measured.measurement.conditions
    if timed is None:
        return _not_measured(measured)
    latency = timed.latency_ms
    beside: dict[str, Any] = {
        "n": latency.n,
        "threads": latency.threads,
        "tainted": tuple(timed.taint_reasons) or None,
        "remark": _remark(measured, latency),
    }
    low, high = timed.relative_latency_ci or (None, None)
    found = {
        "latency_ms": timing(
            latency.median,
            "ms",
            f"median time of one forward pass of one image {_where(measured, latency)}; {how}",
            q1=latency.q1,
            q3=latency.q3,
            ci_low=latency.ci_low,
            ci_high=latency.ci_high,
            **beside,
        ),
        "relative_latency": timing(
            timed.relative_latency,
            "",
            f"latency_ms over the median time of a calibration kernel, timed in turn"
            f" ({timed.calibration_ms.kernel}), with its 95 % interval; {how}",
            ci_low=low,
            ci_high=high,
            **beside,
        ),
        "ms_per_mpix": timing(
            measured.ms_per_mpix, "ms/MPix", f"latency_ms per million pixels of the output image; {how}", **beside
        ),
    }
    if measured.prepared.engine:
        text = "time to capture, convert and compile the network for one size, once, before any pass"
        found["compile_ms"] = timing(measured.prepared.engine.compile_ms, "ms", f"{text}; {how}", n=1)
    if measured.roofline:
        number = "bfloat16" if measured.measurement.under.precision == "bf16" else "float32"
        ceilings = "(a matrix product's GFLOP/s, a copy's GB/s) allow for the FLOPs and the tensors moved"
        if not measured.roofline.moved_bytes:
            ceilings = "(a matrix product's GFLOP/s) allow for the network's FLOPs"
        found["ceiling_share"] = timing(
            measured.roofline.share_of_ceiling,
            "",
            f"time that this machine's measured ceilings {ceilings}, over latency_ms; {how}",
            higher_is_better=True,
            **beside,
        )
        found["gemm_share"] = timing(
            measured.roofline.compute_ms / latency.median,
            "",
            f"the network's FLOPs per second of latency_ms, over those of the fastest {number} matrix product on this"
            f" machine (torch.mm, or a 1x1 convolution) with the same threads; {how}",
            higher_is_better=True,
            **beside,
        )
    return found


def _not_measured(measured: Measured) -> dict[str, Measurement]:
    """Return an empty measurement that says why nothing was measured."""
    state = measured.measurement
    if state.status == "ok":
        return {}
    definition = f"median time of one forward pass of one image; {state.conditions}"
    return {"latency_ms": timing(None, "ms", definition, remark=f"{state.status}: {state.error}")}


def _where(measured: Measured, latency: Latency) -> str:
    if not measured.measurement.isolated:
        return "in the tool's own process, after a warm-up"
    kept = latency.heap_kept
    return "in a process of its own, after a warm-up" + (", with a heap that keeps freed memory" if kept else "")


def _remark(measured: Measured, latency: Latency) -> str | None:
    state = measured.measurement
    if latency.cold:
        return "one cold pass"
    if state.status in ("timeout", "oom", "error"):
        return f"{state.status}: {state.error}"
    return counted(latency.n, "sample") if latency.n < FEW else None
