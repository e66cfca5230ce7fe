"""Resize a piece of an image with aligned corners exactly as in the whole image.

With aligned corners the source position of an output pixel depends on the size of the whole tensor: it is
(before - 1) / (after - 1) times the pixel's index. So a piece is resized by the ratio of the whole, from its own
origin. Positions and weights are computed in float32 exactly as torch computes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmark.fullres.tiles.receptive import Resize
from benchmark.fullres.tiles.spans import Span

aten = torch.ops.aten


class LocatedResizes(TorchDispatchMode):
    """While active, one pass over a crop that begins at ``origin`` (row, column) resizes as the whole image does."""

    def __init__(self, resizes: Sequence[Resize], origin: tuple[int, int]) -> None:
        super().__init__()
        self._left = list(resizes)
        self._origin = origin

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._overloadpacket is aten.upsample_bilinear2d and args[2]:
            # In inference mode the call may carry factors in place of a size.
            size = args[1] or [int(n * factor) for n, factor in zip(args[0].shape[-2:], args[3])]
            return resize_located(args[0], size, self._left.pop(0), self._origin)
        return func(*args, **(kwargs or {}))


def resize_located(planes: Tensor, size: Sequence[int], whole: Resize, origin: tuple[int, int]) -> Tensor:
    """Resize a piece (N, C, h, w) to ``size`` as bilinear resizing with aligned corners of the whole tensor does."""
    for axis in (0, 1):
        places = _places(whole.strides[axis], whole.before[axis], whole.after[axis], origin[axis], size[axis])
        planes = _interpolated(planes, axis - 2, *places)
    return planes


def _places(span: Span, before: int, after: int, origin: int, count: int) -> tuple[int, Tensor]:
    """Return the positions of ``count`` output pixels: the piece's first pixel in the whole, and positions there."""
    first = span.element(origin)
    scale = torch.tensor(float(before - 1)) / torch.tensor(float(max(after - 1, 1)))
    begin = first * (after // before)
    return first, scale * torch.arange(begin, begin + count, dtype=torch.float32)


def _interpolated(planes: Tensor, dim: int, first: int, places: Tensor) -> Tensor:
    low = places.long()
    weight = (places - low).to(planes.dtype)
    last = planes.shape[dim] - 1
    lower = planes.index_select(dim, (low - first).clamp(0, last))
    upper = planes.index_select(dim, (low - first + 1).clamp(0, last))
    weight = weight.reshape(-1, *[1] * (-dim - 1))
    return lower * (1 - weight) + upper * weight
