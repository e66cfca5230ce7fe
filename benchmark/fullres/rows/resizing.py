"""Operators that resize images, exactly as they do on the whole image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmark.fullres.rows.graph import Node
from benchmark.fullres.rows.rule import Reader, RowRule, is_channels_last

aten = torch.ops.aten
# From this number of channels on, interpolating strided slices is faster than torch's kernel.
_MANY_CHANNELS = 8


def _bilinear(node: Node, first: int, last: int, reader: Reader) -> Tensor:
    source, size, align_corners, scale_h, scale_w = node.args
    if factor := _power_of_two(node):
        return _bilinear_by_power(node, factor, first, last, reader)
    rows, above, weight = _bilinear_rows(first, last, source.size(2), size[0], align_corners, scale_h)
    low, high = int(rows.min()), int(above.max()) + 1
    strip = reader.read(source, low, high)
    # First torch's kernel resizes the columns at the same height, then the rows follow.
    wide = aten.upsample_bilinear2d(strip, [high - low, size[1]], align_corners, 1.0, scale_w)
    weight, rows, above = (value.to(strip.device) for value in (weight.view(-1, 1), rows - low, above - low))
    return wide.index_select(2, rows).mul_(1.0 - weight).add_(wide.index_select(2, above).mul_(weight))


def _power_of_two(node: Node) -> int:
    """Return the factor by which a node enlarges rows if it is a small power of two without fixed corners, or 0.

    With such a factor the positions between rows are exactly the same from any row on.
    """
    source, size, align_corners, scale, _ = node.args
    factor = size[0] // source.size(2)
    fits = factor in (2, 4, 8) and factor * source.size(2) == size[0] and (not scale or scale == factor)
    return factor if fits and not align_corners else 0


def _bilinear_by_power(node: Node, factor: int, first: int, last: int, reader: Reader) -> Tensor:
    strip, low = _read_around(node, factor, first, last, reader)
    size = [factor * strip.shape[2], node.size(3)]
    wide = aten.upsample_bilinear2d(strip, size, False, float(factor), node.args[4])
    return wide[:, :, first - factor * low : last - factor * low]


def _read_around(node: Node, factor: int, first: int, last: int, reader: Reader) -> tuple[Tensor, int]:
    """Return the input rows between which the output rows lie, and the index of the first."""
    source = node.args[0]
    low, high = max(0, first // factor - 1), min(source.size(2), -(-last // factor) + 1)
    return reader.read(source, low, high), low


def _write_bilinear(node: Node, first: int, last: int, reader: Reader, target: Tensor) -> bool:
    """Enlarge columns, then rows, slice by slice; torch's kernel for channels last works with one thread."""
    source, size, _, _, scale_w = node.args
    factor = _power_of_two(node)
    both = factor * source.size(3) == size[1] and (not scale_w or scale_w == factor)
    if not factor or not both or source.size(1) < _MANY_CHANNELS or not is_channels_last(target):
        return False
    strip, low = _read_around(node, factor, first, last, reader)
    shape = (1, strip.shape[1], strip.shape[2], size[1])
    wide = torch.empty(shape, dtype=strip.dtype, device=strip.device, memory_format=torch.channels_last)
    _enlarge(strip, 3, factor, 0, wide)
    _enlarge(wide, 2, factor, first - factor * low, target)
    return True


def _enlarge(strip: Tensor, dim: int, factor: int, first: int, target: Tensor) -> None:
    """Write elements from ``first`` on of ``strip``, enlarged along one dimension, into ``target``."""
    count, wanted = strip.shape[dim], target.shape[dim]
    for phase in range(factor):
        # Element factor * i + phase lies between elements i + shift and i + shift + 1, which exist for i in inner.
        place = (phase + 0.5) / factor - 0.5
        shift, weight = (-1, 1.0 + place) if place < 0 else (0, place)
        begin, end = (-(-(first + offset - phase) // factor) for offset in (0, wanted))
        inner = range(max(begin, -shift), min(end, count - 1 - shift))
        if inner:
            left, right = (strip.narrow(dim, inner.start + shift + step, len(inner)) for step in (0, 1))
            out = _every(target, dim, factor, factor * inner.start + phase - first, len(inner))
            torch.lerp(left, right, weight, out=out)
        for i in range(begin, end):
            if i not in inner:
                # Beyond the border the element at the border is repeated.
                target.select(dim, factor * i + phase - first).copy_(strip.select(dim, i))


def _every(tensor: Tensor, dim: int, step: int, first: int, length: int) -> Tensor:
    last = first + step * (length - 1) + 1
    return tensor[:, :, first:last:step] if dim == 2 else tensor[..., first:last:step]


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
    source, size, scale_h, scale_w = node.args
    height = source.size(2)
    ratio = torch.tensor(1.0 / scale_h if scale_h else height / size[0], dtype=torch.float32)
    rows = (torch.arange(first, last, dtype=torch.float32) * ratio).long().clamp_(max=height - 1)
    low, high = int(rows[0]), int(rows[-1]) + 1
    strip = reader.read(source, low, high)
    wide = aten.upsample_nearest2d(strip, [high - low, size[1]], 1.0, scale_w)
    return wide[:, :, rows - low]


def _has_size(node: Node) -> bool:
    return isinstance(node.args[1], (list, tuple)) and len(node.args[1]) == 2


def _nearest_supports(node: Node) -> bool:
    """Return whether positions follow from the sizes, or from a factor that gives exactly these sizes."""
    if not _has_size(node):
        return False
    source, _, scale, _ = node.args
    return scale is None or scale * source.size(2) == node.size(2)


RESIZES: dict[Any, RowRule] = {
    aten.upsample_bilinear2d.default: RowRule(_bilinear, supports=_has_size, write=_write_bilinear),
    aten.upsample_nearest2d.default: RowRule(_nearest, supports=_nearest_supports),
}
