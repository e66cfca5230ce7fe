"""Which networks go down an image in strips, and how: the filters of a hyper-network first, then its output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmark.fullres.hyper import FilterSource, order_of_use
from benchmark.fullres.rows.graph import Node, OperatorGraph
from benchmark.fullres.rows.statistics import Cells
from benchmark.fullres.strips.plan import StripPlan, graph_of, plan_strips
from benchmark.fullres.strips.run import run_strips
from zoo.hyper import HyperConv2d
from zoo.splitting import FrozenNetwork

# Rows of the input that strips of the output come from, the best first: larger ones are hardly faster, and small ones
# are many calls of each kernel.
ROWS = (64, 48, 32, 24, 16, 8)
# What strips take where memory is plenty: this, or a part of what lives during a pass over the whole image. One tensor
# stays below what glibc's heap takes from the system every time.
LITTLE_BYTES, USUAL_PART, LARGEST_BYTES = 64 << 20, 1 / 12, 32 << 20
Call = Callable[[], None]


@dataclass(frozen=True)
class Strips:
    """How a network runs down images of one size; ``layers``: its hyper-convolutions in the order of their use."""

    plan: StripPlan
    layers: tuple[HyperConv2d, ...]

    def run(
        self,
        network: nn.Module,
        planes: Tensor,
        out: Tensor,
        *,
        advance: Call = lambda: None,
        after: Call = lambda: None,
    ) -> Tensor:
        """Fill ``out`` with the output for an image (1, C, H, W) and return it; filters must be fixed.

        ``advance`` and ``after`` are called after each strip.
        """

        def take(strip: Tensor, first: int) -> None:
            after()
            advance()

        run_strips(_frozen(network, self.layers), planes, self.plan, take, out)
        return out

    @property
    def text(self) -> str:
        """What a user reads about them."""
        rows = max(step.last - step.first for step in self.plan.steps if step.node is self.plan.graph.output)
        return f"{self.plan.strips} of {rows} output rows, nothing computed twice"


@dataclass(frozen=True)
class FilterStrips:
    """How the filters of a hyper-network are found: by pass, its embeddings with the plan of each."""

    passes: tuple[tuple[tuple[FilterSource, StripPlan], ...], ...]
    layers: tuple[HyperConv2d, ...]

    @property
    def peak_bytes(self) -> int:
        """What the largest plan takes."""
        return max(plan.peak_bytes for one in self.passes for _, plan in one)

    @property
    def embeddings(self) -> tuple[tuple[FilterSource, ...], ...]:
        """The embeddings of each pass."""
        return tuple(tuple(embedding for embedding, _ in one) for one in self.passes)

    def fix(
        self, network: nn.Module, planes: Tensor, *, advance: Call = lambda: None, after: Call = lambda: None
    ) -> None:
        """Predict every filter for the image ``planes`` (1, C, H, W) and fix it; ``advance``: after each pass."""
        for embeddings in self.passes:
            found = [self._maxima(network, planes, one, plan, after) for one, plan in embeddings]
            with torch.inference_mode():
                for (one, _), values in zip(embeddings, found):
                    for layer in one.layers:
                        layer.fixed_filters = layer.filters_of(values.to(planes.dtype))
            advance()

    def _maxima(self, network: nn.Module, planes: Tensor, one: FilterSource, plan: StripPlan, after: Call) -> Tensor:
        source, pool = plan.graph.output, one.layers[0].pool
        cells = Cells(Node("maxima", (source,), shape=(1, source.size(1), pool, pool)), (pool, pool), maximum=True)

        def take(strip: Tensor, first: int) -> None:
            cells.update(strip, first)
            after()

        run_strips(_EmbeddingOf(network, self.layers, one.layers[0]), planes, plan, take)
        values: Tensor = cells.result()
        return values


def find_strips(
    network: nn.Module,
    channels: int,
    size: tuple[int, int],
    budget: int,
    whole_bytes: float,
    rows: int | None = None,
) -> Strips | None:
    """Return the strips for images of ``size`` within ``budget`` bytes; None if the budget allows none.

    ``whole_bytes``: the peak of live activations of a pass over the whole image. ``rows`` of the input in a strip are
    chosen unless given. Raises InexactError, with its name, for an operator that needs the whole image.
    """
    layers = order_of_use(network, channels, size)
    plan = _plan(_frozen(network, layers), (1, channels, *size), budget, whole_bytes, rows)
    return Strips(plan, layers) if plan.peak_bytes <= budget else None


def find_filter_strips(
    network: nn.Module,
    channels: int,
    size: tuple[int, int],
    budget: int,
    whole_bytes: float,
    passes: Sequence[Sequence[FilterSource]],
    rows: int | None = None,
) -> FilterStrips | int:
    """Return the strips that find the filters in ``passes``, or the bytes they need if the budget allows none.

    Raises InexactError, with its name, for an operator that needs the whole image.
    """
    layers, shape = order_of_use(network, channels, size), (1, channels, *size)

    def plan_of(one: FilterSource) -> StripPlan:
        return _plan(_EmbeddingOf(network, layers, one.layers[0]), shape, budget, whole_bytes, rows)

    found = FilterStrips(tuple(tuple((one, plan_of(one)) for one in embeddings) for embeddings in passes), layers)
    return found if found.peak_bytes <= budget else found.peak_bytes


def _plan(
    module: nn.Module, shape: tuple[int, int, int, int], budget: int, whole_bytes: float, rows: int | None
) -> StripPlan:
    """Return the plan with the most rows within the usual memory, or else the one with the fewest rows."""
    graph = graph_of(module, shape)
    most = min(budget, max(LITTLE_BYTES, USUAL_PART * whole_bytes))
    for number in (rows,) if rows else ROWS:
        plan = plan_strips(graph, _output_rows(graph, number))
        if plan.peak_bytes <= most and plan.largest_bytes <= LARGEST_BYTES:
            return plan
    return plan


def _output_rows(graph: OperatorGraph, rows: int) -> int:
    return max(1, rows * graph.output.size(2) // graph.input.size(2))


class _EmbeddingOf(nn.Module):
    """A hyper-network up to what it predicts the filters of ``layer`` from."""

    def __init__(self, network: nn.Module, layers: Sequence[HyperConv2d], layer: HyperConv2d) -> None:
        super().__init__()
        self.inner = _frozen(network, layers)
        self._layer = (layer,)

    def forward(self, x: Tensor) -> Tensor:
        hook = self._layer[0].register_forward_pre_hook(_found)
        try:
            self.inner(x)
        except _FoundError as found:
            return found.embedding
        finally:
            hook.remove()
        raise ValueError("the network does not run its hyper-convolution")


class _FoundError(Exception):
    """An embedding was seen: the rest of the network need not run."""

    def __init__(self, embedding: Tensor) -> None:
        super().__init__()
        self.embedding = embedding


def _found(layer: nn.Module, args: tuple[Tensor, Tensor]) -> None:
    raise _FoundError(args[1])


def _frozen(network: nn.Module, layers: Sequence[HyperConv2d]) -> nn.Module:
    """Return the network with the filters that are fixed now, and zeros in place of those still to come."""
    fixed = [layer.fixed_filters for layer in layers]
    filters = [torch.zeros(1, *layer.filter_shape) if one is None else one for one, layer in zip(fixed, layers)]
    return FrozenNetwork(network, filters) if filters else network
