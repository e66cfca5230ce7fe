"""One network over many images of any sizes: decided once per size, filters kept between images where asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from benchmark.conditions import TileSize
from benchmark.fullres.deciding import plan_execution
from benchmark.fullres.execution import Execution
from benchmark.fullres.hyper import hyper_layers
from benchmark.fullres.subject import Subject
from benchmark.fullres.tiles.run import Forward, Workers
from benchmark.reporting import Reporter
from benchmark.selection import Entry
from zoo.errors import UserError


@dataclass
class FullRunner:
    """Runs images (N, C, H, W) through one network as ``plan_execution`` decides for their size.

    ``freeze_filters``: the filters that a hyper-network predicts for the first image are used for all.
    """

    subject: Subject
    tile: TileSize = "auto"
    memory_limit: int | None = None
    approximate: bool = False
    freeze_filters: bool = False
    reporter: Reporter = field(default_factory=Reporter)
    # Runs images and crops in place of the network: an engine, which one thread at a time may call.
    forward: Forward | None = None
    # What a user reads above the tiles' progress.
    name: str = ""
    # How many times what lives this process will hold.
    heap_factor: float = 1.0
    _known: dict[tuple[int, ...], Execution] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse to freeze what is not there."""
        if self.freeze_filters and not hyper_layers(self.subject.network):
            raise UserError("--freeze-filters: this network predicts no filters; leave the option out.")

    def plan(self, planes: Tensor, *, output_bytes: int | None = None) -> Execution:
        """Return how images of this size are run; what was decided for a size holds for its next images."""
        key = tuple(planes.shape)
        if key not in self._known:
            # In inference mode operations show their parts, and more tensors seem to be alive than are.
            with torch.inference_mode(False):
                self._known[key] = plan_execution(
                    self.subject,
                    planes,
                    tile=self.tile,
                    memory_limit=self.memory_limit,
                    approximate=self.approximate,
                    keep_filters=self.freeze_filters,
                    output_bytes=output_bytes,
                    by_torch=self.forward is None,
                    heap_factor=self.heap_factor,
                    reporter=self.reporter,
                )
            if self.forward is not None:
                self._known[key] = self._for_engine(self._known[key])
            self.reporter.detail(f"{'x'.join(map(str, key))}: {self._known[key].text}")
        return self._known[key]

    def _for_engine(self, how: Execution) -> Execution:
        """Return an execution that an engine can run: tile by tile, and none whose tiles must know where they lie."""
        if how.plan is None or not how.plan.reception.resizes:
            return replace(how, workers=Workers(channels_last=False))
        why = "it resizes by the whole image's grid, which only torch does tile by tile"
        if self.tile not in ("auto", "off"):
            raise UserError(f"--tile {self.tile[0]}x{self.tile[1]}: {why}; use --tile off or --backend torch.")
        return Execution(self.subject, why=why)

    def __call__(
        self, planes: Tensor, out: Tensor | None = None, *, after_tile: Callable[[], None] = lambda: None
    ) -> Tensor:
        """Return the output (N, C', H', W') for images (N, C, H, W), in ``out`` if given."""
        how = self.plan(planes, output_bytes=None if out is None else 0)
        with self.reporter.progress(self.name, how.steps) as advance:
            return how.run(
                planes,
                out,
                forward=self.forward,
                keep_filters=self.freeze_filters,
                advance=advance,
                after_tile=after_tile,
            )


def subject_of(entry: Entry, network: nn.Module) -> Subject:
    """Return a registered model, built as ``network``, with what its card says."""
    spec = entry.card.input_for(entry.options)
    digest = hashlib.sha256(f"{entry.label} {entry.card.code_digest}".encode()).hexdigest()[:8]
    return Subject(
        network,
        spec.channels,
        spec.multiple,
        spec.min_size,
        tuple(entry.card.global_ops),
        label=f"{entry.card.name}-{digest}",
        # The tests run every built-in model in tiles.
        trusted=entry.card.is_builtin,
    )
