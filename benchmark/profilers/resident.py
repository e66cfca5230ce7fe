"""Memory that one forward pass takes on this machine, from the result of the measuring process."""

from __future__ import annotations

from benchmark.measured import EngineCost, Measured
from benchmark.profilers import register_profiler, timing
from benchmark.types import Measurement


@register_profiler("resident", kind="timing")
def resident_of(measured: Measured) -> dict[str, Measurement]:
    """Memory that a pass adds to a process, beside the predicted ``peak_activation_bytes``."""
    how = measured.measurement.conditions
    found, memory = {}, measured.memory
    if memory is not None:
        read = memory.peak_rss.method
        read += "; freed tensors given back at once" if memory.peak_rss.given_back else ""
        found["peak_rss_bytes"] = timing(
            memory.peak_rss_bytes,
            "B",
            f"what one pass adds to the resident memory of a process that holds network and input ({read}); {how}",
        )
    if measured.prepared.engine:
        found |= _held(measured.prepared.engine, how)
    if memory is not None and memory.cuda_peak_bytes is not None:
        found["cuda_peak_bytes"] = timing(
            memory.cuda_peak_bytes,
            "B",
            f"what one pass adds to the bytes of the GPU's allocator that holds network and input; {how}",
        )
    return found


def _held(engine: EngineCost, how: str) -> dict[str, Measurement]:
    """Return the memory that stays resident before the first pass of an engine, besides torch and its network."""
    texts = {
        "compile_rss_bytes": "what capturing, converting and compiling the network for one size leaves resident",
        "library_rss_bytes": "what loading the engine's libraries and running a network of one layer leaves resident",
    }
    held = {id: getattr(engine, id) for id in texts}
    return {id: timing(held[id], "B", f"{text}; {how}") for id, text in texts.items() if held[id] is not None}
