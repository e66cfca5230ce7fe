"""Named ways to count "FLOPs" in a traced forward pass: papers use the same word for different counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmark.counting.trace import Trace

# The activations that counters of 2021 knew; they did not know GELU, sigmoid and tanh.
_ACTIVATIONS = frozenset(
    f"aten.{name}"
    for name in ("relu", "relu_", "leaky_relu", "leaky_relu_", "elu", "elu_", "hardtanh", "hardtanh_", "_prelu_kernel")
)


@dataclass(frozen=True)
class Convention:
    """A named count: a function of a trace, and one sentence that says what it counts."""

    name: str
    short: str
    definition: str
    count: Callable[[Trace], int]


def ptflops_2021(trace: Trace) -> int:
    """Return the MACs by the rules of ptflops 0.6.4, within 0.1 %, with functional operations counted like modules.

    Each multiply-accumulate counts once, but transposed convolutions are counted per output pixel (4 times too many at
    stride 2); convolution biases and ReLU-like activations add one per element, norms two. A trace shows operations,
    not modules: this function leaves out pooling and resizing modules, which that counter adds, and includes instance
    norms, which its figures for PyNET seem to leave out.
    """
    elements = {item.op: item.elements for item in trace.uncounted_ops}
    activations = sum(count for op, count in elements.items() if op in _ACTIVATIONS)
    norms = sum(count for op, count in elements.items() if "batch_norm" in op)
    return trace.output_pixel_macs + trace.conv_bias_elements + activations + 2 * norms


_ALL = (
    Convention(
        "flops",
        "2 per MAC",
        "two per multiply-accumulate of convolutions, linear layers, matrix products and attention",
        lambda trace: 2 * trace.macs,
    ),
    Convention(
        "macs",
        "1 per MAC",
        "one per multiply-accumulate of convolutions, linear layers, matrix products and attention",
        lambda trace: trace.macs,
    ),
    Convention(
        "ptflops-2021",
        "ptflops-2021",
        "after the counter ptflops 0.6.4: one per multiply-accumulate, transposed convolutions on their output"
        " pixels (4 times too many at stride 2), plus one per element for convolution biases and ReLU-like activations"
        " and two for norms; functional convolutions, which it missed, are counted here",
        ptflops_2021,
    ),
)
CONVENTIONS: Mapping[str, Convention] = {convention.name: convention for convention in _ALL}
