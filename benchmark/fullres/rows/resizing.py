"""Operators that resize images, exactly as they do on the whole image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmark.fullres.rows.graph import Node
from benchmark.fullres.rows.rule import Reader, Rule

aten = torch.ops.aten


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


RESIZES: dict[Any, Rule] = {
    aten.upsample_bilinear2d.default: Rule(_bilinear),
    aten.upsample_nearest2d.default: Rule(_nearest),
}
