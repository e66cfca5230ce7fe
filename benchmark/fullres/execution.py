"""How images of one size go through one network, and running them so: whole, in strips, in tiles, or in bands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from benchmark.fullres.bands.run import run_banded
from benchmark.fullres.hyper import Embedding, fix_filters, release_filters
from benchmark.fullres.strips.descent import FilterStrips, Strips
from benchmark.fullres.tiles.plan import Plan
from benchmark.fullres.tiles.probe import Seams
from benchmark.fullres.tiles.run import Forward, Workers, run_tiled
from benchmark.units import MIB

Mode = Literal["whole", "tiles", "filters, then tiles", "strips", "filters, then strips", "approximate tiles", "bands"]


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
            # A caller in inference mode has workers that are not: to them it must be a tensor like any other.
            with torch.inference_mode(False):
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
