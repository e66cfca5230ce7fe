"""Exact counts for one forward pass: parameters, multiply-accumulates, and four kinds of memory."""

from __future__ import annotations

import math

from torch import nn

from benchmark.counting.trace import Trace, incomplete_text
from benchmark.profilers import count, register_profiler
from benchmark.types import Measurement

_MACS = (
    "multiply-accumulates of convolutions (functional ones too), linear layers, matrix products and attention in one"
    " forward pass of one image, counted by torch's dispatcher; biases, norms, activations and resizing excluded"
)


@register_profiler("params", kind="count")
def measure_params(model: nn.Module, trace: Trace) -> dict[str, Measurement]:
    """Number and bytes of the parameters; buffers are not parameters."""
    params = list(model.parameters())
    return {
        "params": count(sum(p.numel() for p in params), "", "number of parameters, shared ones once, without buffers"),
        "weight_bytes": count(sum(p.nbytes for p in params), "B", "bytes of the parameters in their own precision"),
    }


@register_profiler("macs", kind="count")
def measure_macs(model: nn.Module, trace: Trace) -> dict[str, Measurement]:
    """MACs and FLOPs (two per MAC) of one forward pass; operators that are missing are a remark."""
    remark = incomplete_text(trace.missing_ops)
    return {
        "macs": count(trace.macs, "MAC", _MACS, remark=remark),
        "flops": count(2 * trace.macs, "FLOP", "2 x " + _MACS, remark=remark),
    }


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
