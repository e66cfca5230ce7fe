"""Statistics of a whole image, gathered strip by strip: moments of each channel, means and maxima.

Sums are kept in float64, and moments are joined from those of strips around their own means (Chan et al. 1979), so that
an offset that is large compared with the spread does not reduce the precision.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from benchmark.fullres.rows.graph import Node

aten = torch.ops.aten


class Gathering(Protocol):
    """Reads all rows once, from the first to the last."""

    def update(self, strip: Tensor, first: int) -> None:
        """Take rows from ``first`` on of an image (1, C, H, W)."""

    def result(self) -> Any:
        """Return the operator's result for the whole image."""


class Moments:
    """Mean and variance (biased) of each channel, each (C,)."""

    def __init__(self, node: Node) -> None:
        self.dtype = node.args[0].dtype
        self.count = 0
        self.mean: Any = 0.0
        self.squares: Any = 0.0

    def update(self, strip: Tensor, first: int) -> None:
        flat = strip.flatten(2)[0]
        count = flat.shape[1]
        center = flat.mean(1, keepdim=True)
        rest = flat - center
        # The numbers are small now, so their float32 sums are precise enough for the moments.
        shift = rest.sum(1).double() / count
        squares = rest.square_().sum(1).double() - count * shift.square()
        mean = center[:, 0].double() + shift
        delta, total = mean - self.mean, self.count + count
        self.squares = self.squares + squares + delta.square() * (self.count * count / total)
        self.mean = self.mean + delta * (count / total)
        self.count = total

    def result(self) -> tuple[Tensor, Tensor]:
        return self.mean.to(self.dtype), (self.squares / self.count).to(self.dtype)


class Cells:
    """Averages or maxima over a grid of cells that covers the image, as torch's adaptive pools divide it."""

    def __init__(self, node: Node, grid: tuple[int, int], *, maximum: bool) -> None:
        source = node.args[0]
        self.node, self.maximum = node, maximum
        self.rows, self.columns = _cells(source.size(2), grid[0]), _cells(source.size(3), grid[1])
        start = float("-inf") if maximum else 0.0
        dtype = node.dtype if maximum else torch.float64
        self.values = torch.full((source.size(1), *grid), start, dtype=dtype)

    def update(self, strip: Tensor, first: int) -> None:
        last = first + strip.shape[2]
        for i, (top, bottom) in enumerate(self.rows):
            low, high = max(top, first), min(bottom, last)
            if low >= high:
                continue
            part = strip[0, :, low - first : high - first]
            for j, (left, right) in enumerate(self.columns):
                cell = part[..., left:right]
                if self.maximum:
                    self.values[:, i, j] = torch.maximum(self.values[:, i, j], maxima_of(cell))
                else:
                    # Strips are small enough for torch's pairwise float32 sums.
                    self.values[:, i, j] += cell.sum((1, 2)).double()

    def result(self) -> Tensor:
        values = self.values
        if not self.maximum:
            heights = torch.tensor([bottom - top for top, bottom in self.rows]).view(-1, 1)
            values = values / (heights * torch.tensor([right - left for left, right in self.columns]))
        return values.to(self.node.dtype).view(self.node.shape or ())


def maxima_of(cell: Tensor) -> Tensor:
    """Return the largest value (C,) of each channel of a cell (C, h, w)."""
    if cell.stride(0) == 1:
        # In channels last torch's maximum over the inner dimensions is twenty times slower than over the outer one.
        return cell.permute(1, 2, 0).reshape(-1, cell.shape[0]).amax(0)
    return cell.amax((1, 2))


def _cells(size: int, cells: int) -> list[tuple[int, int]]:
    return [(i * size // cells, -(-(i + 1) * size // cells)) for i in range(cells)]


_GATHERINGS: dict[Any, Callable[[Node], Gathering]] = {
    "moments": Moments,
    aten.mean.dim: lambda node: Cells(node, (1, 1), maximum=False),
    aten._adaptive_avg_pool2d.default: lambda node: Cells(node, tuple(node.args[1]), maximum=False),
    aten.adaptive_max_pool2d.default: lambda node: Cells(node, tuple(node.args[1]), maximum=True),
}


def gathers(node: Node) -> bool:
    """Whether a node is one of these and reads one image."""
    if node.op not in _GATHERINGS or not node.args[0].is_image or not node.args[0].dtype.is_floating_point:
        return False
    if node.op is not aten.mean.dim:
        return True
    # Over rows and columns, in the type of the image.
    return {dim % 4 for dim in node.args[1] or ()} == {2, 3} and "dtype" not in node.kwargs


def gathering(node: Node) -> Gathering:
    """Return a new gathering for a node."""
    return _GATHERINGS[node.op](node)
