"""Memory of one forward pass, four numbers that other tools call by one name."""

from __future__ import annotations

import math

from torch import nn

from benchmark.counting.trace import Trace
from benchmark.profilers import count, register_profiler
from benchmark.types import Measurement


@register_profiler("memory", kind="count")
def measure_memory(model: nn.Module, trace: Trace) -> dict[str, Measurement]:
    """Convolution outputs in sum (the paper's column), the largest convolution, the peak of live tensors, resident."""
    return {
        "conv_output_bytes": count(
            trace.conv_output_bytes,
            "B",
            "sum of the output bytes of all convolutions and transposed convolutions, float32; the paper's"
            " 'Max. Conv. Mem.', which is not a peak",
        ),
        "peak_conv_bytes": count(
            trace.peak_conv_bytes,
            "B",
            "input + output + filters of the largest single convolution, float32",
            layer=trace.peak_conv_layer,
        ),
        "peak_activation_bytes": count(
            trace.peak_activation_bytes,
            "B",
            "largest sum of live tensors over the executed operations, float32: the input counts, the weights and"
            " the convolution library's workspace do not",
            layer=trace.peak_activation_layer,
        ),
        "predicted_rss_bytes": count(
            trace.peak_workspace_bytes - math.prod(trace.input_shape) * 4,
            "B",
            "what one pass should add to a process on the CPU (see peak_rss_bytes): live tensors without the input, and"
            " what oneDNN holds beside them for a convolution in the plain memory format (estimated), float32",
        ),
    }
