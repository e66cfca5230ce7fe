"""A network under ``--tile`` as scoring and measuring call one: planes of any size in, the whole output out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from torch import Tensor, nn

from benchmark.conditions import Conditions
from benchmark.fullres.enginepass import EnginePass
from benchmark.fullres.execution import Execution
from benchmark.fullres.runner import FullRunner, subject_of
from benchmark.reporting import Reporter
from benchmark.selection import Entry
from benchmark.types import SeamError, Tiling
from zoo.errors import EngineError, SizeError, TileError, UserError


class TiledNetwork(nn.Module):
    """Takes and returns float32 planes (N, C, H, W) on the CPU; what is decided for a shape holds for its next images.

    Raises TileError for tiles that would not be exact, and for a memory limit that is too small for them.
    """

    def __init__(
        self,
        entry: Entry,
        network: nn.Module,
        conditions: Conditions,
        memory_limit: int | None = None,
        reporter: Reporter | None = None,
        *,
        heap_factor: float = 1.0,
    ) -> None:
        """``conditions`` say how large tiles are and what runs them, ``memory_limit`` what the process may hold.

        ``heap_factor``: how many times what lives the process will hold, where its heap keeps what is freed.
        """
        super().__init__()
        self.network = network
        subject = subject_of(entry, network)
        self.runner = FullRunner(
            subject,
            conditions.tile,
            memory_limit,
            conditions.approximate,
            reporter=reporter or Reporter(),
            name=entry.label,
            heap_factor=heap_factor,
        )
        self._engine: EnginePass | None = None
        if not conditions.by_torch:
            side = -(-max(64, subject.least) // subject.multiple) * subject.multiple
            self.runner.forward = self._engine = EnginePass(network, conditions, subject.channels, side)
        # What deciding took so far, the measurement of the machine's speed in it.
        self.deciding_seconds = 0.0
        self._known: dict[tuple[int, ...], Execution] = {}

    @property
    def compile_seconds(self) -> float:
        """Return what an engine took so far to compile the network for its crops; 0 where torch runs it."""
        return self._engine.compile_seconds if self._engine else 0.0

    def prepare(self, planes: Tensor) -> int | None:
        """Decide how images like ``planes`` are run and let an engine compile for their crops, before they are timed.

        Returns the bytes that the engine keeps for them; None: not known.
        """
        how = self._plan(planes)
        return self._engine.prepare(how, planes) if self._engine else None

    def tilings(self, purpose: Literal["scores", "time"]) -> list[Tiling]:
        """Return how images went through so far, by shape."""
        return [_tiling(purpose, shape, how) for shape, how in self._known.items()]

    def forward(self, planes: Tensor) -> Tensor:
        """Run images, tile by tile where that was decided."""
        self.prepare(planes)
        with _tile_errors():
            return self.runner(planes)

    def _plan(self, planes: Tensor) -> Execution:
        key = tuple(planes.shape)
        if key not in self._known:
            begin = time.perf_counter()
            with _tile_errors():
                self._known[key] = self.runner.plan(planes)
            self.deciding_seconds += time.perf_counter() - begin
        return self._known[key]


@contextmanager
def _tile_errors() -> Iterator[None]:
    """Raise what is said about tiles as TileError: it is about one network, and ends no run of several."""
    try:
        yield
    except (SizeError, EngineError):
        raise
    except UserError as error:
        raise TileError(str(error)) from error


def _tiling(purpose: Literal["scores", "time"], shape: tuple[int, ...], how: Execution) -> Tiling:
    # Strips are as wide as the image, and no size of tile gives them.
    seams, plan = how.seams, None if how.strips else how.plan
    seen = None
    if seams is not None:
        seen = SeamError(size=list(seams.size), tile=list(seams.tile), largest=seams.largest, rms=seams.rms)
    return Tiling(
        purpose=purpose,
        input_shape=list(shape),
        mode=how.mode,
        tile=list(plan.tile) if plan else None,
        crop=list(plan.largest_crop) if plan else None,
        num_tiles=how.strips.plan.strips if how.strips else len(plan) if plan else 1,
        filter_passes=len(how.passes),
        at_once=how.workers.count,
        need_bytes=how.need_bytes,
        seams=seen,
        text=how.text if seams is None else f"{how.text}; {seams.text}",
    )
