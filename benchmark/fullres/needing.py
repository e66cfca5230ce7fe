"""What images take at least, by counting on meta tensors: decides whether a measurement can run at all."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

from benchmark.conditions import TileSize
from benchmark.fullres.bands.run import banded_peak_bytes
from benchmark.fullres.deciding import SMALL_PIXELS
from benchmark.fullres.hyper import dissect
from benchmark.fullres.inexact import InexactError, planned
from benchmark.fullres.subject import Subject
from benchmark.fullres.tiles.choose import HEAP_FACTOR, bytes_per_pixel, choose, unmeasured
from benchmark.fullres.tiles.plan import plan_tiles, step_of
from benchmark.fullres.tiles.probe import approximate_reception
from benchmark.fullres.tiles.receptive import Reception


def least_need(
    subject: Subject,
    shape: Sequence[int],
    tile: TileSize,
    *,
    memory_limit: int | None = None,
    approximate: bool = False,
    by_torch: bool = True,
) -> int | None:
    """Return the bytes, output included, that images (N, C, H, W) take beside network and input when memory is short.

    None: they go through whole, or no other way is known. ``subject.network`` may be on meta.
    """
    size = (shape[-2], shape[-1])
    if tile == "off" or (tile == "auto" and size[0] * size[1] <= SMALL_PIXELS and memory_limit is None):
        return None
    try:
        reception = dissect(subject.network, subject.channels, size).forward
    except InexactError:
        return None
    output = 4 * shape[0] * reception.output_channels * math.prod(reception.output_size)
    if reception.reach is None:
        if not approximate:
            return _in_bands(subject, shape) if by_torch and tile == "auto" else None
        reception = approximate_reception(reception)
    return output + _in_tiles(subject, reception, tile)


def _in_tiles(subject: Subject, reception: Reception, tile: TileSize) -> int:
    step = step_of(reception, 0, subject.multiple)
    per_pixel = bytes_per_pixel(subject.network, subject.channels, -(-max(subject.least, 128) // step) * step)
    multiple, least = subject.multiple, subject.least
    if isinstance(tile, tuple):
        crop = plan_tiles(reception, tile, multiple=multiple, least=least).largest_crop
        return int(per_pixel * math.prod(crop) * HEAP_FACTOR)
    # No choice fits in less than nothing: what comes back is the least of them.
    needed = choose(reception, per_pixel=per_pixel, budget=-1, speed=unmeasured(1), multiple=multiple, least=least)
    assert isinstance(needed, int)
    return needed


def _in_bands(subject: Subject, shape: Sequence[int]) -> int | None:
    try:
        # Its operators are listed with weights on the CPU, which nobody looks at: memory that is never touched.
        network = copy.deepcopy(subject.network).to_empty(device="cpu")
        return planned("bands", lambda: banded_peak_bytes(network, (1, *shape[1:])))
    except InexactError:
        return None
