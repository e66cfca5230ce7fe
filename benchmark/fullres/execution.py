"""The ways in which images of one size run through a network: whole, in tiles, in strips, or in bands."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from benchmark.fullres.bands.plan import BandPlan
from benchmark.fullres.bands.run import run_bands
from benchmark.fullres.hyper import fix_filters_of_the_whole, release_filters
from benchmark.fullres.listed import ListedPlan, run_listed
from benchmark.fullres.rows.joined import kernels_text
from benchmark.fullres.strips.filters import FilterStrips, frozen
from benchmark.fullres.strips.plan import StripPlan
from benchmark.fullres.strips.run import run_strips
from benchmark.fullres.subject import Call, Subject, nothing
from benchmark.fullres.tiles.plan import TilePlan
from benchmark.fullres.tiles.run import Workers, run_tiled
from benchmark.fullres.weights import Weights
from benchmark.host.child import is_out_of_memory
from benchmark.types import SeamError
from benchmark.units import MIB
from zoo.errors import UserError, in_one_line
from zoo.hyper import HyperConv2d
from zoo.outputs import check_output


@dataclass(frozen=True, kw_only=True)
class Execution(ABC):
    """How images of one shape (N, C, H, W) run through one network.

    ``output``: the shape (N, C', H', W') of the output; None if only a pass can show it. ``need_bytes``: about the
    memory that a run needs in addition to network, input and output.
    """

    subject: Subject
    output: tuple[int, ...] | None = None
    need_bytes: int | None = None

    @property
    @abstractmethod
    def mode(self) -> str:
        """The name of this way in records."""

    @property
    def pieces(self) -> int:
        """How many tiles or strips an image is cut into; 1 if it is not cut."""
        return 1

    @property
    def passes(self) -> int:
        """How many passes over an image find a hyper-network's filters before the network runs."""
        return 0

    @property
    @abstractmethod
    def steps(self) -> int:
        """How often ``run`` will call ``advance``."""

    @property
    @abstractmethod
    def text(self) -> str:
        """Text for the user: the mode, the pieces and what computes them, or why there are no pieces."""

    @abstractmethod
    def run(
        self, planes: Tensor, out: Tensor | None = None, *, advance: Call = nothing, after_piece: Call = nothing
    ) -> Tensor:
        """Run images (N, C, H, W), one after another, and return the output, in ``out`` if given.

        ``advance`` is called in this thread after each of ``steps``, ``after_piece`` in the thread that ran a piece.
        """

    @property
    def kept(self) -> tuple[Weights, ...]:
        """What is kept of the weights for the next images of this shape."""
        return ()

    @property
    def _need_text(self) -> str:
        return f", about {self.need_bytes / MIB:.0f} MiB" if self.need_bytes else ""

    @contextmanager
    def _own_errors(self) -> Iterator[None]:
        """Report a failure while the network's operators run one by one as an error of the tool, not of the network."""
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


@dataclass(frozen=True, kw_only=True)
class Whole(Execution):
    """All images at once, run by the network or an engine; ``why``: the reason that they are not cut.

    ``kept_layers``: a hyper-network's layers, in the order of use, whose filters for the first image stay fixed for the
    images that follow. A layer that only training uses is not among them, because it never gets filters.
    """

    why: str = ""
    kept_layers: tuple[HyperConv2d, ...] = ()
    mode: ClassVar[str] = "whole"
    steps: ClassVar[int] = 1

    @property
    def text(self) -> str:
        return f"whole image{f' ({self.why})' if self.why else ''}"

    def run(
        self, planes: Tensor, out: Tensor | None = None, *, advance: Call = nothing, after_piece: Call = nothing
    ) -> Tensor:
        if any(layer.fixed_filters is None for layer in self.kept_layers):
            fix_filters_of_the_whole(self.subject.network, self.kept_layers, planes[:1])
        with torch.inference_mode():
            output = self.subject.forward(planes)
        check_output(output)
        advance()
        return output if out is None else out.copy_(output)


@dataclass(frozen=True, kw_only=True)
class OneByOne(Execution):
    """One image after another, each into its part of the output."""

    output: tuple[int, ...]

    def run(
        self, planes: Tensor, out: Tensor | None = None, *, advance: Call = nothing, after_piece: Call = nothing
    ) -> Tensor:
        if out is None:
            # A caller in inference mode has workers that are not in it: for them this must be a normal tensor.
            with torch.inference_mode(False):
                out = torch.empty(self.output)
        for index in range(planes.shape[0]):
            self.run_one(planes[index : index + 1], out[index : index + 1], advance, after_piece)
        return out

    @abstractmethod
    def run_one(self, image: Tensor, target: Tensor, advance: Call, after_piece: Call) -> None:
        """Fill ``target`` with the output for ``image`` (1, C, H, W)."""


@dataclass(frozen=True, kw_only=True)
class Listed(OneByOne):
    """One whole image after another, operator by operator as ``plan`` lists them, with kernels joined."""

    plan: ListedPlan
    mode: ClassVar[str] = "whole, kernels joined"

    @property
    def steps(self) -> int:
        return self.output[0]

    @property
    def text(self) -> str:
        return "whole image, kernels joined"

    @property
    def kept(self) -> tuple[Weights, ...]:
        return (self.plan.weights,)

    def run_one(self, image: Tensor, target: Tensor, advance: Call, after_piece: Call) -> None:
        with self._own_errors():
            run_listed(self.subject.network, image, self.plan, target)
        advance()


@dataclass(frozen=True, kw_only=True)
class Bands(Execution):
    """One operator after another, each in bands of rows; ``why``: the reason that the image is not cut."""

    plan: BandPlan
    why: str
    mode: ClassVar[str] = "bands"

    @property
    def steps(self) -> int:
        return self.output[0] * len(self.plan.steps) if self.output else 0

    @property
    def text(self) -> str:
        return f"operator by operator in bands{kernels_text(self.plan.rules)}{self._need_text} ({self.why})"

    def run(
        self, planes: Tensor, out: Tensor | None = None, *, advance: Call = nothing, after_piece: Call = nothing
    ) -> Tensor:
        with self._own_errors():
            return run_bands(self.subject.network, planes, self.plan, out, advance=advance)


@dataclass(frozen=True, kw_only=True)
class InPieces(OneByOne):
    """One image after another, in pieces; ``filters`` finds the filters of a hyper-network before each image."""

    filters: FilterStrips | None = None

    @property
    @abstractmethod
    def kind(self) -> str:
        """The kind of pieces."""

    @property
    def mode(self) -> str:
        return f"filters, then {self.kind}" if self.filters else self.kind

    @property
    def passes(self) -> int:
        return len(self.filters.passes) if self.filters else 0

    @property
    def steps(self) -> int:
        return self.output[0] * (self.passes + self.pieces)

    @property
    def _passes_text(self) -> str:
        return f", {self.passes} pass{'es' * (self.passes > 1)} for the filters" if self.passes else ""

    def run_one(self, image: Tensor, target: Tensor, advance: Call, after_piece: Call) -> None:
        try:
            if self.filters is not None:
                with self._own_errors():
                    self.filters.fix(self.subject.network, image, advance=advance, after_piece=after_piece)
            self.run_image(image, target, advance, after_piece)
        finally:
            if self.filters is not None and not self.filters.keep:
                release_filters(self.subject.network)

    @abstractmethod
    def run_image(self, image: Tensor, target: Tensor, advance: Call, after_piece: Call) -> None:
        """Fill ``target`` with the output for ``image`` (1, C, H, W), whose filters are fixed."""


@dataclass(frozen=True, kw_only=True)
class Tiles(InPieces):
    """Tiles of ``plan``, computed by ``workers``; ``seams``: how much they differ from the whole if not exact."""

    plan: TilePlan
    workers: Workers
    seams: SeamError | None = None

    @property
    def kind(self) -> str:
        return "approximate tiles" if self.seams else "tiles"

    @property
    def pieces(self) -> int:
        return len(self.plan)

    @property
    def text(self) -> str:
        who = f"{self.workers.count} at once" if self.workers.count > 1 else "one by one"
        return f"{self.mode}: {self.plan.text}{self._passes_text}, {who}{self._need_text}"

    def run_image(self, image: Tensor, target: Tensor, advance: Call, after_piece: Call) -> None:
        run_tiled(
            self.subject.forward, image, self.plan, target,
            workers=self.workers, advance=advance, after_tile=after_piece,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Strips(InPieces):
    """Strips of ``plan``, from top to bottom; ``layers``: the network's hyper-convolutions in order of use."""

    plan: StripPlan
    layers: tuple[HyperConv2d, ...] = ()
    kind: ClassVar[str] = "strips"

    @property
    def pieces(self) -> int:
        return self.plan.strips

    @property
    def kept(self) -> tuple[Weights, ...]:
        passes = self.filters.passes if self.filters else ()
        return self.plan.weights, *(plan.weights for one in passes for _, plan in one)

    @property
    def text(self) -> str:
        return f"{self.mode}: {self.plan.text}{self._passes_text}{self._need_text}"

    def run_image(self, image: Tensor, target: Tensor, advance: Call, after_piece: Call) -> None:
        def take(strip: Tensor, first: int) -> None:
            after_piece()
            advance()

        with self._own_errors():
            run_strips(frozen(self.subject.network, self.layers), image, self.plan, take, target)
