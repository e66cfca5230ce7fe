"""The measured part of a profile as text for people."""

from __future__ import annotations

from benchmark.measured import EngineCost, Measured
from benchmark.units import GIB, counted


def measured_text(measured: Measured) -> str:
    """Return the measured part as text for people."""
    timing, memory, state = measured.timing, measured.memory, measured.measurement
    lines = [f"  measured on            {state.conditions}, {counted(state.under.threads or 1, 'thread')}"]
    if timing is not None:
        latency = timing.latency_ms
        low, high = latency.ci_low, latency.ci_high
        interval = "" if low is None else f", 95 % interval {low:.4g}-{high:.4g}"
        lines += [
            f"  latency                {latency.median:.4g} ms (quartiles {latency.q1:.4g}-{latency.q3:.4g}"
            f"{interval}, n={latency.n}), {measured.ms_per_mpix:.4g} ms per output MPix",
            f"  relative latency       {timing.relative_latency:.4g} x the calibration kernel"
            f" ({timing.calibration_ms.median:.4g} ms)",
        ]
    if memory is not None:
        lines.append(f"  memory added by a pass {memory.peak_rss_bytes / GIB:.3f} GiB")
    if measured.prepared.tiling:
        lines.append(f"  tiles                  {measured.prepared.tiling.text}")
    if measured.prepared.engine:
        lines.append(_engine_line(measured.prepared.engine))
    if measured.roofline:
        line = measured.roofline
        copy = f", {line.copy_gbs:.1f} GB/s" if line.moved_bytes else ""
        lines.append(
            f"  ceilings               {line.gemm_gflops:.0f} GFLOP/s"
            f"{copy} allow"
            f" {line.allowed_ms:.4g} ms ({line.bound}-bound): {100 * line.share_of_ceiling:.0f} % reached"
        )
    lines += [f"  tainted                {reason}" for reason in (timing.taint_reasons if timing else ())]
    if state.status != "ok":
        lines.append(f"  {state.status:22} {state.error}")
    return "\n".join(lines)


def _engine_line(engine: EngineCost) -> str:
    held = {"held by it": engine.compile_rss_bytes, "by the engine's libraries": engine.library_rss_bytes}
    sizes = [f"{what} {size / GIB:.3f} GiB" for what, size in held.items() if size is not None]
    took = f"{engine.compile_ms / 1000:.2f} s"
    return f"  compiled in            {', '.join([took, *sizes])}; not in the pass"
