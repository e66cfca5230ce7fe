"""Operators with a window of rows: convolutions and pooling."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.fullres.rows.graph import Node
from benchmark.fullres.rows.rule import Reader, RowRule, is_channels_last

aten = torch.ops.aten
# Maxima of up to this many rows and columns are taken slice by slice.
_LARGEST_BY_SLICES = 3


def span(first: int, last: int, size: int, stride: int, padding: int, kernel: int, dilation: int = 1) -> list[int]:
    """Return the first and last input row for some output rows, and how many rows lie beyond the image."""
    low = first * stride - padding
    high = (last - 1) * stride - padding + dilation * (kernel - 1) + 1
    return [max(low, 0), min(high, size), max(-low, 0), max(high - size, 0)]


def _convolved(node: Node, first: int, last: int, reader: Reader) -> Tensor:
    x, weight, bias, stride, padding, dilation, _, _, groups = node.args
    kernel = reader.whole(weight)
    low, high, above, below = span(first, last, x.size(2), stride[0], padding[0], kernel.shape[2], dilation[0])
    strip = reader.read(x, low, high)
    if above or below:
        strip = F.pad(strip, (0, 0, above, below))
    return F.conv2d(strip, kernel, reader.whole(bias), stride, (0, padding[1]), dilation, groups)


def _transposed(node: Node, first: int, last: int, reader: Reader) -> Tensor:
    x, weight, bias, stride, padding, dilation, _, output_padding, groups = node.args
    kernel = reader.whole(weight)
    reach = dilation[0] * (kernel.shape[2] - 1)
    low = max(0, -(-(first + padding[0] - reach) // stride[0]))
    high = min(x.size(2), (last - 1 + padding[0]) // stride[0] + 1)
    strip = F.conv_transpose2d(
        reader.read(x, low, high),
        kernel,
        reader.whole(bias),
        stride,
        (0, padding[1]),
        (0, output_padding[1]),
        groups,
        dilation,
    )
    skipped = first + padding[0] - low * stride[0]
    return strip[:, :, skipped : skipped + last - first]


def _convolution(node: Node, first: int, last: int, reader: Reader) -> Tensor:
    return (_transposed if node.args[6] else _convolved)(node, first, last, reader)


def _convolution_supports(node: Node) -> bool:
    # Rows that no input row reaches (output padding, strides above the kernel) are left to the whole operator.
    _, weight, _, stride, padding, dilation, transposed, output_padding, _ = node.args
    if len(weight.shape) != 4 or any(len(pair) != 2 for pair in (stride, padding, dilation, output_padding)):
        return False
    reach = dilation[0] * (weight.size(2) - 1)
    if not transposed:
        return bool(padding[0] <= reach)
    return bool(output_padding[0] == 0 and stride[0] <= reach + 1)


def _pair(value: Any) -> tuple[int, int]:
    values = (value,) if isinstance(value, int) else tuple(value)
    return values[0], values[-1]


def _pooling(node: Node) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    _, kernel, stride, padding = node.args[:4]
    return _pair(kernel), _pair(stride or kernel), _pair(padding)


def _max_pooled(node: Node, first: int, last: int, reader: Reader) -> Tensor:
    kernel, stride, padding = _pooling(node)
    return F.max_pool2d(_read_padded(node, first, last, reader, 0), kernel, stride, (0, padding[1]))


def _read_padded(node: Node, first: int, last: int, reader: Reader, beside: int) -> Tensor:
    """Return the rows under a pooling's windows, with what lies beyond the image above, below and ``beside`` it."""
    x = node.args[0]
    kernel, stride, padding = _pooling(node)
    low, high, above, below = span(first, last, x.size(2), stride[0], padding[0], kernel[0])
    strip = reader.read(x, low, high)
    if above or below or beside:
        strip = F.pad(strip, (beside, beside, above, below), value=float("-inf"))
    return strip


def _write_max_pooled(node: Node, first: int, last: int, reader: Reader, target: Tensor) -> bool:
    """Take maxima slice by slice: torch's pooling spends two thirds of its time on the indices."""
    kernel, stride, padding = _pooling(node)
    if not is_channels_last(target) or max(kernel) > _LARGEST_BY_SLICES:
        return False
    strip = _read_padded(node, first, last, reader, padding[1])
    high = _largest(strip, 2, kernel[0], stride[0], last - first, None)
    _largest(high, 3, kernel[1], stride[1], node.size(3), target)
    return True


def _largest(strip: Tensor, dim: int, kernel: int, stride: int, count: int, target: Tensor | None) -> Tensor:
    """Return the maxima of windows along one dimension: of the slices that are their elements, in ``target`` if given.

    Without a target and with windows of one element they are a view.
    """
    index: list[Any] = [slice(None)] * 4
    slices = []
    for offset in range(kernel):
        index[dim] = slice(offset, offset + stride * (count - 1) + 1, stride)
        slices.append(strip[tuple(index)])
    found = slices[0]
    for number, other in enumerate(slices[1:], 2):
        found = torch.maximum(found, other, out=target if number == kernel else None)
    return found if target is None or found is target else target.copy_(found)


def _averaged(node: Node, first: int, last: int, reader: Reader) -> Tensor:
    kernel, stride, _ = _pooling(node)
    low, high, _, _ = span(first, last, node.args[0].size(2), stride[0], 0, kernel[0])
    return F.avg_pool2d(reader.read(node.args[0], low, high), kernel, stride)


def _max_pool_supports(node: Node) -> bool:
    dilation, ceil_mode = node.args[4:]
    return _pair(dilation) == (1, 1) and not ceil_mode


def _average_supports(node: Node) -> bool:
    ceil_mode, _, divisor = node.args[4:]
    return _pooling(node)[2] == (0, 0) and not ceil_mode and divisor is None


WINDOWS: dict[Any, RowRule] = {
    aten.convolution.default: RowRule(_convolution, cost="heavy", supports=_convolution_supports),
    aten.max_pool2d_with_indices.default: RowRule(_max_pooled, supports=_max_pool_supports, write=_write_max_pooled),
    aten.avg_pool2d.default: RowRule(_averaged, supports=_average_supports),
}
