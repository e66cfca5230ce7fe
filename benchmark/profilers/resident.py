"""Memory that one forward pass takes on this machine, from what ``measure.measure_model`` returned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmark.profilers import register_profiler, timing
from benchmark.types import Measurement


@register_profiler("resident", kind="timing")
def resident_of(document: Mapping[str, Any]) -> dict[str, Measurement]:
    """Memory that a pass adds to a process, beside the predicted ``peak_activation_bytes``."""
    how = document["measurement"]["conditions"]
    found = {}
    if document["peak_rss_bytes"] is not None:
        read = document["peak_rss"]["method"]
        read += "; freed tensors given back at once" if document["peak_rss"].get("given_back") else ""
        found["peak_rss_bytes"] = timing(
            document["peak_rss_bytes"],
            "B",
            f"what one pass adds to the resident memory of a process that holds network and input ({read}); {how}",
        )
    if document["engine"]:
        found |= _held(document["engine"], how)
    if document["cuda_peak_bytes"] is not None:
        found["cuda_peak_bytes"] = timing(
            document["cuda_peak_bytes"],
            "B",
            f"what one pass adds to the bytes of the GPU's allocator that holds network and input; {how}",
        )
    return found


def _held(engine: Mapping[str, Any], how: str) -> dict[str, Measurement]:
    """Return what stays resident before the first pass of an engine, beside torch and its network."""
    texts = {
        "compile_rss_bytes": "what capturing, converting and compiling the network for one size leaves resident",
        "library_rss_bytes": "what loading the engine's libraries and running a network of one layer leaves resident",
    }
    return {id: timing(engine[id], "B", f"{text}; {how}") for id, text in texts.items() if engine[id] is not None}
