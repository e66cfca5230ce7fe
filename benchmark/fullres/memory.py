"""How much memory is available for an image, and how much each way to run a network needs; nothing is run."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from benchmark.conditions import TileSize
from benchmark.counting.trace import Trace, trace
from benchmark.fullres.bands.plan import USUAL_SIZES, BandPlan, BandSizes, plan_bands
from benchmark.fullres.hyper import dissect
from benchmark.fullres.inexact import InexactError, planned
from benchmark.fullres.strips.plan import ROWS
from benchmark.fullres.subject import Subject
from benchmark.fullres.tiles.choose import choose_tiles
from benchmark.fullres.tiles.probe import approximate_reception
from benchmark.fullres.tiles.receptive import OnMeta
from benchmark.fullres.untouched import untouched
from benchmark.host import machine
from benchmark.reporting import Reporter
from benchmark.units import MIB
from zoo.errors import UserError, in_one_line

# The memory that a process needs besides tensors: code and the buffers of threads.
RESERVE_BYTES = 64 * MIB
# Convolutions and the heap need memory in addition to the tensors of a whole image.
_WHOLE_FACTOR = 1.25
# With the freed blocks that a heap keeps, tiles have taken up to this many times what they need.
_KEPT_FACTOR = 8
# The tiles of an engine may take this part of what the whole image takes.
_ENGINE_SHARE = 0.2


@dataclass(frozen=True)
class Thresholds:
    """The limits at which one way of running takes over from another; tests set others to see all ways on small images.

    Images of up to ``small_pixels`` run whole, unless the user asks for something else. ``usual_bytes``: the memory of
    pieces if no limit is set; larger pieces are hardly faster. ``strip_rows``: rows of the input in a strip, the best
    first. A hyper-network whose filters take more than ``most_passes`` over the image runs whole if that fits.
    """

    small_pixels: int = 512 * 512
    usual_bytes: int = 768 * MIB
    strip_rows: tuple[int, ...] = ROWS
    most_passes: int = 1
    band_sizes: BandSizes = USUAL_SIZES


USUAL = Thresholds()


def set_heap(*, keep: bool, in_pieces: bool = True) -> bool:
    """Set for the rest of the process whether the C library keeps freed memory or gives it back; return if this works.

    Memory that is kept need not be taken again page by page, but the freed memory in the heap can be up to four times
    the memory in use (``python -m speed memory --tiles``), which is more than a limit allows for. ``in_pieces`` is for
    images in pieces, which need blocks of the same sizes again and again: all threads share one heap, and small blocks
    are kept.
    """
    if in_pieces:
        machine.use_one_heap()
    if keep:
        return machine.keep_free_memory()
    return machine.give_large_blocks_back() if in_pieces else machine.give_memory_back()


def spare_heap(limit: int, need_bytes: int) -> None:
    """Let the heap give nearly all freed memory back if tiles of ``need_bytes`` leave no room for it within ``limit``.

    This takes half as long again, so it is done only there. Crops of different sizes at the image's edges and inside
    leave more freed blocks between used ones than strips, which all have one width.
    """
    room = limit - (machine.resident_bytes() or 0) - RESERVE_BYTES
    if _KEPT_FACTOR * need_bytes > room:
        machine.give_blocks_back()


@dataclass(kw_only=True)
class Memory:
    """The memory available for images like ``planes`` (N, C, H, W), and what each way to run ``subject`` needs.

    ``limit``: resident bytes of this process (None: no limit). ``heap_factor``: the memory that the process holds over
    the memory of its tensors in use, where its heap keeps freed memory; it is used only under a limit.
    ``mapped_output``: whether the output goes to a file and takes no memory.
    """

    subject: Subject
    planes: Tensor
    limit: int | None = None
    heap_factor: float = 1.0
    mapped_output: bool = False
    thresholds: Thresholds = USUAL
    reporter: Reporter = field(default_factory=Reporter)

    def __post_init__(self) -> None:
        """Without a limit, set the heap factor to 1: freed memory that the heap keeps is not counted."""
        self.size = (self.planes.shape[-2], self.planes.shape[-1])
        self.heap_factor = self.heap_factor if self.limit is not None else 1.0
        # With joined kernels (False) and with the network's own.
        self._bands: dict[bool, BandPlan | None] = {}

    # --- the memory available

    def room(self) -> int:
        """Return the bytes for pieces: what the limit leaves; without one, the usual, at most half the free memory.

        For an engine a part of what the whole image takes is as usual.
        """
        if self.limit is not None:
            return self.limit - (machine.resident_bytes() or 0) - RESERVE_BYTES
        available, usual = machine.available_memory(), self.thresholds.usual_bytes
        if self.subject.engine is not None:
            # An engine has only tiles, and those of a network that sees far compute much twice if they are small.
            usual = max(usual, int(_ENGINE_SHARE * (self.whole_bytes or 0)))
        return usual if available is None else min(usual, available // 2)

    def budget(self) -> int:
        """Return the bytes that the tensors of pieces may take, without the output."""
        return int(self.room() / self.heap_factor) - self.output_bytes

    def most(self) -> int:
        """Return the bytes of pieces that are still accepted: the budget; without a limit, half of the free memory."""
        available = machine.available_memory() if self.limit is None else None
        return self.budget() if available is None else max(self.budget(), available // 2)

    def too_small(self, needed: int) -> UserError:
        """Return the error for when less memory is left than the ``needed`` bytes of the smallest pieces."""
        room, needed = self.room(), int(self.heap_factor * (needed + self.output_bytes))
        if self.limit is None:
            return UserError(
                f"not enough memory: the smallest tile needs {needed / MIB:.0f} MiB, {room / MIB:.0f} are free."
            )
        used = self.limit - room
        return UserError(
            f"--memory-limit {self.limit / MIB:.0f}MiB: this network needs at least"
            f" {math.ceil((used + needed) / MIB)}MiB here, with the smallest tile; {used / MIB:.0f} of them are in use"
            " before it starts."
        )

    # --- what the whole image needs

    @cached_property
    def _traced(self) -> Trace | None:
        """The trace of a pass over the whole image; None if the network cannot be traced without data."""
        planes = torch.empty(1, self.subject.channels, *self.size, device="meta")
        try:
            with OnMeta(), untouched(self.subject.network):
                return trace(self.subject.network, planes)
        except Exception as error:
            self.reporter.detail(f"memory: not counted ({in_one_line(error)})")
            return None

    @property
    def output_bytes(self) -> int:
        """The part of a limit that the output takes; 0 without a limit and for a mapped output."""
        if self.limit is None or self.mapped_output:
            return 0
        if self._traced is None:
            raise InexactError("the network cannot be followed without data, and what it needs cannot be counted")
        return 4 * self.planes.shape[0] * math.prod(self._traced.output_shape)

    @property
    def live_bytes(self) -> float:
        """The largest sum of tensors in use at once in a pass over the whole image; 0 if it is not known."""
        return self._traced.peak_activation_bytes if self._traced else 0.0

    @property
    def whole_bytes(self) -> int | None:
        """The memory that a pass over the whole image needs; None if it is not known."""
        return int(_WHOLE_FACTOR * self._traced.peak_workspace_bytes) if self._traced else None

    @property
    def whole_fits(self) -> bool:
        """Whether a pass over the whole image fits in the limit, or in half of the free memory if there is no limit."""
        there = self.room() if self.limit is not None else machine.available_memory()
        if there is None or self.whole_bytes is None:
            return there is None
        return self.whole_bytes <= (there if self.limit is not None else there // 2)

    # --- what bands need

    def bands(self, *, exact_kernels: bool) -> BandPlan | None:
        """Return the plan of bands; None if the network's operators cannot be listed beforehand."""
        if exact_kernels not in self._bands:
            self._bands[exact_kernels] = self._plan_bands(exact_kernels)
        return self._bands[exact_kernels]

    def _plan_bands(self, exact_kernels: bool) -> BandPlan | None:
        network, shape, sizes = self.subject.network, (1, self.subject.channels, *self.size), self.thresholds.band_sizes
        try:
            return planned("bands", lambda: plan_bands(network, shape, sizes, exact_kernels=exact_kernels))
        except InexactError as error:
            self.reporter.detail(f"bands: {error}")
            return None


def least_need(
    subject: Subject,
    shape: Sequence[int],
    tile: TileSize,
    *,
    memory_limit: int | None = None,
    approximate: bool = False,
    by_torch: bool = True,
    exact_kernels: bool = False,
) -> int | None:
    """Return the least bytes, output included, that images (N, C, H, W) need in addition to network and input.

    None: they run whole, or no other way is known. ``subject.network`` may be on the meta device.
    """
    size = (shape[-2], shape[-1])
    if tile == "off" or (tile == "auto" and size[0] * size[1] <= USUAL.small_pixels and memory_limit is None):
        return None
    try:
        reception = dissect(subject.network, subject.channels, size).forward
        if reception.reach is None and not approximate:
            if not by_torch or tile != "auto":
                return None
            # Listing its operators needs weights on the CPU; their values are never read, so they take no memory.
            network = copy.deepcopy(subject.network).to_empty(device="cpu")
            return planned("bands", lambda: plan_bands(network, shape, exact_kernels=exact_kernels)).peak_bytes
    except InexactError:
        return None
    if reception.reach is None:
        reception = approximate_reception(reception)
    # No tiles fit in a negative budget, so the choice falls on those that need the least.
    needed = choose_tiles(subject, reception, tile, budget=-1).need_bytes
    return needed + 4 * shape[0] * reception.output_channels * math.prod(reception.output_size)
