"""Convolution, sum and activation as one operator of oneDNN: its kernel, and its rule for rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.fullres.rows.graph import Node
from benchmark.fullres.rows.rule import Reader, RowRule
from benchmark.fullres.rows.windows import span

# A node's ``op``; its ``args`` are those of ``convolve``, images first.
JOINED = "convolution"
# Weights in the layout that oneDNN prefers for some strides, paddings, dilations, groups and shape of the image.
PACKED = "packed weights"
# What oneDNN calls an activation: its name there, its numbers, its variant.
Activation = tuple[str, tuple[float, ...], str]
NONE: Activation = ("none", (), "")
# The activations that may follow a sum.
AFTER_SUM = ("relu",)
_NUMBERS = {"leaky_relu": (0.2,), "hardtanh": (-1.0, 0.5)}
_TRIED: dict[str, Callable[..., Tensor]] = {
    "none": lambda x: x,
    "add": torch.add,
    "relu": F.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "swish": F.silu,
    "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
    "gelu": F.gelu,
    "leaky_relu": F.leaky_relu,
    "hardtanh": F.hardtanh,
}


@cache
def available() -> frozenset[str]:
    """Return the activations that torch can join to a convolution here, tried one by one; none if it cannot join any.

    "add" is among them if a sum can be joined.
    """
    if not torch.backends.mkldnn.is_available() or not _gives("none", _TRIED["none"]):
        return frozenset()
    return frozenset(name for name, plain in _TRIED.items() if _gives(name, plain))


def _gives(name: str, plain: Callable[..., Tensor]) -> bool:
    """Return whether a small convolution with this activation, or sum, gives what the plain operators give."""
    x, weight = torch.linspace(-1, 1, 200).view(1, 2, 10, 10), torch.linspace(-1, 1, 36).view(2, 2, 3, 3)
    x, window = x.contiguous(memory_format=torch.channels_last), ((1, 1), (1, 1), (1, 1), 1)
    activation = NONE if name == "add" else (name, _NUMBERS.get(name, ()), "none" if name == "gelu" else "")
    try:
        with torch.inference_mode():
            found = convolve(
                x, pack(weight, *window, tuple(x.shape)), None, *window, activation, x if name == "add" else None
            )
            expected = torch.conv2d(x, weight, None, 1, 1)
            expected = expected + x if name == "add" else plain(expected, *activation[1])
    except (AttributeError, RuntimeError):
        return False
    return torch.allclose(found, expected, rtol=1e-5, atol=1e-5)


def pack(
    weight: Tensor,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
    shape: tuple[int, ...],
) -> Tensor:
    """Return weights (O, I / groups, h, w) in the layout that oneDNN prefers for images of ``shape``."""
    window = list(padding), list(stride), list(dilation), groups
    packed: Tensor = torch.ops.mkldnn._reorder_convolution_weight(weight.contiguous(), *window, list(shape))
    return packed


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
    activation: Activation,
    other: Tensor | None,
) -> Tensor:
    """Return the convolution of ``x`` (N, I, H, W) with packed weights, plus ``other`` if given, activated."""
    name, numbers, variant = activation
    window = list(padding), list(stride), list(dilation), groups
    joined = torch.ops.mkldnn._convolution_pointwise
    result: Tensor
    if other is None:
        result = joined(x, weight, bias, *window, name, list(numbers), variant)
    else:
        unary = (None, [], None) if name == NONE[0] else (name, list(numbers), variant)
        result = joined.binary(x, other, weight, bias, *window, "add", 1.0, *unary)
    return result


def kernels_text(nodes: Iterable[Node]) -> str:
    """Return the end of a text for the user about a plan with these nodes; empty if none of them is joined."""
    return ", kernels joined" if any(node.op == JOINED for node in nodes) else ""


def _convolved(node: Node, first: int, last: int, reader: Reader) -> Tensor:
    x, weight, bias, stride, padding, dilation, groups, activation, other = node.args
    low, high, above, below = span(first, last, x.size(2), stride[0], padding[0], weight.size(2), dilation[0])
    strip = reader.read(x, low, high)
    added = None if other is None else reader.read(other, first, last)
    if above != below:
        strip, above = F.pad(strip, (0, 0, above, below)), 0
    padding = (above, padding[1])
    return convolve(
        strip, reader.whole(weight), reader.whole(bias), stride, padding, dilation, groups, activation, added
    )


def _supports(node: Node) -> bool:
    _, weight, _, _, padding, dilation, *_ = node.args
    return bool(padding[0] <= dilation[0] * (weight.size(2) - 1))


def _images(node: Node) -> list[Node]:
    return [node.args[0], *([] if node.args[-1] is None else [node.args[-1]])]


# A sum with the image itself reads rows that the convolution reads too.
RULE = RowRule(_convolved, cost="heavy", supports=_supports, images=_images)
