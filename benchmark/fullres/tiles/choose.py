"""Which tiles: as few pixels computed twice as memory allows, at the speeds that this machine showed for crop sizes.

Memory is counted from a pass on meta tensors. Speed is measured once per machine and model, on crops of two sizes, in
both ways of using the cores: all threads on one tile, or one tile per thread; it is kept in the cache folder.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmark.cache import cache_root
from benchmark.counting.trace import trace
from benchmark.fullres.tiles.plan import cut, step_of
from benchmark.fullres.tiles.receptive import OnMeta, Reception
from benchmark.fullres.tiles.run import Workers
from benchmark.host.environment import describe_environment
from benchmark.replacing import replace_text
from benchmark.units import MIB
from zoo.errors import DiskError, UserError

VERSION = 1
SIDES = (256, 512)
# What the heap keeps between live tensors, and what is not tensors: code, threads' buffers.
HEAP_FACTOR, RESERVE_BYTES = 1.25, 64 << 20
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


def bytes_per_pixel(network: nn.Module, channels: int, side: int) -> float:
    """Return the peak of live activations of one pass over a crop of ``side`` pixels squared, per crop pixel."""
    planes = torch.empty(1, channels, side, side, device="meta")
    with OnMeta():
        traced = trace(network, planes)
    # The crop is a copy, and its output is there until it is written.
    return traced.peak_activation_bytes / side**2


@dataclass(frozen=True)
class Choice:
    """The tiles' size (height, width) in input pixels, who computes, and the memory that they take."""

    tile: tuple[int, int]
    workers: Workers
    need_bytes: int


def choose(
    reception: Reception,
    *,
    per_pixel: float,
    budget: int,
    speed: Speed,
    multiple: int = 1,
    least: int = 1,
) -> Choice | int:
    """Return the fastest tiles of ``reception``'s image within ``budget`` bytes, or the least that any need."""
    best: tuple[float, Choice] | None = None
    smallest = math.inf
    for rows in _lengths(reception, 0, multiple):
        for columns in _lengths(reception, 1, multiple):
            extent = _extent(reception, (rows, columns), multiple, least)
            pixels = extent.largest
            for workers in {1, speed.threads}:
                need = int(per_pixel * pixels * workers * HEAP_FACTOR)
                smallest = min(smallest, need)
                if need > budget:
                    continue
                cost = extent.cost(workers) * speed.of(workers, math.sqrt(pixels))
                if best is None or cost < best[0]:
                    best = (cost, Choice((rows, columns), Workers(workers), need))
    return int(smallest) if best is None else best[1]


@dataclass(frozen=True)
class _Extent:
    """Of a plan: tiles, pixels of its largest crop and of all."""

    tiles: int
    largest: int
    total: int

    def cost(self, workers: int) -> float:
        rounds = -(-self.tiles // workers)
        idle = rounds * workers / self.tiles
        return (self.total + self.tiles * _TILE_OVERHEAD) * idle


def _extent(reception: Reception, tile: tuple[int, int], multiple: int, least: int) -> _Extent:
    assert reception.reach is not None
    tiles, largest, total = 1, 1, 1
    for axis in (0, 1):
        step = step_of(reception, axis, multiple)
        pieces = cut(reception.size[axis], tile[axis], reception.reach[axis], step=step, least=least)
        lengths = [piece.crop_end - piece.crop_start for piece in pieces]
        tiles, largest, total = tiles * len(pieces), largest * max(lengths), total * sum(lengths)
    return _Extent(tiles, largest, total)


def _lengths(reception: Reception, axis: int, multiple: int) -> Iterator[int]:
    """Yield the tile lengths worth a look: the image in 1, 2, 3, ... nearly equal parts, ever more coarsely."""
    step = step_of(reception, axis, multiple)
    steps = -(-reception.size[axis] // step)
    count = 1
    while True:
        length = -(-steps // count) * step
        yield length
        if length == step:
            return
        count = min(max(count + 1, int(count * 1.2)), steps)


def speed_of(
    label: str | None, network: nn.Module, channels: int, *, step: int, advance: Callable[[], None] = lambda: None
) -> Speed:
    """Return the speed of ``network`` on this machine with torch's threads: from the cache, else measured (seconds).

    ``label`` names the network and all that decides its speed; without one nothing is measured. ``step``: sides that
    the network takes are its multiples.
    """
    threads = torch.get_num_threads()
    if label is None:
        return unmeasured(threads)
    here = describe_environment()
    file = cache_root() / "tiles" / f"{here.machine}-torch{here.torch}-threads{threads}-{label}-v{VERSION}.json"
    known = _read(file, threads)
    if known is None:
        known = measure_speed(network, channels, step=step)
        _write(file, known)
    advance()
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


def budget_of(memory_limit: int | None, resident: int | None, available: int | None, usual: int) -> int:
    """Return the bytes that tiles may take: under a limit what it leaves, else ``usual`` or half of what is there."""
    if memory_limit is not None:
        return memory_limit - (resident or 0) - RESERVE_BYTES
    return usual if available is None else min(usual, available // 2)


def too_small(memory_limit: int | None, budget: int, needed: int) -> UserError:
    """Return the error for a limit that leaves less than the smallest tile needs."""
    if memory_limit is None:
        return UserError(
            f"not enough memory: the smallest tile needs {needed / MIB:.0f} MiB, {budget / MIB:.0f} are free."
        )
    least = memory_limit - budget + needed
    return UserError(
        f"--memory-limit {memory_limit / MIB:.0f}MiB: this network needs at least {math.ceil(least / MIB)}MiB here,"
        f" with the smallest tile; {(memory_limit - budget) / MIB:.0f} of them are in use before it starts."
    )


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
