"""Decide how an image of any size goes through a network, and run it: whole, in strips, in tiles, or in bands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn

from benchmark.counting.trace import trace
from benchmark.fullres.bands import banded_peak_bytes, run_banded
from benchmark.fullres.choose import (
    MIB,
    Choice,
    budget_of,
    bytes_per_pixel,
    choose,
    speed_of,
    too_small,
    unmeasured,
)
from benchmark.fullres.descent import FilterStrips, Strips, find_filter_strips, find_strips
from benchmark.fullres.hyper import Anatomy, Embedding, dissect, fix_filters, release_filters, together
from benchmark.fullres.plan import Plan, make_plan, step_of
from benchmark.fullres.probe import (
    Seams,
    approximate_reception,
    check_tiles,
    measure_seams,
    probe_planes,
    probe_size,
)
from benchmark.fullres.receptive import OnMeta, Reception
from benchmark.fullres.tiled import Forward, Workers, run_tiled
from benchmark.host import machine
from benchmark.reporting import Reporter
from zoo.errors import UserError, in_one_line

TileSize = Literal["auto", "off"] | tuple[int, int]
Mode = Literal["whole", "tiles", "filters, then tiles", "strips", "filters, then strips", "approximate tiles", "bands"]
# Images up to this many input pixels go through whole, unless something else is asked for.
SMALL_PIXELS = 512 * 512
# What tiles take where no limit is set: larger ones are hardly faster.
USUAL_BYTES = 768 * MIB


@dataclass(frozen=True)
class Subject:
    """A network and what is known about it besides its code.

    ``multiple`` and ``least`` of the sides that it takes; ``global_ops`` by its card; ``label`` names it with all that
    decides its speed (None: not measured); ``trusted``: tests have shown its tiles to be exact, no probe is needed.
    """

    network: nn.Module
    channels: int
    multiple: int = 1
    least: int = 1
    global_ops: Sequence[str] = ()
    label: str | None = None
    trusted: bool = False


@dataclass
class Execution:
    """How images of one size go through one network."""

    subject: Subject
    mode: Mode = "whole"
    plan: Plan | None = None
    passes: Sequence[Sequence[Embedding]] = ()
    pass_plans: Sequence[Plan] = ()
    workers: Workers = field(default_factory=Workers)
    need_bytes: int | None = None
    why: str = ""
    seams: Seams | None = None
    # In place of the plans' tiles: where torch runs the network, and for the filters.
    strips: Strips | None = None
    filter_strips: FilterStrips | None = None

    @property
    def steps(self) -> int:
        """How often ``advance`` will be called for an image."""
        if self.plan is None:
            return 1
        last = len(self.plan) if self.strips is None else self.strips.plan.strips
        return last + (len(self.passes) if self.filter_strips else sum(len(plan) for plan in self.pass_plans))

    @property
    def text(self) -> str:
        """What a user reads: the mode, the tiles and who computes, or why there are none."""
        if self.mode == "bands":
            return f"operator by operator in bands, about {(self.need_bytes or 0) / MIB:.0f} MiB ({self.why})"
        if self.plan is None:
            return f"whole image{f' ({self.why})' if self.why else ''}"
        passes = (
            f", {len(self.passes)} pass{'es' if len(self.passes) > 1 else ''} for the filters" if self.passes else ""
        )
        if self.strips is not None:
            return f"{self.mode}: {self.strips.text}{passes}, about {(self.need_bytes or 0) / MIB:.0f} MiB"
        who = f"{self.workers.count} at once" if self.workers.count > 1 else "one by one"
        need = f", about {self.need_bytes / MIB:.0f} MiB" if self.need_bytes else ""
        return f"{self.mode}: {self.plan.text}{passes}, {who}{need}"

    def output_shape(self, planes: Tensor) -> tuple[int, ...] | None:
        """Return the shape of the output for images (N, C, H, W); None where only a pass will tell."""
        if self.plan is None:
            return None
        return (planes.shape[0], self.plan.reception.output_channels, *self.plan.reception.output_size)

    def run(
        self,
        planes: Tensor,
        out: Tensor | None = None,
        *,
        forward: Forward | None = None,
        keep_filters: bool = False,
        advance: Callable[[], None] = lambda: None,
        after_tile: Callable[[], None] = lambda: None,
    ) -> Tensor:
        """Run images (N, C, H, W), one after another, and return the output, in ``out`` if given.

        ``forward`` runs the crops in place of the network. ``keep_filters`` leaves the filters of a hyper-network
        fixed, for images to come: those are not predicted again, until ``release_filters``.
        """
        if self.mode == "bands":
            output = run_banded(self.subject.network, planes, out=out)
            advance()
            return output
        if self.plan is None:
            with torch.inference_mode():
                output = (forward or self.subject.network)(planes)
            advance()
            return output if out is None else out.copy_(output)
        return self._run_tiles(planes, out, forward, keep_filters, advance, after_tile)

    def _run_tiles(
        self,
        planes: Tensor,
        out: Tensor | None,
        forward: Forward | None,
        keep_filters: bool,
        advance: Callable[[], None],
        after_tile: Callable[[], None],
    ) -> Tensor:
        network, plan = self.subject.network, self.plan
        assert plan is not None
        if out is None:
            out = torch.empty(planes.shape[0], plan.reception.output_channels, *plan.reception.output_size)
        for index in range(planes.shape[0]):
            image = planes[index : index + 1]
            try:
                if self.passes and any(layer.fixed_filters is None for layer in _fed(self.passes)):
                    self._fix_filters(image, advance, after_tile)
                target = out[index : index + 1]
                if self.strips is not None and forward is None:
                    self.strips.run(network, image, target, advance=advance, after=after_tile)
                else:
                    run_tiled(
                        forward or network, image, plan, target,
                        workers=self.workers, advance=advance, after_tile=after_tile,
                    )  # fmt: skip
            finally:
                if self.passes and not keep_filters:
                    release_filters(network)
        return out

    def _fix_filters(self, image: Tensor, advance: Callable[[], None], after_tile: Callable[[], None]) -> None:
        if self.filter_strips is not None:
            self.filter_strips.fix(self.subject.network, image, advance=advance, after=after_tile)
            return
        fix_filters(
            self.subject.network, image, self.passes, self.pass_plans,
            workers=self.workers, advance=advance, after_tile=after_tile,
        )  # fmt: skip


def _fed(passes: Sequence[Sequence[Embedding]]) -> list[nn.Module]:
    return [layer for embeddings in passes for one in embeddings for layer in one.layers]


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
    reporter: Reporter | None = None,
) -> Execution:
    """Decide how images like ``planes`` (N, C, H, W) go through a network.

    ``output_bytes`` of memory that the output takes (default: all of it; 0 for a file). ``keep_filters``: those of a
    hyper-network are to be kept, which takes a plan for the whole image in one piece, too. ``by_torch``: an engine is
    not to run it, which takes tiles. Raises UserError for tiles that would not be exact, and for a limit that is too
    small.
    """
    reporter = reporter or Reporter()
    size = (planes.shape[-2], planes.shape[-1])
    small = size[0] * size[1] <= SMALL_PIXELS and memory_limit is None
    decision = _Decision(subject, planes, memory_limit, output_bytes, keep_filters, by_torch, reporter)
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
        reporter: Reporter,
    ) -> None:
        self.subject, self.planes, self.memory_limit, self.reporter = subject, planes, memory_limit, reporter
        self.size = (planes.shape[-2], planes.shape[-1])
        self.output_bytes, self.keep_filters, self.by_torch = output_bytes, keep_filters, by_torch

    def exact(self, tile: TileSize) -> Execution:
        """Return an execution in tiles that equals the whole; raises InexactError where there is none."""
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
            how = self._in_strips(anatomy)
            if how is not None:
                return how
        choice = self._choice(receptions, tile)
        plans = [self._plan(one, choice.tile) for one in receptions]
        return Execution(subject, mode, plans[-1], anatomy.passes, plans[:-1], choice.workers, choice.need_bytes)

    def _in_strips(self, anatomy: Anatomy) -> Execution | None:
        """Return an execution in strips; by an engine, with tiles for the output. None where there is no such."""
        subject, passes = self.subject, anatomy.passes
        budget = self._budget(anatomy.forward)
        of = (subject.network, subject.channels, self.size)
        filters = find_filter_strips(*of, passes, budget) if passes else None
        if passes and filters is None:
            return None
        need = filters.peak_bytes if filters else 0
        if not self.by_torch:
            choice = self._choice([anatomy.forward], "auto")
            plan = self._plan(anatomy.forward, choice.tile)
            how = Execution(subject, "tiles", plan, passes, (), choice.workers, max(choice.need_bytes, need))
        else:
            strips = find_strips(*of, budget)
            if strips is None:
                return None
            plan = self._plan(anatomy.forward, self.size)
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
        """Return an execution on the whole image: in one piece, or in bands where that takes too much memory.

        Raises UserError where a limit leaves too little for either.
        """
        need = self._whole_bytes()
        budget = budget_of(self.memory_limit, machine.resident_bytes(), machine.available_memory(), need)
        if need <= budget or self.keep_filters:
            return self.one_piece(why.rstrip("."))
        least = self._banded_bytes()
        if self.memory_limit is not None and (least is None or least > budget):
            used = self.memory_limit - budget
            bands = "" if least is None else f", {(used + least) / MIB:.0f}MiB in bands"
            raise UserError(
                f"--memory-limit {self.memory_limit / MIB:.0f}MiB: the whole image of {self.size[0]}x{self.size[1]}"
                f" needs {(used + need) / MIB:.0f}MiB{bands}, and {why} --approximate tiles it and measures the seams."
            )
        if least is None:
            return self.one_piece(why.rstrip("."))
        return Execution(self.subject, "bands", need_bytes=least, why=why.rstrip("."))

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

    def _choice(self, receptions: Sequence[Reception], tile: TileSize) -> Choice:
        subject, step = self.subject, step_of(receptions[-1], 0, self.subject.multiple)
        side = -(-max(subject.least, 128) // step) * step
        per_pixel = bytes_per_pixel(subject.network, subject.channels, side)
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
                raise too_small(self.memory_limit, budget, found)
            return found
        assert tile != "off"
        speed = unmeasured(torch.get_num_threads())
        plans = [self._plan(one, tile) for one in receptions]
        pixels = max(plan.largest_crop[0] * plan.largest_crop[1] for plan in plans)
        for workers in (speed.threads, 1):
            need = int(per_pixel * pixels * workers * 1.25)
            if need <= budget:
                return Choice(tile, Workers(workers), need)
        raise too_small(self.memory_limit, budget, need)

    def _plan(self, reception: Reception, tile: tuple[int, int]) -> Plan:
        return make_plan(
            reception, tile, multiple=self.subject.multiple, least=self.subject.least, equal=not self.by_torch
        )

    def _budget(self, reception: Reception) -> int:
        output = 4 * reception.output_channels * reception.output_size[0] * reception.output_size[1]
        output = self.planes.shape[0] * output if self.output_bytes is None else self.output_bytes
        budget = budget_of(self.memory_limit, machine.resident_bytes(), machine.available_memory(), USUAL_BYTES)
        return budget - (output if self.memory_limit is not None else 0)

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
            return banded_peak_bytes(self.subject.network, (1, self.subject.channels, *self.size))
        except UserError:
            return None

    def _whole_fits(self) -> bool:
        there = machine.available_memory()
        if self.memory_limit is not None:
            there = budget_of(self.memory_limit, machine.resident_bytes(), there, 0)
        return there is None or self._whole_bytes() <= (there if self.memory_limit is not None else there // 2)
