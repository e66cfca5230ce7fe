"""Decide how an image of any size goes through a network: whole, in strips, in tiles, or in bands.

A network goes in pieces only where that is known to give the whole image's output: every operator is followed by a rule
that covers it with its arguments, and a network that no test of ours has seen is compared with the whole on small
images. Everything else goes whole, with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cached_property

import torch
from torch import Tensor, nn

from benchmark.conditions import TileSize
from benchmark.counting.trace import Trace, trace
from benchmark.fullres.bands.plan import BandSizes
from benchmark.fullres.bands.run import banded_peak_bytes, run_banded
from benchmark.fullres.checking import Forward, check_pieces, small_sizes
from benchmark.fullres.execution import Execution, Mode
from benchmark.fullres.hyper import Anatomy, dissect, hyper_layers, release_filters
from benchmark.fullres.inexact import InexactError, planned
from benchmark.fullres.strips.descent import FilterStrips, find_filter_strips, find_strips
from benchmark.fullres.subject import Subject
from benchmark.fullres.tiles.calls import difference
from benchmark.fullres.tiles.choose import (
    HEAP_FACTOR,
    Choice,
    budget_of,
    bytes_per_pixel,
    choose,
    speed_of,
    too_small,
    unmeasured,
)
from benchmark.fullres.tiles.plan import TilePlan, plan_tiles, step_of
from benchmark.fullres.tiles.probe import approximate_reception, measure_seams, tiled_sizes
from benchmark.fullres.tiles.receptive import OnMeta, Reception
from benchmark.fullres.tiles.run import Workers
from benchmark.fullres.untouched import untouched
from benchmark.host import machine
from benchmark.reporting import Reporter
from benchmark.units import MIB
from zoo.errors import UserError, in_one_line

# Images up to this many input pixels go through whole, unless something else is asked for.
SMALL_PIXELS = 512 * 512
# What tiles take where no limit is set: larger ones are hardly faster.
USUAL_BYTES = 768 * MIB
# A few rows at a time, and nothing whole that can be banded: for small images on which bands are compared.
THIN = BandSizes(strip_bytes=32 << 10, small_bytes=0)


def run_full(
    network: nn.Module,
    planes: Tensor,
    *,
    tile: TileSize = "auto",
    memory_limit: int | None = None,
    approximate: bool = False,
    multiple: int = 1,
    least: int = 1,
    out: Tensor | None = None,
    reporter: Reporter | None = None,
) -> Tensor:
    """Run ``network`` on images (N, C, H, W) of any size and return its output (N, C', H', W').

    ``tile``: "auto" decides, "off" runs the whole image, (height, width) are input pixels. Outputs equal those of the
    whole image, up to the order of additions; a network for which tiles cannot give them is refused, unless
    ``approximate``, whose seams are measured and reported. ``memory_limit``: resident bytes of this process.
    """
    subject = Subject(network.eval(), planes.shape[1], multiple, least)
    how = plan_execution(
        subject, planes, tile=tile, memory_limit=memory_limit, approximate=approximate, reporter=reporter
    )
    return how.run(planes, out)


def plan_execution(
    subject: Subject,
    planes: Tensor,
    *,
    tile: TileSize = "auto",
    memory_limit: int | None = None,
    approximate: bool = False,
    keep_filters: bool = False,
    output_bytes: int | None = None,
    by_torch: bool = True,
    heap_factor: float = 1.0,
    reporter: Reporter | None = None,
) -> Execution:
    """Decide how images like ``planes`` (N, C, H, W) go through a network.

    ``output_bytes`` of memory that the output takes (default: all of it; 0 for a file). ``keep_filters``: those of a
    hyper-network are to be kept, which takes a plan for the whole image in one piece, too. ``by_torch`` False: an
    engine runs images and crops, and has no bands. ``heap_factor``: how many times what lives the process will hold,
    where its heap keeps what is freed; counts under a limit. Raises UserError for tiles that would not be exact, and
    for a limit that is too small.
    """
    reporter = reporter or Reporter()
    size = (planes.shape[-2], planes.shape[-1])
    small = size[0] * size[1] <= SMALL_PIXELS and memory_limit is None
    decision = _Decision(subject, planes, memory_limit, output_bytes, keep_filters, by_torch, heap_factor, reporter)
    if tile == "off" or (tile == "auto" and small and not approximate):
        return decision.one_piece("")
    try:
        return decision.automatic() if tile == "auto" else decision.in_tiles(tile)
    except InexactError as error:
        if approximate:
            return decision.approximate(tile)
        why = str(error).rstrip(".")
        if tile != "auto":
            raise UserError(f"--tile {tile[0]}x{tile[1]}: {why}. Use --tile off, or --approximate.") from error
        return decision.whole(why)


class _Decision:
    """What is known on the way to an execution for images of one size."""

    def __init__(
        self,
        subject: Subject,
        planes: Tensor,
        memory_limit: int | None,
        output_bytes: int | None,
        keep_filters: bool,
        by_torch: bool,
        heap_factor: float,
        reporter: Reporter,
    ) -> None:
        self.subject, self.planes, self.memory_limit, self.reporter = subject, planes, memory_limit, reporter
        self.size = (planes.shape[-2], planes.shape[-1])
        self.output_bytes, self.keep_filters, self.by_torch = output_bytes, keep_filters, by_torch
        self.heap_factor = heap_factor if memory_limit is not None else 1.0
        self._anatomies: dict[tuple[int, int], Anatomy] = {}

    # --- what there is

    def automatic(self) -> Execution:
        """Return an execution in pieces that equals the whole; raises InexactError where there is none."""
        if not self.by_torch:
            return self.in_tiles("auto")
        is_hyper = bool(hyper_layers(self.subject.network))
        if self.subject.trusted and self.subject.global_ops and not is_hyper:
            # What a hyper-network's filters see of the image is found before its strips.
            raise InexactError("the network has operations that see the whole image")
        passes = self._anatomy().passes if is_hyper else ()
        if len(passes) > 1 and self._whole_fits():
            # Each further pass runs the network as far as the next layer.
            return self.one_piece(f"its filters would take {len(passes)} passes over the image")
        how = self._in_strips(self.size)
        if how is None:
            # The thinnest strips take more than there is; tiles are narrower.
            return self.in_tiles("auto")
        if not self.subject.trusted:
            self._check(small_sizes(self.subject, self.size), self._thin_strips)
        return how

    def in_tiles(self, tile: TileSize) -> Execution:
        """Return an execution in tiles that equals the whole; raises InexactError where there is none."""
        subject, anatomy = self.subject, self._anatomy()
        self._refuse_global(anatomy.forward)
        filters = self._filter_strips(self.size)
        choice = self._choice(anatomy.forward, tile)
        plan = self._plan(anatomy.forward, choice.tile)
        if not subject.trusted:
            self._refuse_other_crops(anatomy.forward, plan)
            self._check(tiled_sizes(subject, anatomy.forward), self._small_tiles)
        mode: Mode = "filters, then tiles" if filters else "tiles"
        need = max(choice.need_bytes, filters.peak_bytes if filters else 0)
        output = _output_of(anatomy.forward)
        return Execution(subject, mode, output, plan=plan, filters=filters, workers=choice.workers, need_bytes=need)

    def one_piece(self, why: str) -> Execution:
        """Return an execution on the whole image."""
        return Execution(self.subject, why=why)

    def approximate(self, tile: TileSize) -> Execution:
        """Return an execution in tiles that are not exact, with the seams as measured."""
        subject = self.subject
        release_filters(subject.network)
        self._anatomies.clear()
        reception = approximate_reception(self._anatomy().forward)
        choice = self._choice(reception, tile)
        plan = self._plan(reception, choice.tile)
        seams = measure_seams(subject.network, self.planes[:1], plan, multiple=subject.multiple, least=subject.least)
        self.reporter.note(seams.text)
        output = _output_of(reception)
        return Execution(
            subject, "approximate tiles", output, plan=plan,
            workers=choice.workers, need_bytes=choice.need_bytes, seams=seams,
        )  # fmt: skip

    def whole(self, why: str) -> Execution:
        """Return an execution on the whole image: in bands, which take less memory and time, or in one piece.

        Raises UserError where a limit leaves too little for either.
        """
        if self.subject.global_ops:
            why = f"the network has operations that see the whole image: {'; '.join(self.subject.global_ops)}"
        need = self._whole_bytes()
        need = None if need is None else int(self.heap_factor * need)
        least = None if self.keep_filters else self._banded_bytes()
        if self.by_torch and least is not None and (need is None or least < need):
            has_room = self.memory_limit is None or least <= self._room(least)
            if has_room and self._bands_hold():
                return Execution(self.subject, "bands", need_bytes=least, why=why)
        if self.memory_limit is None or self.keep_filters or (need is not None and need <= self._room(need)):
            return self.one_piece(why)
        raise self._no_room(why, need, least)

    def _no_room(self, why: str, need: int | None, least: int | None) -> UserError:
        assert self.memory_limit is not None
        limit, used = f"--memory-limit {self.memory_limit / MIB:.0f}MiB", self.memory_limit - self._room(0)
        if need is None:
            return UserError(
                f"{limit}: {why}, and what the whole image of {self.size[0]}x{self.size[1]} needs cannot be counted"
                " beforehand; leave the limit out."
            )
        if least is not None and least <= self._room(0) and not self.by_torch:
            return UserError(f"{limit}: {why}; only torch runs bands; use --backend torch.")
        bands = "" if least is None else f", {(used + least) / MIB:.0f}MiB in bands"
        return UserError(
            f"{limit}: the whole image of {self.size[0]}x{self.size[1]} needs {(used + need) / MIB:.0f}MiB{bands}, and"
            f" {why}. --approximate tiles it and measures the seams."
        )

    def _check(self, sizes: Iterable[tuple[int, int]], pieces_of: Callable[[Tensor], Forward]) -> None:
        check_pieces(self.subject, sizes, pieces_of, images=self.planes.shape[0])

    # --- strips and bands

    def _in_strips(self, size: tuple[int, int], rows: int | None = None) -> Execution | None:
        """Return an execution in strips, for tests of ``rows`` input rows; None where the budget allows none."""
        subject = self.subject
        filters = self._filter_strips(size, rows)
        whole = 0.0 if rows else self._live_bytes
        strips = planned(
            "strips",
            lambda: find_strips(subject.network, subject.channels, size, self._budget(), whole, rows),
        )
        if strips is None:
            return None
        mode: Mode = "filters, then strips" if filters else "strips"
        need = max(filters.peak_bytes if filters else 0, strips.plan.peak_bytes)
        shape = strips.plan.graph.output.shape or ()
        return Execution(subject, mode, (shape[1], shape[2], shape[3]), strips=strips, filters=filters, need_bytes=need)

    def _filter_strips(self, size: tuple[int, int], rows: int | None = None) -> FilterStrips | None:
        """Return how a hyper-network's filters are found in strips; None where there are no filters to find."""
        subject = self.subject
        if not hyper_layers(subject.network):
            return None
        passes = self._anatomy(size).passes
        if not passes:
            return None
        whole = 0.0 if rows else self._live_bytes
        budget = self._budget()
        found = planned(
            "strips",
            lambda: find_filter_strips(subject.network, subject.channels, size, budget, whole, passes, rows),
        )
        if isinstance(found, int):
            raise self._too_small(found)
        return found

    def _thin_strips(self, planes: Tensor) -> Callable[[Tensor], Tensor]:
        how = self._in_strips((planes.shape[-2], planes.shape[-1]), rows=8)
        if how is None:
            raise InexactError("there is no room for strips of a small image")
        return how.run

    def _bands_hold(self) -> bool:
        """Whether bands equal the whole, where nobody has tested the network."""
        subject = self.subject
        if subject.trusted:
            return True
        try:
            self._check(
                small_sizes(subject, self.size),
                lambda planes: lambda images: run_banded(subject.network, images, sizes=THIN),
            )
        except InexactError as error:
            self.reporter.detail(f"bands: {error}")
            return False
        return True

    def _banded_bytes(self) -> int | None:
        """Return what bands take; None where the network's operators cannot be listed beforehand."""
        try:
            shape = (1, self.subject.channels, *self.size)
            return int(self.heap_factor * planned("bands", lambda: banded_peak_bytes(self.subject.network, shape)))
        except InexactError as error:
            self.reporter.detail(f"bands: {error}")
            return None

    # --- tiles

    def _anatomy(self, size: tuple[int, int] | None = None) -> Anatomy:
        size = size or self.size
        if size not in self._anatomies:
            self._anatomies[size] = dissect(self.subject.network, self.subject.channels, size)
        return self._anatomies[size]

    def _refuse_global(self, reception: Reception) -> None:
        if reception.reach is not None:
            return
        seen = [cause.text for cause in reception.causes if cause.kind == "global"]
        if seen or self.subject.global_ops:
            names = "; ".join(self.subject.global_ops) or ", ".join(dict.fromkeys(seen[:3]))
            raise InexactError(f"the network has operations that see the whole image: {names}")
        lost = reception.causes[0].text if reception.causes else "what it returns, which does not come from the image"
        raise InexactError(f"the network cannot be followed through {lost}")

    def _refuse_other_crops(self, reception: Reception, plan: TilePlan) -> None:
        """Raise InexactError where a crop would be run by other operations than the whole image."""
        sizes = {tile.crop_size for tile in plan} - {reception.size}
        for size in sorted(sizes):
            if (name := difference(reception.calls, self._anatomy(size).forward.calls)) is not None:
                raise InexactError(
                    f"on a crop of {size[0]}x{size[1]} the network runs {name} in another way than on the whole image"
                )

    def _small_tiles(self, planes: Tensor) -> Callable[[Tensor], Tensor]:
        subject, size = self.subject, (planes.shape[-2], planes.shape[-1])
        reception = self._anatomy(size).forward
        self._refuse_global(reception)
        plan = plan_tiles(
            reception, (max(1, size[0] // 3), max(1, size[1] // 3)), multiple=subject.multiple, least=subject.least
        )
        self._refuse_other_crops(reception, plan)
        filters = self._filter_strips(size, rows=8)
        return Execution(subject, "tiles", _output_of(reception), plan=plan, filters=filters).run

    def _choice(self, reception: Reception, tile: TileSize) -> Choice:
        subject, step = self.subject, step_of(reception, 0, self.subject.multiple)
        side = -(-max(subject.least, 128) // step) * step
        per_pixel = bytes_per_pixel(subject.network, subject.channels, side)
        budget = self._budget()
        if tile == "auto":
            speed = speed_of(subject.label, subject.network, subject.channels, step=step)
            found = choose(
                reception,
                per_pixel=per_pixel,
                budget=budget,
                speed=speed,
                multiple=subject.multiple,
                least=subject.least,
            )
            if isinstance(found, int):
                raise self._too_small(found)
            return found
        assert tile != "off"
        speed = unmeasured(torch.get_num_threads())
        height, width = self._plan(reception, tile).largest_crop
        for workers in (speed.threads, 1):
            need = int(per_pixel * height * width * workers * HEAP_FACTOR)
            if need <= budget:
                return Choice(tile, Workers(workers), need)
        raise self._too_small(need)

    def _plan(self, reception: Reception, tile: tuple[int, int]) -> TilePlan:
        return plan_tiles(
            reception, tile, multiple=self.subject.multiple, least=self.subject.least, equal=not self.by_torch
        )

    # --- memory

    def _budget(self) -> int:
        return int(self._room(USUAL_BYTES) / self.heap_factor) - self._output_bytes()

    def _room(self, usual: int) -> int:
        return budget_of(self.memory_limit, machine.resident_bytes(), machine.available_memory(), usual)

    def _output_bytes(self) -> int:
        """Return what the output takes of the room under a limit."""
        if self.memory_limit is None:
            return 0
        if self.output_bytes is not None:
            return self.output_bytes
        if self._traced is None:
            raise InexactError("the network cannot be followed without data, and what it needs cannot be counted")
        return 4 * self.planes.shape[0] * math.prod(self._traced.output_shape)

    def _too_small(self, needed: int) -> UserError:
        needed = int(self.heap_factor * (needed + self._output_bytes()))
        return too_small(self.memory_limit, self._room(USUAL_BYTES), needed)

    @cached_property
    def _traced(self) -> Trace | None:
        """What a pass over the whole image does; None where it cannot be followed without data."""
        planes = torch.empty(1, self.subject.channels, *self.size, device="meta")
        try:
            with OnMeta(), untouched(self.subject.network):
                return trace(self.subject.network, planes)
        except Exception as error:
            self.reporter.detail(f"memory: not counted ({in_one_line(error)})")
            return None

    @property
    def _live_bytes(self) -> float:
        return self._traced.peak_activation_bytes if self._traced else 0.0

    def _whole_bytes(self) -> int | None:
        return int(1.25 * self._traced.peak_workspace_bytes) if self._traced else None

    def _whole_fits(self) -> bool:
        there, need = machine.available_memory(), self._whole_bytes()
        if self.memory_limit is not None:
            there = budget_of(self.memory_limit, machine.resident_bytes(), there, 0)
        if there is None or need is None:
            return there is None
        return need <= (there if self.memory_limit is not None else there // 2)


def _output_of(reception: Reception) -> tuple[int, int, int]:
    return (reception.output_channels, *reception.output_size)
