"""Choose the tiles that memory allows and that take the least time on this machine.

Memory is counted from a pass on meta tensors. Speed is measured once per machine and model, on crops of two sizes, in
both ways of using the cores: all threads on one tile, or one tile per thread; it is kept in the cache folder.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmark.cache import cache_root
from benchmark.conditions import TileSize
from benchmark.counting.trace import trace
from benchmark.fullres.subject import Subject
from benchmark.fullres.tiles.plan import TilePlan, plan_tiles, step_of
from benchmark.fullres.tiles.receptive import OnMeta, Reception
from benchmark.fullres.tiles.run import Workers
from benchmark.host.environment import describe_environment
from benchmark.replacing import replace_text
from zoo.errors import DiskError

VERSION = 1
SIDES = (256, 512)
# What the heap keeps between live tensors.
HEAP_FACTOR = 1.25
# Pixels that could be computed in the time that a tile costs whatever its size.
_TILE_OVERHEAD = 2000


@dataclass(frozen=True)
class Speed:
    """Nanoseconds per crop pixel of one image by side of the crop: all threads on one tile, or one tile per thread."""

    threads: int
    together: dict[int, float]
    apart: dict[int, float]

    def of(self, workers: int, side: float) -> float:
        """Return the time per pixel for crops of about ``side`` pixels, between the measured ones by their area."""
        known = self.apart if workers > 1 else self.together
        sides = sorted(known)
        if side <= sides[0] or len(sides) == 1:
            return known[sides[0]]
        for low, high in pairwise(sides):
            if side <= high:
                part = (side**2 - low**2) / (high**2 - low**2)
                return known[low] + part * (known[high] - known[low])
        return known[sides[-1]]


def unmeasured(threads: int) -> Speed:
    """Return a speed that favours neither way and no size."""
    return Speed(threads, {SIDES[0]: 1.0}, {SIDES[0]: 1.0})


def bytes_per_pixel(subject: Subject, reception: Reception) -> float:
    """Return the peak of live activations of one pass over a small square crop, per crop pixel."""
    side = subject.side(128, step_of(subject, reception, 0))
    planes = torch.empty(1, subject.channels, side, side, device="meta")
    with OnMeta():
        traced = trace(subject.network, planes)
    # The crop is a copy, and its output is there until it is written.
    return traced.peak_activation_bytes / side**2


@dataclass(frozen=True)
class Choice:
    """The tiles' size (height, width) in input pixels, who computes, and the memory that they take."""

    tile: tuple[int, int]
    workers: Workers
    need_bytes: int


def choose_tiles(
    subject: Subject, reception: Reception, tile: TileSize, budget: int, speed: Speed | None = None
) -> Choice | int:
    """Return the fastest tiles of ``reception``'s image within ``budget`` bytes, or the least that any need.

    ``tile`` (height, width): their size is given, and only who computes is chosen. ``speed`` None: no size is faster.
    """
    per_pixel = bytes_per_pixel(subject, reception)
    speed = speed or unmeasured(torch.get_num_threads())
    if isinstance(tile, tuple):
        pixels = math.prod(plan_tiles(subject, reception, tile).largest_crop)
        for workers in (speed.threads, 1):
            need = int(per_pixel * pixels * workers * HEAP_FACTOR)
            if need <= budget:
                return Choice(tile, Workers(workers), need)
        return need
    best: tuple[float, Choice] | None = None
    smallest = math.inf
    for rows in _lengths(subject, reception, 0):
        for columns in _lengths(subject, reception, 1):
            plan = plan_tiles(subject, reception, (rows, columns))
            pixels = math.prod(plan.largest_crop)
            for workers in {1, speed.threads}:
                need = int(per_pixel * pixels * workers * HEAP_FACTOR)
                smallest = min(smallest, need)
                if need > budget:
                    continue
                cost = _cost(plan, workers) * speed.of(workers, math.sqrt(pixels))
                if best is None or cost < best[0]:
                    best = (cost, Choice((rows, columns), Workers(workers), need))
    return int(smallest) if best is None else best[1]


def _cost(plan: TilePlan, workers: int) -> float:
    """Return the pixels to compute, as if each worker had the time of the slowest, and a tile its own beside them."""
    rounds = -(-len(plan) // workers)
    idle = rounds * workers / len(plan)
    return (plan.crop_pixels + len(plan) * _TILE_OVERHEAD) * idle


def _lengths(subject: Subject, reception: Reception, axis: int) -> Iterator[int]:
    """Yield the tile lengths worth a look: the image in 1, 2, 3, ... nearly equal parts, ever more coarsely."""
    step = step_of(subject, reception, axis)
    steps = -(-reception.size[axis] // step)
    count = 1
    while True:
        length = -(-steps // count) * step
        yield length
        if length == step:
            return
        count = min(max(count + 1, int(count * 1.2)), steps)


def speed_of(subject: Subject, step: int) -> Speed:
    """Return a network's speed on this machine with torch's threads: from the cache, else measured (seconds).

    Nothing is measured for a subject without a label. Crops have sides that are multiples of ``step``.
    """
    threads = torch.get_num_threads()
    if subject.label is None:
        return unmeasured(threads)
    here = describe_environment()
    name = f"{here.machine}-torch{here.torch}-threads{threads}-{subject.label}-v{VERSION}.json"
    file = cache_root() / "tiles" / name
    known = _read(file, threads)
    if known is None:
        known = measure_speed(subject.network, subject.channels, step=step)
        _write(file, known)
    return known


def measure_speed(network: nn.Module, channels: int, *, step: int) -> Speed:
    """Time one pass over crops of two sizes, after a first one, in both ways of using torch's threads."""
    threads = torch.get_num_threads()
    together, apart = {}, {}
    for side in SIDES:
        side = -(-side // step) * step
        crop = torch.rand(1, channels, side, side).contiguous(memory_format=torch.channels_last)
        _pass(network, crop)
        start = time.perf_counter()
        _pass(network, crop)
        together[side] = apart[side] = 1e9 * (time.perf_counter() - start) / side**2
        if threads > 1:
            with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                start = time.perf_counter()
                list(pool.map(lambda _: _pass(network, crop), range(threads)))  # noqa: B023
                apart[side] = 1e9 * (time.perf_counter() - start) / (threads * side**2)
            torch.set_num_threads(threads)
    return Speed(threads, together, apart)


def _pass(network: nn.Module, crop: Tensor) -> None:
    with torch.inference_mode():
        network(crop)


def _read(file: Path, threads: int) -> Speed | None:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        kinds = ({int(side): float(ns) for side, ns in value[kind].items()} for kind in ("together", "apart"))
        return Speed(threads, *kinds)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # absent or damaged: measured again


def _write(file: Path, speed: Speed) -> None:
    # A cache that cannot be written costs time and no more.
    with contextlib.suppress(OSError, DiskError):
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_text(file, json.dumps({"together": speed.together, "apart": speed.apart}))
