"""Parameters: how many, and how many bytes they take."""

from __future__ import annotations

from torch import nn

from benchmark.counting.trace import Trace
from benchmark.profilers import count, register_profiler
from benchmark.types import Measurement


@register_profiler("params", kind="count")
def measure_params(model: nn.Module, trace: Trace) -> dict[str, Measurement]:
    """Number and bytes of the parameters; buffers are not parameters."""
    params = list(model.parameters())
    return {
        "params": count(sum(p.numel() for p in params), "", "number of parameters, shared ones once, without buffers"),
        "weight_bytes": count(
            sum(p.numel() * p.element_size() for p in params), "B", "bytes of the parameters in their own precision"
        ),
    }
