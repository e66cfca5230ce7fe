"""Operators that move rows: concatenation, slices, shuffles, padding."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.fullres.rows.graph import Node, slice_of
from benchmark.fullres.rows.rule import Reader, RowRule, Run, is_channels_last

aten = torch.ops.aten


def _concatenated(node: Node, first: int, last: int, reader: Reader) -> Tensor:
    return torch.cat([reader.read(part, first, last) for part in node.args[0]], 1)


def _write_concatenated(node: Node, first: int, last: int, reader: Reader, target: Tensor) -> bool:
    if not is_channels_last(target):
        return False
    torch.cat([reader.read(part, first, last) for part in node.args[0]], 1, out=target)
    return True


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


def _assemble_supports(node: Node) -> bool:
    return all(dim in (1, 2, 3) for _, region in node.args[1] for dim, *_ in region)


def _assemble_images(node: Node) -> list[Node]:
    base, writes = node.args
    return [*([base] if isinstance(base, Node) else []), *(source for source, _ in writes)]


def _shuffled(node: Node, first: int, last: int, reader: Reader) -> Tensor:
    source, factor = node.args
    low = first // factor
    strip = F.pixel_shuffle(reader.read(source, low, -(-last // factor)), factor)
    return strip[:, :, first - low * factor : last - low * factor]


def _write_shuffled(node: Node, first: int, last: int, reader: Reader, target: Tensor) -> bool:
    source, factor = node.args
    if first % factor or last % factor:
        return False
    strip = reader.read(source, first // factor, last // factor)
    both_float = strip.dtype == target.dtype == torch.float32
    # The channels of one channel lie at any distance, also at an odd one.
    in_pairs = target.stride(3) == 1 and target.stride(1) % 2 == 0
    if factor == 2 and both_float and is_channels_last(strip) and in_pairs:
        # Two neighbours of a row lie together in source and target, so they move as eight bytes.
        pairs = strip.permute(0, 2, 3, 1).view(torch.int64).unflatten(3, (target.shape[1], 2)).permute(0, 3, 1, 4, 2)
        target.view(torch.int64).unflatten(2, (-1, 2)).copy_(pairs)
        return True
    blocks = target.unflatten(2, (-1, factor)).unflatten(4, (-1, factor)).permute(0, 1, 3, 5, 2, 4)
    blocks.copy_(strip.unflatten(1, (-1, factor, factor)))
    return True


def _unshuffled(node: Node, first: int, last: int, reader: Reader) -> Tensor:
    source, factor = node.args
    return F.pixel_unshuffle(reader.read(source, first * factor, last * factor), factor)


def _padded(mode: str) -> Run:
    """Return the rule of a padding that repeats rows of the image."""

    def run(node: Node, first: int, last: int, reader: Reader) -> Tensor:
        source, (left, right, top, _) = node.args
        end = source.size(2) - 1
        if mode == "reflect":
            rows = [end - abs(end - abs(row - top)) for row in range(first, last)]
        else:
            rows = [min(max(row - top, 0), end) for row in range(first, last)]
        low, high = min(rows), max(rows) + 1
        strip = reader.read(source, low, high)
        if rows != list(range(low, high)):
            strip = strip[:, :, [row - low for row in rows]]
        return F.pad(strip, (left, right, 0, 0), mode=mode) if left or right else strip

    return run


def _zero_padded(node: Node, first: int, last: int, reader: Reader) -> Tensor:
    source, pad, value = node.args
    left, right, top = pad[0], pad[1], (*pad, 0, 0)[2]
    low, high = first - top, last - top
    inside = max(low, 0), max(min(high, source.size(2)), 0)
    if inside[1] <= inside[0]:
        shape = (1, node.size(1), last - first, node.size(3))
        return torch.full(shape, float(value), dtype=node.dtype)
    strip = reader.read(source, *inside)
    return F.pad(strip, (left, right, inside[0] - low, high - inside[1]), value=value)


def _adds_rows(node: Node) -> bool:
    return len(node.args[1]) == 4 and min(node.args[1]) >= 0


def _adds_columns(node: Node) -> bool:
    return len(node.args[1]) == 2 and min(node.args[1]) >= 0


MOVES: dict[Any, RowRule] = {
    "assemble": RowRule(_assemble, reads_once=False, supports=_assemble_supports, images=_assemble_images),
    aten.cat.default: RowRule(
        _concatenated,
        cost="free",
        same_rows=True,
        supports=lambda node: node.args[1] in (1, -3),
        images=lambda node: list(node.args[0]),
        write=_write_concatenated,
    ),
    aten.slice.Tensor: RowRule(_sliced, cost="free", supports=lambda node: slice_of(node)[0] in (1, 2, 3)),
    aten.pixel_shuffle.default: RowRule(_shuffled, supports=lambda node: node.args[1] > 1, write=_write_shuffled),
    aten.pixel_unshuffle.default: RowRule(_unshuffled, supports=lambda node: node.args[1] > 1),
    aten.reflection_pad2d.default: RowRule(_padded("reflect"), cost="free", supports=_adds_rows),
    aten.replication_pad2d.default: RowRule(_padded("replicate"), cost="free", supports=_adds_rows),
    aten.constant_pad_nd.default: RowRule(
        _zero_padded, cost="free", supports=lambda node: _adds_rows(node) or _adds_columns(node)
    ),
}
