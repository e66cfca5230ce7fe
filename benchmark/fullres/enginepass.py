"""An inference engine in place of the network, for whole images and for tiles of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from benchmark.conditions import Conditions
from benchmark.fullres.execution import Execution, Tiles
from benchmark.fullres.hyper import order_of_use
from benchmark.fullres.subject import Subject
from benchmark.placing import Placed, place
from zoo.splitting import split

if TYPE_CHECKING:
    from benchmark.backends.compiled import Cost


class EnginePass:
    """Runs planes (N, C, h, w) by an engine and returns the network's output; compiled once for each shape.

    While the filters of a hyper-network are fixed, as they are for all tiles of an image, the engine gets them with
    each tile and runs only the convolutions.
    """

    def __init__(self, subject: Subject, conditions: Conditions) -> None:
        self._whole = Placed(subject.network, conditions, subject.quantized)
        halves = None if subject.quantized else split(subject.network)
        self._forward = place(halves.forward, conditions) if halves else None
        side = subject.side(64)
        self._layers = order_of_use(subject.network, subject.channels, (side, side))

    def __call__(self, planes: Tensor) -> Tensor:
        """Run one pass."""
        filters = [layer.fixed_filters for layer in self._layers]
        fixed = [bank for bank in filters if isinstance(bank, Tensor)]
        output: Tensor = self._forward(planes, *fixed) if self._forward and fixed else self._whole(planes)
        return output

    @property
    def compile_seconds(self) -> float:
        """Return the seconds that the engine has taken to compile so far."""
        return sum(float(getattr(one, "compile_seconds", 0.0)) for one in (self._whole, self._forward))

    def prepare(self, how: Execution, planes: Tensor) -> int | None:
        """Compile for every size of crop that images like ``planes`` are cut into; return the bytes that stay resident.

        None: nothing was compiled, or the system does not report it.
        """
        shapes = [planes.shape]
        if isinstance(how, Tiles):
            shapes = [torch.Size((1, planes.shape[1], *size)) for size in {tile.crop_size for tile in how.plan}]
        # While the tiles run, the filters are fixed and given with each tile.
        filters = [torch.zeros(1, *layer.filter_shape) for layer in self._layers] if how.passes else []
        network = self._forward if filters else self._whole.model
        compile_for: Callable[..., Cost | None] = network.prepare  # type: ignore[union-attr, assignment]
        costs = [compile_for(torch.zeros(shape), *filters) for shape in sorted(shapes)]
        known = [cost.resident_bytes for cost in costs if cost is not None and cost.resident_bytes is not None]
        return sum(known) if known else None
