"""Decide how an image of any size goes through a network: whole, in strips, in tiles, or in bands.

A network runs in pieces only if these are known to give the output of the whole image: a rule must cover every operator
with its arguments, and a network that our tests do not cover is compared with the whole on small images. Every other
network runs on the whole image, and the reason is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from torch import Tensor, nn

from benchmark.conditions import TileSize
from benchmark.fullres.bands.plan import BandPlan, BandSizes, plan_bands
from benchmark.fullres.bands.run import run_bands
from benchmark.fullres.checking import JOINED_TOLERANCE, PLAIN_TOLERANCE, check_pieces, small_sizes
from benchmark.fullres.execution import Bands, Execution, Listed, Strips, Tiles, Whole
from benchmark.fullres.hyper import Anatomy, FilterSource, dissect, hyper_layers, order_of_use, release_filters
from benchmark.fullres.inexact import InexactError, planned
from benchmark.fullres.listed import plan_listed
from benchmark.fullres.memory import USUAL, Memory, Thresholds
from benchmark.fullres.strips.filters import EmbeddingOf, FilterStrips, frozen
from benchmark.fullres.strips.plan import StripPlan, choose_strips
from benchmark.fullres.subject import Forward, Subject
from benchmark.fullres.tiles.calls import difference
from benchmark.fullres.tiles.choose import choose_tiles
from benchmark.fullres.tiles.plan import TilePlan, plan_tiles
from benchmark.fullres.tiles.probe import approximate_reception, measure_seams, seams_text, tiled_sizes
from benchmark.fullres.tiles.receptive import Reception
from benchmark.fullres.tiles.run import Workers
from benchmark.reporting import Reporter
from benchmark.units import MIB
from zoo.errors import UserError
from zoo.hyper import HyperConv2d

# For the small images on which pieces are compared with the whole: a few rows at a time, and every operator that can
# run in bands does.
_THIN_ROWS, _THIN_BANDS = (8,), BandSizes(strip_bytes=32 << 10, small_bytes=0)


def decide(
    subject: Subject,
    planes: Tensor,
    *,
    tile: TileSize = "auto",
    memory_limit: int | None = None,
    approximate: bool = False,
    keep_filters: bool = False,
    mapped_output: bool = False,
    heap_factor: float = 1.0,
    thresholds: Thresholds = USUAL,
    exact_kernels: bool = False,
    reporter: Reporter | None = None,
) -> Execution:
    """Decide how images like ``planes`` (N, C, H, W) go through a network.

    ``tile``: "auto" decides, "off" runs the whole image, (height, width) are input pixels. ``approximate`` allows tiles
    that are not exact; their seams are measured and reported. ``keep_filters`` keeps the filters of a hyper-network for
    the next images, also where the image runs in one piece. ``memory_limit``, ``mapped_output`` and ``heap_factor`` are
    those of ``Memory``. Outputs equal those of the whole image up to the order of additions with ``exact_kernels``, and
    else within 1e-5 of the largest.
    Raises UserError for tiles that would not be exact, and for a limit that is too small.
    """
    memory = Memory(
        subject=subject,
        planes=planes,
        limit=memory_limit,
        heap_factor=heap_factor,
        mapped_output=mapped_output,
        thresholds=thresholds,
        reporter=reporter or Reporter(),
    )
    decision = _Decision(memory, keep_filters, exact_kernels)
    small = memory.size[0] * memory.size[1] <= thresholds.small_pixels and memory_limit is None
    if tile == "auto" and small and not approximate:
        return decision.small()
    if tile == "off":
        return decision.one_piece("")
    try:
        how = decision.automatic() if tile == "auto" else decision.in_tiles(tile)
    except InexactError as error:
        why = str(error).rstrip(".")
        if approximate:
            how = decision.approximate(tile)
        elif tile == "auto":
            how = decision.whole(why)
        else:
            raise UserError(f"--tile {tile[0]}x{tile[1]}: {why}. Use --tile off, or --approximate.") from error
    return how if subject.engine is None else decision.by_engine(how, tile)


class _Decision:
    """What is known so far while an execution for images of one size is chosen."""

    def __init__(self, memory: Memory, keep_filters: bool, exact_kernels: bool) -> None:
        self.memory, self.keep_filters, self.size = memory, keep_filters, memory.size
        self.exact_kernels = exact_kernels
        self.subject, self.planes, self.reporter = memory.subject, memory.planes, memory.reporter
        self._anatomies: dict[tuple[int, int], Anatomy] = {}

    # --- the choices

    def small(self) -> Execution:
        """Return an execution on the whole of a small image: with kernels joined if this equals the network's own."""
        if self.exact_kernels or self.keep_filters or self.subject.engine is not None:
            return self.one_piece("")
        try:
            how = self._listed(self.planes)
            if not self.subject.trusted:
                sizes = [self.size, *small_sizes(self.subject, self.size)]
                self._check(sizes, lambda planes: self._listed(planes).run, JOINED_TOLERANCE)
        except InexactError as error:
            self.reporter.detail(f"kernels are not joined: {error}")
            return self.one_piece("")
        return how

    def _listed(self, planes: Tensor) -> Listed:
        shape = (1, *planes.shape[1:])
        plan = planned("a list of operators", lambda: plan_listed(self.subject.network, shape))
        return Listed(subject=self.subject, output=(planes.shape[0], *(plan.graph.output.shape or ())[1:]), plan=plan)

    def automatic(self) -> Execution:
        """Return an execution in pieces that equals the whole; raises InexactError if there is none."""
        if self.subject.engine is not None:
            return self.in_tiles("auto")
        is_hyper = bool(hyper_layers(self.subject.network))
        if self.subject.trusted and self.subject.global_ops and not is_hyper:
            # In a hyper-network only the filters see the whole image, and they are found before its strips run.
            raise InexactError("the network has operations that see the whole image")
        passes = len(self._anatomy().passes) if is_hyper else 0
        if passes > self.memory.thresholds.most_passes and self.memory.whole_fits:
            # Each further pass runs the network as far as the next layer.
            return self.one_piece(f"its filters would take {passes} passes over the image")
        how = self._in_strips(self.planes)
        if how is None:
            # Even the thinnest strips need more memory than there is; tiles are narrower.
            return self.in_tiles("auto")
        if plan_bytes := self._more_than_bands(how):
            raise InexactError(f"even thin strips would take {plan_bytes / MIB:.0f} MiB")
        return how if self._holds(self._thin_strips) else self.automatic()

    def in_tiles(self, tile: TileSize) -> Execution:
        """Return an execution in tiles that equals the whole; raises InexactError if there is none."""
        subject, reception = self.subject, self._anatomy().forward
        self._refuse_global(reception)
        filters = self._filter_strips(self.size)
        how = self._tiles(reception, tile)
        if not subject.trusted:
            self._refuse_other_crops(reception, how.plan)
            # The tiles run the network's own operators, but filters are found in strips.
            tolerance = self._tolerance if filters else PLAIN_TOLERANCE
            self._check(tiled_sizes(subject, reception), self._small_tiles, tolerance)
        need = max(how.need_bytes or 0, filters.peak_bytes if filters else 0)
        return replace(how, filters=filters, need_bytes=need)

    def one_piece(self, why: str) -> Execution:
        """Return an execution on the whole image."""
        network, channels = self.subject.network, self.subject.channels
        layers = order_of_use(network, channels, self.size) if self.keep_filters else ()
        return Whole(subject=self.subject, why=why, kept_layers=layers)

    def approximate(self, tile: TileSize) -> Execution:
        """Return an execution in tiles that are not exact, with their measured seams."""
        subject = self.subject
        release_filters(subject.network)
        self._anatomies.clear()
        reception = approximate_reception(self._anatomy().forward)
        how = self._tiles(reception, tile)
        seams = measure_seams(subject, self.planes[:1], how.plan)
        self.reporter.note(seams_text(seams))
        return replace(how, seams=seams)

    def whole(self, why: str) -> Execution:
        """Return an execution on the whole image: in bands, which take less memory and time, or in one piece.

        Raises UserError where a limit leaves too little for either.
        """
        memory, limited = self.memory, self.memory.limit is not None
        if self.subject.global_ops:
            why = f"the network has operations that see the whole image: {'; '.join(self.subject.global_ops)}"
        need = None if memory.whole_bytes is None else int(memory.heap_factor * memory.whole_bytes)
        bands = None if self.keep_filters else memory.bands(exact_kernels=self.exact_kernels)
        least = None if bands is None else int(memory.heap_factor * bands.peak_bytes)
        if self.subject.engine is None and bands is not None and least is not None and (need is None or least < need):
            has_room = not limited or least <= memory.room()
            if has_room and (held := self._holding(bands)):
                output = (self.planes.shape[0], *(held.graph.output.shape or ())[1:])
                return Bands(subject=self.subject, output=output, plan=held, need_bytes=least, why=why)
        if not limited or self.keep_filters or (need is not None and need <= memory.room()):
            return self.one_piece(why)
        raise self._no_room(why, need, least)

    def by_engine(self, how: Execution, tile: TileSize) -> Execution:
        """Return an execution that an engine can run: in tiles that do not depend on their position in the image."""
        if not isinstance(how, Tiles):
            return how
        if not how.plan.reception.resizes:
            return replace(how, workers=Workers(channels_last=False))
        why = "it resizes by the whole image's grid, which only torch does tile by tile"
        if isinstance(tile, tuple):
            raise UserError(f"--tile {tile[0]}x{tile[1]}: {why}; use --tile off or --backend torch.")
        return self.one_piece(why)

    def _no_room(self, why: str, need: int | None, least: int | None) -> UserError:
        memory, room = self.memory, self.memory.room()
        assert memory.limit is not None
        limit, used = f"--memory-limit {memory.limit / MIB:.0f}MiB", memory.limit - room
        size = f"{self.size[0]}x{self.size[1]}"
        if need is None:
            return UserError(
                f"{limit}: {why}, and what the whole image of {size} needs cannot be counted beforehand; leave the"
                " limit out."
            )
        if least is not None and least <= room and self.subject.engine is not None:
            return UserError(f"{limit}: {why}; only torch runs bands; use --backend torch.")
        bands = "" if least is None else f", {(used + least) / MIB:.0f}MiB in bands"
        return UserError(
            f"{limit}: the whole image of {size} needs {(used + need) / MIB:.0f}MiB{bands}, and {why}. --approximate"
            " tiles it and measures the seams."
        )

    @property
    def _tolerance(self) -> float:
        return PLAIN_TOLERANCE if self.exact_kernels else JOINED_TOLERANCE

    def _check(
        self,
        sizes: Iterable[tuple[int, int]],
        pieces_of: Callable[[Tensor], Forward],
        tolerance: float = PLAIN_TOLERANCE,
    ) -> None:
        check_pieces(self.subject, sizes, pieces_of, images=self.planes.shape[0], tolerance=tolerance)

    def _holds(self, pieces_of: Callable[[Tensor], Forward]) -> bool:
        """Return whether pieces equal the whole on small images, which our tests show for networks that they cover.

        With joined kernels that do not, False: the plain ones are used from now on. Raises InexactError if those
        do not either.
        """
        if self.subject.trusted:
            return True
        try:
            self._check(small_sizes(self.subject, self.size), pieces_of, self._tolerance)
        except InexactError as error:
            if self.exact_kernels:
                raise
            self.reporter.detail(f"kernels are not joined: {error}")
            self.exact_kernels = True
            return False
        return True

    # --- strips and bands

    def _in_strips(self, planes: Tensor, rows: Sequence[int] | None = None) -> Strips | None:
        """Return an execution in strips of the usual rows, or of ``rows`` of the input; None if there is no memory."""
        subject, size = self.subject, (planes.shape[-2], planes.shape[-1])
        filters = self._filter_strips(size, rows)

        def make() -> tuple[StripPlan, tuple[HyperConv2d, ...]]:
            layers = order_of_use(subject.network, subject.channels, size)
            return self._strip_plan(frozen(subject.network, layers), size, rows), layers

        plan, layers = planned("strips", make)
        if plan.peak_bytes > self.memory.most():
            return None
        return Strips(
            subject=subject,
            output=(planes.shape[0], *(plan.graph.output.shape or ())[1:]),
            plan=plan,
            layers=layers,
            filters=filters,
            need_bytes=max(filters.peak_bytes if filters else 0, plan.peak_bytes),
        )

    def _more_than_bands(self, how: Strips) -> int:
        """Return what strips take if that is more than is usual, and bands take less; else 0."""
        taken = how.plan.peak_bytes
        if taken <= self.memory.budget() or how.filters is not None:
            return 0
        bands = self.memory.bands(exact_kernels=self.exact_kernels)
        return taken if bands is not None and bands.peak_bytes < taken else 0

    def _filter_strips(self, size: tuple[int, int], rows: Sequence[int] | None = None) -> FilterStrips | None:
        """Return the plan that finds a hyper-network's filters in strips; None if there are no filters to find."""
        subject = self.subject
        passes = self._anatomy(size).passes if hyper_layers(subject.network) else ()
        if not passes:
            return None

        def make() -> FilterStrips:
            layers = order_of_use(subject.network, subject.channels, size)

            def plan_of(source: FilterSource) -> StripPlan:
                return self._strip_plan(EmbeddingOf(subject.network, layers, source.layers[0]), size, rows)

            plans = tuple(tuple((source, plan_of(source)) for source in sources) for sources in passes)
            return FilterStrips(plans, layers, self.keep_filters)

        found = planned("strips", make)
        if found.peak_bytes > self.memory.most():
            raise self.memory.too_small(found.peak_bytes)
        return found

    def _strip_plan(self, module: nn.Module, size: tuple[int, int], rows: Sequence[int] | None) -> StripPlan:
        shape, usual = (1, self.subject.channels, *size), self.memory.thresholds.strip_rows
        whole_bytes = 0.0 if rows else self.memory.live_bytes
        budget, exact = self.memory.budget(), self.exact_kernels
        return choose_strips(module, shape, budget, whole_bytes, rows or usual, exact_kernels=exact)

    def _thin_strips(self, planes: Tensor) -> Forward:
        how = self._in_strips(planes, _THIN_ROWS)
        if how is None:
            raise InexactError("there is no room for strips of a small image")
        return how.run

    def _holding(self, bands: BandPlan) -> BandPlan | None:
        """Return bands that equal the whole, or None."""
        try:
            if self._holds(self._thin_bands):
                return bands
        except InexactError as error:
            self.reporter.detail(f"bands: {error}")
            return None
        plain = self.memory.bands(exact_kernels=True)
        return None if plain is None else self._holding(plain)

    def _thin_bands(self, planes: Tensor) -> Forward:
        network = self.subject.network
        plan = plan_bands(network, planes.shape, _THIN_BANDS, exact_kernels=self.exact_kernels)
        return lambda images: run_bands(network, images, plan)

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
        """Raise InexactError if the network would run other operations on a crop than on the whole image."""
        sizes = {tile.crop_size for tile in plan} - {reception.size}
        for size in sorted(sizes):
            if (name := difference(reception.calls, self._anatomy(size).forward.calls)) is not None:
                raise InexactError(
                    f"on a crop of {size[0]}x{size[1]} the network runs {name} in another way than on the whole image"
                )

    def _small_tiles(self, planes: Tensor) -> Forward:
        # The check is about how an image is cut: torch is enough for it, even if an engine will run the tiles.
        subject, size = replace(self.subject, engine=None), (planes.shape[-2], planes.shape[-1])
        reception = self._anatomy(size).forward
        self._refuse_global(reception)
        plan = plan_tiles(subject, reception, (max(1, size[0] // 3), max(1, size[1] // 3)))
        self._refuse_other_crops(reception, plan)
        filters = self._filter_strips(size, _THIN_ROWS)
        output = _output_of(planes, reception)
        return Tiles(subject=subject, output=output, plan=plan, workers=Workers(), filters=filters).run

    def _tiles(self, reception: Reception, tile: TileSize) -> Tiles:
        """Return the best tiles that the memory allows; raises UserError if even the smallest need more."""
        subject, budget = self.subject, self.memory.budget()
        choice = choose_tiles(subject, reception, tile, budget)
        if choice.need_bytes > self.memory.most():
            raise self.memory.too_small(choice.need_bytes)
        return Tiles(
            subject=subject,
            output=_output_of(self.planes, reception),
            plan=choice.plan,
            workers=choice.workers,
            need_bytes=choice.need_bytes,
        )


def _output_of(planes: Tensor, reception: Reception) -> tuple[int, ...]:
    return (planes.shape[0], reception.output_channels, *reception.output_size)
