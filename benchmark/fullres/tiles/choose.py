"""Choose the size of tiles: the memory, counted on meta tensors, must suffice; few pixels are computed twice."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch

from benchmark.conditions import TileSize
from benchmark.counting.trace import trace
from benchmark.fullres.subject import Subject
from benchmark.fullres.tiles.plan import TilePlan, plan_tiles, step_of
from benchmark.fullres.tiles.receptive import OnMeta, Reception
from benchmark.fullres.tiles.run import Workers

# The heap keeps freed memory between tensors in use.
HEAP_FACTOR = 1.25
# The share of an image that tiles of an engine may compute twice to save memory.
_TWICE = 0.15


def bytes_per_pixel(subject: Subject, reception: Reception) -> float:
    """Return the peak of live activations of one pass over a small square crop, per crop pixel."""
    side = subject.side(128, step_of(subject, reception, 0))
    planes = torch.empty(1, subject.channels, side, side, device="meta")
    with OnMeta():
        traced = trace(subject.network, planes)
    # The crop is a copy, and its output is kept until it is written.
    return traced.peak_activation_bytes / side**2


@dataclass(frozen=True)
class Choice:
    """How an image is cut into tiles, the workers that compute them, and the memory that they need."""

    plan: TilePlan
    workers: Workers
    need_bytes: int


def choose_tiles(subject: Subject, reception: Reception, tile: TileSize, budget: int) -> Choice:
    """Return the tiles of ``reception``'s image within ``budget`` bytes that compute least twice, or else the smallest.

    Tiles chosen here run one by one with all threads. ``tile`` (height, width): their size is given, and they run one
    per thread if there is memory for that. Crops for an engine, which compiles for each size, have one size; of those
    that compute few pixels twice, the smallest are taken.
    """
    per_pixel = bytes_per_pixel(subject, reception)
    if isinstance(tile, tuple):
        sizes, counts = [tile], [torch.get_num_threads(), 1]
    else:
        rows, columns = (list(_lengths(subject, reception, axis)) for axis in (0, 1))
        sizes, counts = list(product(rows, columns)), [1]
    choices = []
    for size in sizes:
        plan = plan_tiles(subject, reception, size, equal=subject.engine is not None)
        crop_bytes = per_pixel * math.prod(plan.largest_crop) * HEAP_FACTOR
        choices += [Choice(plan, Workers(count), int(crop_bytes * count)) for count in counts]
    fitting = [choice for choice in choices if choice.need_bytes <= budget]
    if not fitting:
        return min(choices, key=lambda choice: choice.need_bytes)
    few = (1 + _TWICE) * math.prod(reception.size)
    frugal = [choice for choice in fitting if choice.plan.crop_pixels <= few]
    if subject.engine is not None and frugal:
        return min(frugal, key=lambda choice: (choice.need_bytes, choice.plan.crop_pixels))
    return min(fitting, key=lambda choice: choice.plan.crop_pixels)


def _lengths(subject: Subject, reception: Reception, axis: int) -> Iterator[int]:
    """Yield the tile lengths to try: the image in 1, 2, 3, ... nearly equal parts, later with larger steps."""
    step = step_of(subject, reception, axis)
    steps = -(-reception.size[axis] // step)
    count = 1
    while True:
        length = -(-steps // count) * step
        yield length
        if length == step:
            return
        count = min(max(count + 1, int(count * 1.2)), steps)
