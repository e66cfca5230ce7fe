"""Multiply-accumulates and FLOPs, from every operation that torch's dispatcher runs."""

from __future__ import annotations

from torch import nn

from benchmark.counting.trace import Trace, incomplete_text
from benchmark.profilers import count, register_profiler
from benchmark.types import Measurement

DEFINITION = (
    "multiply-accumulates of convolutions (functional ones too), linear layers, matrix products and attention in one"
    " forward pass of one image, counted by torch's dispatcher; biases, norms, activations and resizing excluded"
)


@register_profiler("macs", kind="count")
def measure_macs(model: nn.Module, trace: Trace) -> dict[str, Measurement]:
    """MACs and FLOPs (two per MAC) of one forward pass; operators that are missing are a remark."""
    remark = incomplete_text(trace.missing_ops)
    return {
        "macs": count(trace.macs, "MAC", DEFINITION, remark=remark),
        "flops": count(2 * trace.macs, "FLOP", "2 x " + DEFINITION, remark=remark),
    }
