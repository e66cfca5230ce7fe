"""What each operator needs to compute some rows of its output, and how it does so exactly.

A rule computes rows [first, last) of a node, reading rows of its images through ``read(node, first, last)`` and whole
small tensors (weights, factors per channel) through ``whole(node)``. The kernels are torch's own on a strip of rows, so
that a strip has the values of the whole image. Operators without a rule, or with arguments that a rule does not cover,
run on the whole tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.fullres.rows.graph import Node, slice_of

aten = torch.ops.aten


class Reader(Protocol):
    """Where a rule gets its inputs."""

    def read(self, node: Node, first: int, last: int) -> Tensor:
        """Return rows [first, last) of an image; the caller must not write into it unless ``owned``."""

    def whole(self, value: Any) -> Any:
        """Return the tensor of a node, or what is no node as it is."""

    def owned(self, node: Node) -> bool:
        """Whether what ``read`` returns for the node is a strip that nobody else reads."""


Run = Callable[[Node, int, int, Reader], Tensor]
# Overloads of pointwise operators for which ``out`` takes the same arguments.
_WITH_OUT = ("default", "Tensor")


@dataclass(frozen=True)
class Rule:
    """How rows are computed.

    ``cost``: "heavy" is computed once, "cheap" may be computed by each of its two users, "free" moves rows only.
    ``images`` are the inputs read by rows, all others are needed whole. ``same_rows``: output rows need the same rows.
    """

    run: Run
    cost: Literal["free", "cheap", "heavy"] = "cheap"
    same_rows: bool = False
    supports: Callable[[Node], bool] = lambda node: True
    images: Callable[[Node], list[Node]] = lambda node: [node.args[0]]


def rule_of(node: Node) -> Rule | None:
    """Return the rule that covers a node with its arguments, or None."""
    rule = RULES.get(node.op)
    if rule is None and _is_pointwise(node):
        rule = POINTWISE
    if rule is None or not node.is_image or not node.dtype.is_floating_point:
        return None
    return rule if rule.supports(node) and all(image.is_image for image in rule.images(node)) else None


# --- one value from the values at the same place


def _is_pointwise(node: Node) -> bool:
    return node.op is aten._prelu_kernel.default or torch.Tag.pointwise in getattr(node.op, "tags", ())


def _rows_of(node: Node) -> list[Node]:
    """Return the inputs of a pointwise node that have its rows; the others are the same for all rows."""
    return [item for item in node.inputs if item.is_image and item.size(2) == node.size(2) and not item.is_weight]


def _values(node: Node, first: int, last: int, reader: Reader) -> tuple[list[Any], dict[str, Any]]:
    """Return a pointwise node's arguments, images by rows."""
    images = set(_rows_of(node))

    def value(item: Any) -> Any:
        return reader.read(item, first, last) if item in images else reader.whole(item)

    args = [[value(part) for part in item] if isinstance(item, list) else value(item) for item in node.args]
    return args, {name: value(item) for name, item in node.kwargs.items()}


def write_rows(node: Node, first: int, last: int, reader: Reader, target: Tensor) -> bool:
    """Compute rows straight into ``target``, which saves a copy; return whether the operator can do that."""
    if node.op is aten.cat.default:
        torch.cat([reader.read(part, first, last) for part in node.args[0]], 1, out=target)
        return True
    if rule_of(node) is not POINTWISE or node.op._overloadname not in _WITH_OUT:
        return False
    packet = node.op._overloadpacket
    if "out" not in packet.overloads():
        return False
    args, kwargs = _values(node, first, last, reader)
    packet.out(*args, **kwargs, out=target)
    return True


def _pointwise(node: Node, first: int, last: int, reader: Reader) -> Tensor:
    args, kwargs = _values(node, first, last, reader)
    operator = node.op
    target = node.args[0]
    if isinstance(target, Node) and target.shape == node.shape and target.dtype == node.dtype and reader.owned(target):
        operator = _in_place(node.op) or operator
    return operator(*args, **kwargs)


def _in_place(operator: Any) -> Any:
    packet = getattr(aten, f"{operator._overloadpacket.__name__}_", None)
    return getattr(packet, operator._overloadname, None) if packet is not None else None


def _pointwise_supports(node: Node) -> bool:
    return bool(_rows_of(node)) and all(not (isinstance(v, Node) and v.op == "empty") for v in node.inputs)


def _normalised(node: Node, first: int, last: int, reader: Reader) -> Tensor:
    x, weight, bias, mean, var, eps = node.args
    strip = reader.read(x, first, last)
    if not strip.is_contiguous(memory_format=torch.channels_last):
        strip = strip.contiguous()
    weight, bias, mean, var = (reader.whole(value) for value in (weight, bias, mean, var))
    return torch.native_batch_norm(strip, weight, bias, mean, var, False, 0.0, eps)[0]


# --- rows that move


def _concatenated(node: Node, first: int, last: int, reader: Reader) -> Tensor:
    return torch.cat([reader.read(part, first, last) for part in node.args[0]], 1)


def _is_channel_cat(node: Node) -> bool:
    return (*node.args, 0)[1] in (1, -3)


def _sliced(node: Node, first: int, last: int, reader: Reader) -> Tensor:
    source = node.args[0]
    dim, start, stop, step = slice_of(node)
    if dim != 2:
        strip = reader.read(source, first, last)
        return strip[:, start:stop:step] if dim == 1 else strip[..., start:stop:step]
    # Whole steps, so that the slices of one tensor at several phases read the same rows of it.
    low, high = first * step, min(last * step, source.size(2) - start)
    if start < step and low + high > 0:
        strip = reader.read(source, low, min(last * step, source.size(2)))
        return strip[:, :, start::step][:, :, : last - first]
    return reader.read(source, low + start, high + start)[:, :, ::step][:, :, : last - first]


def _assemble(node: Node, first: int, last: int, reader: Reader) -> Tensor:
    base, writes = node.args
    shape = (1, node.size(1), last - first, node.size(3))
    strip = torch.empty(shape, dtype=node.dtype) if base is None else reader.read(base, first, last).clone()
    for source, region in writes:
        target, rows = strip, (0, node.size(2), 1)
        for dim, start, stop, step in region:
            if dim == 2:
                rows = (start, stop, step)
            else:
                target = target[:, start:stop:step] if dim == 1 else target[..., start:stop:step]
        start, stop, step = rows
        # Rows start + i * step for i in [low, high) are those in the strip.
        low = max(0, -(-(first - start) // step))
        high = min(source.size(2), -(-(min(last, stop) - start) // step))
        if high > low:
            place = start + low * step - first
            target[:, :, place : place + (high - low - 1) * step + 1 : step] = reader.read(source, low, high)
    return strip


def _assemble_images(node: Node) -> list[Node]:
    base, writes = node.args
    return [*([base] if isinstance(base, Node) else []), *(source for source, _ in writes)]


def _shuffled(node: Node, first: int, last: int, reader: Reader) -> Tensor:
    source, factor = node.args
    low = first // factor
    strip = F.pixel_shuffle(reader.read(source, low, -(-last // factor)), factor)
    return strip[:, :, first - low * factor : last - low * factor]


def _unshuffled(node: Node, first: int, last: int, reader: Reader) -> Tensor:
    source, factor = node.args
    return F.pixel_unshuffle(reader.read(source, first * factor, last * factor), factor)


def _reflected(node: Node, first: int, last: int, reader: Reader) -> Tensor:
    source, (left, right, top, _) = node.args
    height = source.size(2)
    rows = [abs(row - top) for row in range(first, last)]
    rows = [row if row < height else 2 * (height - 1) - row for row in rows]
    return _padded_rows(source, rows, (left, right), "reflect", reader)


def _replicated(node: Node, first: int, last: int, reader: Reader) -> Tensor:
    source, (left, right, top, _) = node.args
    rows = [min(max(row - top, 0), source.size(2) - 1) for row in range(first, last)]
    return _padded_rows(source, rows, (left, right), "replicate", reader)


def _padded_rows(source: Node, rows: list[int], sides: tuple[int, int], mode: str, reader: Reader) -> Tensor:
    low, high = min(rows), max(rows) + 1
    strip = reader.read(source, low, high)
    if rows != list(range(low, high)):
        strip = strip[:, :, [row - low for row in rows]]
    return F.pad(strip, (*sides, 0, 0), mode=mode) if any(sides) else strip


def _zero_padded(node: Node, first: int, last: int, reader: Reader) -> Tensor:
    source, pad, value = (*node.args, 0.0)[:3]
    left, right, top = pad[0], pad[1], (*pad, 0, 0)[2]
    low, high = first - top, last - top
    inside = max(low, 0), max(min(high, source.size(2)), 0)
    if inside[1] <= inside[0]:
        shape = (1, node.size(1), last - first, node.size(3))
        return torch.full(shape, float(value), dtype=node.dtype)
    strip = reader.read(source, *inside)
    return F.pad(strip, (left, right, inside[0] - low, high - inside[1]), value=value)


def _zero_padded_supports(node: Node) -> bool:
    pad = node.args[1]
    return len(pad) in (2, 4) and min(pad) >= 0


# --- windows


def _span(first: int, last: int, size: int, stride: int, padding: int, kernel: int, dilation: int = 1) -> list[int]:
    """Return first and last input row of a window over output rows, within the image, and the rows beyond it."""
    low = first * stride - padding
    high = (last - 1) * stride - padding + dilation * (kernel - 1) + 1
    return [max(low, 0), min(high, size), max(-low, 0), max(high - size, 0)]


def _convolved(node: Node, first: int, last: int, reader: Reader) -> Tensor:
    x, weight, bias, stride, padding, dilation, _, _, groups = node.args
    kernel = reader.whole(weight)
    low, high, above, below = _span(first, last, x.size(2), stride[0], padding[0], kernel.shape[2], dilation[0])
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
    reach = dilation[0] * (weight.size(2) - 1)
    if not transposed:
        return bool(padding[0] <= reach)
    return bool(output_padding[0] == 0 and stride[0] <= reach + 1)


def _pair(value: Any) -> tuple[int, int]:
    values = (value,) if isinstance(value, int) else tuple(value)
    return values[0], values[-1]


def _pooling(node: Node) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    kernel = _pair(node.args[1])
    stride = _pair(node.args[2]) if len(node.args) > 2 and node.args[2] else kernel
    return kernel, stride, _pair(node.args[3]) if len(node.args) > 3 else (0, 0)


def _max_pooled(node: Node, first: int, last: int, reader: Reader) -> Tensor:
    x = node.args[0]
    kernel, stride, padding = _pooling(node)
    low, high, above, below = _span(first, last, x.size(2), stride[0], padding[0], kernel[0])
    strip = reader.read(x, low, high)
    if above or below:
        strip = F.pad(strip, (0, 0, above, below), value=float("-inf"))
    return F.max_pool2d(strip, kernel, stride, (0, padding[1]))


def _averaged(node: Node, first: int, last: int, reader: Reader) -> Tensor:
    kernel, stride, _ = _pooling(node)
    low, high, _, _ = _span(first, last, node.args[0].size(2), stride[0], 0, kernel[0])
    return F.avg_pool2d(reader.read(node.args[0], low, high), kernel, stride)


def _max_pool_supports(node: Node) -> bool:
    # Arguments 4 and 5: dilation, ceil mode.
    return _pair((*node.args, 1)[4] if len(node.args) > 4 else 1) == (1, 1) and not (node.args[5:6] or [False])[0]


def _average_supports(node: Node) -> bool:
    # Arguments 4 to 6: ceil mode, whether padding counts, divisor.
    divisor = node.args[6] if len(node.args) > 6 else None
    return _pooling(node)[2] == (0, 0) and not (node.args[4:5] or [False])[0] and divisor is None


# --- resizing


def _bilinear(node: Node, first: int, last: int, reader: Reader) -> Tensor:
    source, size, align_corners = node.args[:3]
    height = source.size(2)
    scale = node.args[3] if len(node.args) > 3 else None
    factor = size[0] // height
    if not align_corners and factor * height == size[0] and factor in (2, 4, 8) and (not scale or scale == factor):
        return _bilinear_by_power(node, factor, first, last, reader)
    rows, above, weight = _bilinear_rows(first, last, height, size[0], align_corners, scale)
    low, high = int(rows.min()), int(above.max()) + 1
    strip = reader.read(source, low, high)
    scale_w = node.args[4] if len(node.args) > 4 else None
    # Columns by torch's kernel, at the same height; then rows.
    wide = aten.upsample_bilinear2d(strip, [high - low, size[1]], align_corners, 1.0, scale_w)
    weight, rows, above = (value.to(strip.device) for value in (weight.view(-1, 1), rows - low, above - low))
    return wide.index_select(2, rows).mul_(1.0 - weight).add_(wide.index_select(2, above).mul_(weight))


def _bilinear_by_power(node: Node, factor: int, first: int, last: int, reader: Reader) -> Tensor:
    """Resize by torch's kernel: with a power of two the places between rows are the same, exactly, from any row on."""
    source, size = node.args[:2]
    low, high = max(0, first // factor - 1), min(source.size(2), -(-last // factor) + 1)
    strip = reader.read(source, low, high)
    scale_w = node.args[4] if len(node.args) > 4 else None
    wide = aten.upsample_bilinear2d(strip, [factor * (high - low), size[1]], False, float(factor), scale_w)
    return wide[:, :, first - factor * low : last - factor * low]


def _bilinear_rows(
    first: int, last: int, height: int, out: int, align_corners: bool, scale: float | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the two rows that each output row lies between and the weight of the second, in float32 as torch does."""
    index = torch.arange(first, last, dtype=torch.float32)
    if align_corners:
        ratio = torch.tensor((height - 1) / (out - 1) if out > 1 else 0.0, dtype=torch.float32)
        place = index * ratio
    else:
        ratio = torch.tensor(1.0 / scale if scale else height / out, dtype=torch.float32)
        place = ((index + 0.5) * ratio - 0.5).clamp_(min=0.0)
    rows = place.long().clamp_(max=height - 1)
    return rows, (rows + 1).clamp_(max=height - 1), (place - rows).clamp_(0.0, 1.0)


def _nearest(node: Node, first: int, last: int, reader: Reader) -> Tensor:
    source, size = node.args[:2]
    scales = (*node.args[2:4], None, None)[:2]
    height = source.size(2)
    ratio = torch.tensor(1.0 / scales[0] if scales[0] else height / size[0], dtype=torch.float32)
    rows = (torch.arange(first, last, dtype=torch.float32) * ratio).long().clamp_(max=height - 1)
    low, high = int(rows[0]), int(rows[-1]) + 1
    strip = reader.read(source, low, high)
    wide = aten.upsample_nearest2d(strip, [high - low, size[1]], 1.0, scales[1])
    return wide[:, :, rows - low]


POINTWISE = Rule(_pointwise, same_rows=True, supports=_pointwise_supports, images=_rows_of)
RULES: dict[Any, Rule] = {
    "norm": Rule(_normalised, same_rows=True),
    "assemble": Rule(_assemble, images=_assemble_images),
    aten.cat.default: Rule(
        _concatenated, cost="free", same_rows=True, supports=_is_channel_cat, images=lambda node: list(node.args[0])
    ),
    aten.slice.Tensor: Rule(_sliced, cost="free"),
    aten.pixel_shuffle.default: Rule(_shuffled),
    aten.pixel_unshuffle.default: Rule(_unshuffled),
    aten.reflection_pad2d.default: Rule(_reflected, cost="free"),
    aten.replication_pad2d.default: Rule(_replicated, cost="free"),
    aten.constant_pad_nd.default: Rule(_zero_padded, cost="free", supports=_zero_padded_supports),
    aten.convolution.default: Rule(_convolution, cost="heavy", supports=_convolution_supports),
    aten.max_pool2d_with_indices.default: Rule(_max_pooled, supports=_max_pool_supports),
    aten.avg_pool2d.default: Rule(_averaged, supports=_average_supports),
    aten.upsample_bilinear2d.default: Rule(_bilinear),
    aten.upsample_nearest2d.default: Rule(_nearest),
}
