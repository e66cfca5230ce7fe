"""Random windows with flips and transposition that keep the phase of the colour filter.

A window is a pair of index arrays, one per axis. A flipped Bayer mosaic begins with another colour: read from
right to left, R G R G of an even width begins with G. So a flipped window starts one pixel further on: columns
``start + size`` down to ``start + 1``. Position j then holds column ``start + size - j``, which has the same parity
as ``start + j`` because the size is even, so every colour stays where the network expects it. If a window reaches
one pixel beyond the border, the border is mirrored (without repeating the edge), which also keeps the parity. A
transposition about the red pixel swaps the green beside red and the green beside blue: the filter stays RGGB.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Window:
    """The rows and columns to take, in order, and whether the result is transposed."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    transposed: bool

    def take(self, image: Tensor) -> Tensor:
        """Return the window of an image (1, C, H, W)."""
        # NumPy is used because torch would start more threads beside those that run the network.
        part = torch.from_numpy(image.numpy()[:, :, self.rows[:, None], self.columns])
        return part.transpose(-2, -1) if self.transposed else part


def draw_window(
    rng: np.random.Generator,
    size: tuple[int, int],
    *,
    side: int | None,
    augment: bool,
    red: tuple[int, int] | None = None,
) -> Window:
    """Return a random window of an image with ``size`` = (H, W).

    ``side``: side of the window in pixels, even for a mosaic; None: the whole image. ``red``: position of the red pixel
    in the first 2x2 block of a mosaic; None: RGB. A mosaic's window always begins with red. ``augment``: draw flips,
    and transposition of square windows, each with probability 1/2. Raises ValueError if the image is too small.
    """
    flips = rng.random(3) < 0.5 if augment else np.zeros(3, bool)
    extents = [_extent(length, side, offset) for length, offset in zip(size, red or (None, None))]
    rows, columns = (
        _indices(rng, length, extent, flip=bool(flip), red=offset)
        for length, extent, flip, offset in zip(size, extents, flips, red or (None, None))
    )
    return Window(rows, columns, transposed=bool(flips[2]) and extents[0] == extents[1])


def _extent(length: int, side: int | None, red: int | None) -> int:
    """Return the number of rows or columns that a window takes of ``length``."""
    # Blocks begin with red, so one block fewer fits if the first row has no red.
    room = length if red is None else (length - red) // 2 * 2
    extent = room if side is None else side
    if extent > room or (red is not None and extent % 2):
        raise ValueError(f"a window of {extent} does not fit into {room} pixels")
    return extent


def _indices(rng: np.random.Generator, length: int, extent: int, *, flip: bool, red: int | None) -> NDArray[np.int64]:
    step = 1 if red is None else 2
    first = red or 0
    start = first + step * int(rng.integers(0, (length - first - extent) // step + 1))
    places = np.arange(extent)
    if not flip:
        return start + places
    # In a mosaic the flipped window starts one pixel further on; see the module's docstring.
    indices = start + extent - 1 - places + (step - 1)
    return np.where(indices >= length, 2 * (length - 1) - indices, indices)
