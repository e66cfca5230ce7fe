"""One network over images of any size: scoring, timing and inference all run full-resolution images through this."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from benchmark.conditions import Conditions
from benchmark.fullres.bf16 import filters_in_bf16
from benchmark.fullres.deciding import decide
from benchmark.fullres.enginepass import EnginePass
from benchmark.fullres.execution import Execution, Tiles
from benchmark.fullres.hyper import hyper_layers
from benchmark.fullres.memory import USUAL, Thresholds, spare_heap
from benchmark.fullres.subject import Call, Subject, nothing
from benchmark.fullres.tiles.probe import seams_text
from benchmark.reporting import Reporter
from benchmark.types import Tiling
from benchmark.units import shape_text
from zoo.errors import EngineError, SizeError, TileError, UserError


class FullNetwork(nn.Module):
    """Takes and returns float32 planes (N, C, H, W) on the CPU; the decision for a shape is kept for its next images.

    Raises TileError for tiles that would not be exact, and for a memory limit that is too small for them.
    """

    def __init__(
        self,
        subject: Subject,
        conditions: Conditions,
        memory_limit: int | None = None,
        reporter: Reporter | None = None,
        *,
        freeze_filters: bool = False,
        mlp_precision: str = "fp32",
        heap_factor: float = 1.0,
        own_heap: bool = False,
        thresholds: Thresholds = USUAL,
    ) -> None:
        """``conditions`` gives the size of tiles and what runs them, ``memory_limit`` the bytes the process may hold.

        ``freeze_filters``: the filters that a hyper-network predicts for the first image are used for all images.
        ``mlp_precision`` "bf16": filters are predicted in bfloat16, and the error is reported. ``heap_factor``: as in
        ``Memory``. ``own_heap``: the heap of this process may be set so that tiles keep within the limit.
        """
        super().__init__()
        self.network, self.title, self.reporter = subject.network, subject.title, reporter or Reporter()
        if mlp_precision == "bf16":
            self.reporter.note(f"{subject.title}: {filters_in_bf16(subject).text}")
        if freeze_filters and not hyper_layers(subject.network):
            raise UserError("--freeze-filters: this network predicts no filters; leave the option out.")
        self._engine = None if conditions.by_torch else EnginePass(subject, conditions)
        self.subject = replace(subject, engine=self._engine) if self._engine else subject
        self._conditions, self._memory_limit, self._freeze_filters = conditions, memory_limit, freeze_filters
        self._heap_factor, self._own_heap, self._thresholds = heap_factor, own_heap, thresholds
        # The seconds that decisions have taken so far.
        self.deciding_seconds = 0.0
        self._known: dict[tuple[int, ...], Execution] = {}
        # How the images before were run.
        self._last: Execution | None = None

    @property
    def compile_seconds(self) -> float:
        """The seconds that an engine has taken so far to compile the network for its crops; 0 if torch runs it."""
        return self._engine.compile_seconds if self._engine else 0.0

    @contextmanager
    def reporting(self, reporter: Reporter, title: str | None = None) -> Iterator[None]:
        """Send all reports to ``reporter`` while the block runs, under ``title`` if given."""
        before = self.reporter, self.title
        self.reporter, self.title = reporter, title or self.title
        try:
            yield
        finally:
            self.reporter, self.title = before

    def plan(self, planes: Tensor, *, mapped_output: bool = False) -> Execution:
        """Return how images of this shape run through the network; it is decided when a shape is first seen.

        ``mapped_output``: the output goes to a file and takes no memory.
        """
        key = tuple(planes.shape)
        if key not in self._known:
            begin = time.perf_counter()
            # In inference mode a trace sees the parts of operations, and would count more tensors than are in use.
            with _tile_errors(), torch.inference_mode(False):
                self._known[key] = decide(
                    self.subject,
                    planes,
                    tile=self._conditions.tile,
                    memory_limit=self._memory_limit,
                    approximate=self._conditions.approximate,
                    keep_filters=self._freeze_filters,
                    mapped_output=mapped_output,
                    heap_factor=self._heap_factor,
                    thresholds=self._thresholds,
                    exact_kernels=self._conditions.exact_kernels,
                    reporter=self.reporter,
                )
            self.deciding_seconds += time.perf_counter() - begin
            self.reporter.detail(f"{shape_text(key)}: {self._known[key].text}")
        return self._known[key]

    def prepare(self, planes: Tensor) -> int | None:
        """Decide how images like ``planes`` are run and let an engine compile for their crops, before they are timed.

        Returns the bytes that the engine keeps for them, or None if they are not known.
        """
        how = self.plan(planes)
        return self._engine.prepare(how, planes) if self._engine else None

    def forward(self, planes: Tensor, out: Tensor | None = None, *, after_piece: Call = nothing) -> Tensor:
        """Return the output (N, C', H', W') for images (N, C, H, W), in ``out`` if given; both may be mapped files.

        ``after_piece`` is called after each piece, in the thread that has finished it.
        """
        how = self.plan(planes, mapped_output=out is not None)
        if self._last is not None and self._last is not how:
            # Weights in the layout for one shape take as much memory as the network itself.
            for weights in self._last.kept:
                weights.forget()
        self._last = how
        if self._own_heap and self._memory_limit is not None and isinstance(how, Tiles):
            spare_heap(self._memory_limit, how.need_bytes or 0)
        with _tile_errors(), self.reporter.progress(self.title, how.steps) as advance:
            return how.run(planes, out, advance=advance, after_piece=after_piece)

    def tilings(self, purpose: Literal["scores", "time"]) -> list[Tiling]:
        """Return how images of each shape have been run so far."""
        return [_tiling(purpose, shape, how) for shape, how in self._known.items()]


def reporting(network: nn.Module, reporter: Reporter) -> AbstractContextManager[None]:
    """Send the reports of a ``FullNetwork`` to ``reporter`` while the block runs; other networks have no reports."""
    return network.reporting(reporter) if isinstance(network, FullNetwork) else nullcontext()


@contextmanager
def _tile_errors() -> Iterator[None]:
    """Raise errors about tiles as TileError: they concern one network and must not end a run of several."""
    try:
        yield
    except (SizeError, EngineError):
        raise
    except UserError as error:
        raise TileError(str(error)) from error


def _tiling(purpose: Literal["scores", "time"], shape: tuple[int, ...], how: Execution) -> Tiling:
    # Strips are as wide as the image: they have no tile size.
    tiles = how if isinstance(how, Tiles) else None
    seams = tiles.seams if tiles else None
    return Tiling(
        purpose=purpose,
        input_shape=list(shape),
        mode=how.mode,
        tile=list(tiles.plan.tile) if tiles else None,
        crop=list(tiles.plan.largest_crop) if tiles else None,
        num_tiles=how.pieces,
        filter_passes=how.passes,
        at_once=tiles.workers.count if tiles else 1,
        need_bytes=how.need_bytes,
        seams=seams,
        text=how.text if seams is None else f"{how.text}; {seams_text(seams)}",
    )
