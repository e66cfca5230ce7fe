"""The filters of a hyper-network, found in strips of the image before it is run in pieces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmark.fullres.hyper import FilterSource
from benchmark.fullres.rows.graph import Node
from benchmark.fullres.rows.statistics import Cells
from benchmark.fullres.strips.plan import StripPlan
from benchmark.fullres.strips.run import run_strips
from benchmark.fullres.subject import Call
from zoo.hyper import HyperConv2d
from zoo.splitting import FrozenNetwork


@dataclass(frozen=True)
class FilterStrips:
    """How the filters of a hyper-network are found: for each pass over the image, the embeddings and their plans.

    ``layers``: its hyper-convolutions in the order of use. ``keep``: filters stay fixed for the images that follow.
    """

    passes: tuple[tuple[tuple[FilterSource, StripPlan], ...], ...]
    layers: tuple[HyperConv2d, ...]
    keep: bool = False

    @property
    def peak_bytes(self) -> int:
        """The bytes that the largest plan needs."""
        return max(plan.peak_bytes for one in self.passes for _, plan in one)

    def fix(self, network: nn.Module, image: Tensor, *, advance: Call, after_piece: Call) -> None:
        """Predict every filter for ``image`` (1, C, H, W) and fix it, unless all are fixed.

        ``advance`` is called after each pass, ``after_piece`` after each strip.
        """
        if all(layer.fixed_filters is not None for layer in self.layers):
            return
        for sources in self.passes:
            found = [self._maxima(network, image, source, plan, after_piece) for source, plan in sources]
            with torch.inference_mode():
                for (source, _), values in zip(sources, found):
                    for layer in source.layers:
                        layer.fixed_filters = layer.filters_of(values.to(image.dtype))
            advance()

    def _maxima(
        self, network: nn.Module, image: Tensor, source: FilterSource, plan: StripPlan, after_piece: Call
    ) -> Tensor:
        embedding, pool = plan.graph.output, source.layers[0].pool
        node = Node("maxima", (embedding,), shape=(1, embedding.size(1), pool, pool))
        cells = Cells(node, (pool, pool), maximum=True)

        def take(strip: Tensor, first: int) -> None:
            cells.update(strip, first)
            after_piece()

        run_strips(EmbeddingOf(network, self.layers, source.layers[0]), image, plan, take)
        values: Tensor = cells.result()
        return values


class EmbeddingOf(nn.Module):
    """The part of a hyper-network up to the embedding that gives the filters of ``layer``."""

    def __init__(self, network: nn.Module, layers: Sequence[HyperConv2d], layer: HyperConv2d) -> None:
        super().__init__()
        self.inner = frozen(network, layers)
        self._layer = (layer,)

    def forward(self, x: Tensor) -> Tensor:
        """Return the embedding of an image (1, C, H, W)."""
        hook = self._layer[0].register_forward_pre_hook(_found)
        try:
            self.inner(x)
        except _FoundError as found:
            return found.embedding
        finally:
            hook.remove()
        raise ValueError("the network does not run its hyper-convolution")


class _FoundError(Exception):
    """The embedding has been computed: the rest of the network need not run."""

    def __init__(self, embedding: Tensor) -> None:
        super().__init__()
        self.embedding = embedding


def _found(layer: nn.Module, args: tuple[Tensor, Tensor]) -> None:
    raise _FoundError(args[1])


def frozen(network: nn.Module, layers: Sequence[HyperConv2d]) -> nn.Module:
    """Return the network with the filters that are already fixed, and zeros in place of the others."""
    fixed = [layer.fixed_filters for layer in layers]
    filters = [torch.zeros(1, *layer.filter_shape) if one is None else one for one, layer in zip(fixed, layers)]
    return FrozenNetwork(network, filters) if filters else network
