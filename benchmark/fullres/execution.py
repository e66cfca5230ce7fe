"""How images of one size go through one network, and running them so: whole, in strips, in tiles, or in bands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from benchmark.fullres.bands.run import run_banded
from benchmark.fullres.hyper import FilterSource, fix_filters_of_the_whole, hyper_layers, release_filters
from benchmark.fullres.strips.descent import FilterStrips, Strips
from benchmark.fullres.subject import Subject
from benchmark.fullres.tiles.plan import TilePlan
from benchmark.fullres.tiles.probe import Seams
from benchmark.fullres.tiles.run import Forward, Workers, run_tiled
from benchmark.host.child import is_out_of_memory
from benchmark.units import MIB
from zoo.errors import UserError, in_one_line
from zoo.outputs import check_output

Mode = Literal["whole", "tiles", "filters, then tiles", "strips", "filters, then strips", "approximate tiles", "bands"]
Call = Callable[[], None]


@dataclass
class Execution:
    """How images of one size go through one network: ``plan`` cuts tiles, ``strips`` go down the image.

    ``output``: channels, height and width of what comes out; None where only a pass will tell. ``filters`` finds those
    of a hyper-network before its image is run in pieces.
    """

    subject: Subject
    mode: Mode = "whole"
    output: tuple[int, int, int] | None = None
    plan: TilePlan | None = None
    strips: Strips | None = None
    filters: FilterStrips | None = None
    workers: Workers = field(default_factory=Workers)
    need_bytes: int | None = None
    why: str = ""
    seams: Seams | None = None

    @property
    def passes(self) -> tuple[tuple[FilterSource, ...], ...]:
        """The passes over the image that find a hyper-network's filters."""
        return self.filters.embeddings if self.filters else ()

    @property
    def steps(self) -> int:
        """How often ``advance`` will be called for an image."""
        if self.strips is not None:
            return self.strips.plan.strips + len(self.passes)
        return (len(self.plan) if self.plan else 1) + len(self.passes)

    @property
    def text(self) -> str:
        """What a user reads: the mode, the tiles and who computes, or why there are none."""
        need = f", about {self.need_bytes / MIB:.0f} MiB" if self.need_bytes else ""
        if self.mode == "bands":
            return f"operator by operator in bands{need} ({self.why})"
        passes = f", {len(self.passes)} pass{'es' * (len(self.passes) > 1)} for the filters" if self.passes else ""
        if self.strips is not None:
            return f"{self.mode}: {self.strips.text}{passes}{need}"
        if self.plan is None:
            return f"whole image{f' ({self.why})' if self.why else ''}"
        who = f"{self.workers.count} at once" if self.workers.count > 1 else "one by one"
        return f"{self.mode}: {self.plan.text}{passes}, {who}{need}"

    def output_shape(self, planes: Tensor) -> tuple[int, ...] | None:
        """Return the shape of the output for images (N, C, H, W); None where only a pass will tell."""
        return None if self.output is None else (planes.shape[0], *self.output)

    def run(
        self,
        planes: Tensor,
        out: Tensor | None = None,
        *,
        forward: Forward | None = None,
        keep_filters: bool = False,
        advance: Call = lambda: None,
        after_tile: Call = lambda: None,
    ) -> Tensor:
        """Run images (N, C, H, W), one after another, and return the output, in ``out`` if given.

        ``forward`` runs images and crops in place of the network. ``keep_filters`` leaves the filters of a
        hyper-network fixed, for images to come: those are not predicted again, until ``release_filters``.
        """
        if self.mode == "bands":
            with self._own_errors():
                output = run_banded(self.subject.network, planes, out=out)
            advance()
            return output
        if self.plan is None and self.strips is None:
            return self._run_whole(planes, out, forward, keep_filters, advance)
        shape = self.output_shape(planes)
        if out is None:
            assert shape is not None
            # A caller in inference mode has workers that are not: to them it must be a tensor like any other.
            with torch.inference_mode(False):
                out = torch.empty(shape)
        for index in range(planes.shape[0]):
            image, target = planes[index : index + 1], out[index : index + 1]
            try:
                self._run_image(image, target, forward, advance, after_tile)
            finally:
                if self.filters is not None and not keep_filters:
                    release_filters(self.subject.network)
        return out

    def _run_whole(
        self, planes: Tensor, out: Tensor | None, forward: Forward | None, keep_filters: bool, advance: Call
    ) -> Tensor:
        network = self.subject.network
        if keep_filters and any(layer.fixed_filters is None for layer in hyper_layers(network)):
            fix_filters_of_the_whole(network, planes[:1])
        with torch.inference_mode():
            output = (forward or network)(planes)
        check_output(output)
        advance()
        return output if out is None else out.copy_(output)

    def _run_image(
        self, image: Tensor, target: Tensor, forward: Forward | None, advance: Call, after_tile: Call
    ) -> None:
        network = self.subject.network
        if self.filters is not None and any(layer.fixed_filters is None for layer in self.filters.layers):
            with self._own_errors():
                self.filters.fix(network, image, advance=advance, after=after_tile)
        if self.strips is not None:
            with self._own_errors():
                self.strips.run(network, image, target, advance=advance, after=after_tile)
            return
        assert self.plan is not None
        run_tiled(
            forward or network, image, self.plan, target,
            workers=self.workers, advance=advance, after_tile=after_tile,
        )  # fmt: skip

    @contextmanager
    def _own_errors(self) -> Iterator[None]:
        """Name what fails while a network's operators are run one by one by its right name: an error of the tool."""
        try:
            yield
        except (UserError, OSError):
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise UserError(
                f"zoo-bench failed to run this network in {self.mode} ({in_one_line(error)}): an error of zoo-bench,"
                " not of the network; please report it. --tile off runs the whole image."
            ) from error
