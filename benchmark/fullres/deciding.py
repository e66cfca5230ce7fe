"""Decide how an image of any size goes through a network: whole, in strips, in tiles, or in bands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from benchmark.conditions import TileSize
from benchmark.counting.trace import trace
from benchmark.fullres.bands.run import banded_peak_bytes
from benchmark.fullres.execution import Execution, Mode, Subject
from benchmark.fullres.hyper import Anatomy, dissect, release_filters, together
from benchmark.fullres.strips.descent import find_filter_strips, find_strips
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
from benchmark.fullres.tiles.plan import Plan, make_plan, step_of
from benchmark.fullres.tiles.probe import (
    approximate_reception,
    check_tiles,
    measure_seams,
    probe_planes,
    probe_size,
)
from benchmark.fullres.tiles.receptive import OnMeta, Reception
from benchmark.fullres.tiles.run import Workers
from benchmark.host import machine
from benchmark.reporting import Reporter
from benchmark.units import MIB
from zoo.errors import UserError, in_one_line

# Images up to this many input pixels go through whole, unless something else is asked for.
SMALL_PIXELS = 512 * 512
# What tiles take where no limit is set: larger ones are hardly faster.
USUAL_BYTES = 768 * MIB


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
        return decision.exact(tile)
    except InexactError as error:
        if approximate:
            return decision.approximate(tile)
        if tile != "auto":
            raise UserError(f"--tile {tile[0]}x{tile[1]}: {error} Use --tile off, or --approximate.") from error
        return decision.whole(str(error))


class InexactError(UserError):
    """Tiles of this network would not equal the whole image."""


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

    def exact(self, tile: TileSize) -> Execution:
        """Return an execution in pieces that equals the whole; raises InexactError where there is none."""
        subject = self.subject
        anatomy = self._anatomy(self.size)
        receptions = [*(together(one) for one in anatomy.passes), anatomy.forward]
        self._refuse_global(receptions)
        if not subject.trusted:
            self._probe(anatomy)
        if tile == "auto" and len(anatomy.passes) > 1 and self._whole_fits():
            # Each further pass runs the network as far as the next layer.
            return self.one_piece(f"its filters would take {len(anatomy.passes)} passes over tiles")
        mode: Mode = "filters, then tiles" if anatomy.passes else "tiles"
        if tile == "auto":
            how = self._in_strips(anatomy, self.size)
            if how is not None and (subject.trusted or self._strips_hold(anatomy)):
                return how
        choice = self._choice(receptions, tile)
        plans = [self._plan(one, choice.tile) for one in receptions]
        return Execution(subject, mode, plans[-1], anatomy.passes, plans[:-1], choice.workers, choice.need_bytes)

    def _in_strips(self, anatomy: Anatomy, size: tuple[int, int]) -> Execution | None:
        """Return an execution in strips; by an engine, with tiles for the output. None where there is no such."""
        subject, passes = self.subject, anatomy.passes
        whole = self._bytes_per_pixel(anatomy.forward) * size[0] * size[1]
        of = (subject.network, subject.channels, size, self._budget(anatomy.forward), whole)
        filters = find_filter_strips(*of, passes) if passes else None
        if passes and filters is None:
            return None
        need = filters.peak_bytes if filters else 0
        if not self.by_torch:
            choice = self._choice([anatomy.forward], "auto")
            plan = self._plan(anatomy.forward, choice.tile)
            how = Execution(subject, "tiles", plan, passes, (), choice.workers, max(choice.need_bytes, need))
        else:
            strips = find_strips(*of)
            if strips is None:
                return None
            plan = self._plan(anatomy.forward, size)
            need = max(need, strips.plan.peak_bytes)
            how = Execution(subject, "strips", plan, passes, (), Workers(), need, strips=strips)
        mode: Mode = "filters, then strips" if how.strips else "filters, then tiles"
        return replace(how, mode=mode, filter_strips=filters) if passes else how

    def one_piece(self, why: str) -> Execution:
        """Return an execution on the whole image; where filters are to be kept, as one tile after their passes."""
        if not self.keep_filters:
            return Execution(self.subject, why=why)
        anatomy = self._anatomy(self.size)
        plans = [self._plan(one, self.size) for one in [*map(together, anatomy.passes), anatomy.forward]]
        workers = Workers(channels_last=False)
        return Execution(self.subject, "whole", plans[-1], anatomy.passes, plans[:-1], workers, why=why)

    def approximate(self, tile: TileSize) -> Execution:
        """Return an execution in tiles that are not exact, with the seams as measured."""
        subject = self.subject
        release_filters(subject.network)
        reception = approximate_reception(self._anatomy(self.size).forward)
        choice = self._choice([reception], tile)
        plan = self._plan(reception, choice.tile)
        seams = measure_seams(subject.network, self.planes[:1], plan, multiple=subject.multiple, least=subject.least)
        self.reporter.note(seams.text)
        return Execution(
            subject, "approximate tiles", plan, workers=choice.workers, need_bytes=choice.need_bytes, seams=seams
        )

    def whole(self, why: str) -> Execution:
        """Return an execution on the whole image: in bands, which take less memory and time, or in one piece.

        Raises UserError where a limit leaves too little for either.
        """
        need, why = int(self.heap_factor * self._whole_bytes()), why.rstrip(".")
        budget = budget_of(self.memory_limit, machine.resident_bytes(), machine.available_memory(), need)
        least = None if self.keep_filters else self._banded_bytes()
        has_room = least is not None and (least <= budget or self.memory_limit is None)
        if self.by_torch and least is not None and has_room and least < need:
            return Execution(self.subject, "bands", need_bytes=least, why=why)
        if need <= budget or self.keep_filters or self.memory_limit is None:
            return self.one_piece(why)
        limit, used = f"--memory-limit {self.memory_limit / MIB:.0f}MiB", self.memory_limit - budget
        if least is not None and least <= budget:
            raise UserError(f"{limit}: {why}; bands are torch's alone; use --backend torch.")
        bands = "" if least is None else f", {(used + least) / MIB:.0f}MiB in bands"
        raise UserError(
            f"{limit}: the whole image of {self.size[0]}x{self.size[1]} needs {(used + need) / MIB:.0f}MiB{bands}, and"
            f" {why}. --approximate tiles it and measures the seams."
        )

    def _anatomy(self, size: tuple[int, int]) -> Anatomy:
        try:
            return dissect(self.subject.network, self.subject.channels, size)
        except UserError as error:
            raise InexactError(str(error)) from error

    def _refuse_global(self, receptions: Sequence[Reception]) -> None:
        lost = [cause for one in receptions if one.reach is None for cause in one.causes]
        if not lost:
            return
        seen = [cause.text for cause in lost if cause.kind == "global"]
        if seen or self.subject.global_ops:
            names = "; ".join(self.subject.global_ops) or ", ".join(dict.fromkeys(seen[:3]))
            raise InexactError(f"the network has operations that see the whole image: {names}.")
        raise InexactError(f"the network cannot be followed through {lost[0].text}.")

    def _probe(self, anatomy: Anatomy) -> None:
        """Compare tiles with the whole on a small image; raises UserError where they differ."""
        subject = self.subject
        size = probe_size(anatomy.forward, multiple=subject.multiple, least=subject.least)
        parts = self._anatomy(size)
        receptions = [*(together(one) for one in parts.passes), parts.forward]
        self._refuse_global(receptions)
        tile = (max(1, size[0] // 3), max(1, size[1] // 3))
        plans = [make_plan(one, tile, multiple=subject.multiple, least=subject.least) for one in receptions]
        trial = Execution(subject, "tiles", plans[-1], parts.passes, plans[:-1], Workers())
        try:
            check_tiles(subject.network, trial.run, probe_planes(subject.channels, size))
        except UserError as error:
            raise InexactError(str(error)) from error

    def _strips_hold(self, anatomy: Anatomy) -> bool:
        """Whether strips of a small image equal the whole, where nobody has tested the network."""
        subject = self.subject
        size = probe_size(anatomy.forward, multiple=subject.multiple, least=subject.least)
        trial = self._in_strips(self._anatomy(size), size)
        if trial is None:
            return False
        try:
            check_tiles(subject.network, trial.run, probe_planes(subject.channels, size))
        except UserError:
            return False  # its tiles hold: they were probed before
        return True

    def _choice(self, receptions: Sequence[Reception], tile: TileSize) -> Choice:
        subject, step = self.subject, step_of(receptions[-1], 0, self.subject.multiple)
        per_pixel = self._bytes_per_pixel(receptions[-1])
        budget = self._budget(receptions[-1])
        if tile == "auto":
            speed = speed_of(subject.label, subject.network, subject.channels, step=step)
            found = choose(
                receptions,
                per_pixel=per_pixel,
                budget=budget,
                speed=speed,
                multiple=subject.multiple,
                least=subject.least,
            )
            if isinstance(found, int):
                raise self._too_small(receptions[-1], found)
            return found
        assert tile != "off"
        speed = unmeasured(torch.get_num_threads())
        plans = [self._plan(one, tile) for one in receptions]
        pixels = max(plan.largest_crop[0] * plan.largest_crop[1] for plan in plans)
        for workers in (speed.threads, 1):
            need = int(per_pixel * pixels * workers * HEAP_FACTOR)
            if need <= budget:
                return Choice(tile, Workers(workers), need)
        raise self._too_small(receptions[-1], need)

    def _bytes_per_pixel(self, reception: Reception) -> float:
        subject, step = self.subject, step_of(reception, 0, self.subject.multiple)
        side = -(-max(subject.least, 128) // step) * step
        return bytes_per_pixel(subject.network, subject.channels, side)

    def _plan(self, reception: Reception, tile: tuple[int, int]) -> Plan:
        return make_plan(
            reception, tile, multiple=self.subject.multiple, least=self.subject.least, equal=not self.by_torch
        )

    def _budget(self, reception: Reception) -> int:
        return int(self._room() / self.heap_factor) - self._output_bytes(reception)

    def _room(self) -> int:
        return budget_of(self.memory_limit, machine.resident_bytes(), machine.available_memory(), USUAL_BYTES)

    def _output_bytes(self, reception: Reception) -> int:
        """Return what the output takes of the room under a limit."""
        if self.memory_limit is None:
            return 0
        output = 4 * reception.output_channels * reception.output_size[0] * reception.output_size[1]
        return self.planes.shape[0] * output if self.output_bytes is None else self.output_bytes

    def _too_small(self, reception: Reception, needed: int) -> UserError:
        needed = int(self.heap_factor * (needed + self._output_bytes(reception)))
        return too_small(self.memory_limit, self._room(), needed)

    def _whole_bytes(self) -> int:
        planes = torch.empty(1, self.subject.channels, *self.size, device="meta")
        try:
            with OnMeta():
                return int(1.25 * trace(self.subject.network, planes).peak_workspace_bytes)
        except Exception as error:
            raise UserError(
                f"the network does not run at {self.size[0]}x{self.size[1]}: {in_one_line(error)}"
            ) from error

    def _banded_bytes(self) -> int | None:
        """Return what bands take; None where the network's operators cannot be listed beforehand."""
        try:
            peak = banded_peak_bytes(self.subject.network, (1, self.subject.channels, *self.size))
            return int(self.heap_factor * peak)
        except UserError:
            return None

    def _whole_fits(self) -> bool:
        there = machine.available_memory()
        if self.memory_limit is not None:
            there = budget_of(self.memory_limit, machine.resident_bytes(), there, 0)
        return there is None or self._whole_bytes() <= (there if self.memory_limit is not None else there // 2)
