"""Hyper-networks over tiles: first the filters, which depend on the whole image, then the image with them.

Filters come from the maxima of embeddings over a grid on the whole image, and maxima can be gathered tile by tile. All
HyperConvs whose embeddings need no filters still to come are gathered in one pass over the image, in which nothing
behind them is computed. HyperUNet takes one pass; in HyperVDN each layer's embedding needs the layer before, so it
takes one pass per layer, each as far as that layer.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.fullres.rows.statistics import maxima_of
from benchmark.fullres.tiles.plan import Axis, Piece, Plan, Tile
from benchmark.fullres.tiles.receptive import OnMeta, Reception, following, reception_of
from benchmark.fullres.tiles.run import Workers, over_tiles
from benchmark.fullres.tiles.spans import Span
from zoo.hyper import HyperConv2d


@dataclass(frozen=True)
class Embedding:
    """An embedding: what it depends on, the HyperConvs that it feeds, and after how many others' filters it comes."""

    reception: Reception
    level: int
    layers: tuple[HyperConv2d, ...]


class Maxima:
    """The maxima of an embedding over its grid, gathered part by part; parts may overlap."""

    def __init__(self, embedding: Embedding, channels: int) -> None:
        self.embedding = embedding
        self.pool = embedding.layers[0].pool
        self.values = torch.full((1, channels, self.pool, self.pool), -torch.inf)
        self._lock = threading.Lock()

    def take(self, part: Tensor, tile: Tile) -> None:
        """Take what a tile's crop shows of the embedding (1, C, h, w)."""
        found = _maxima(part, self, tile)
        with self._lock:
            torch.maximum(self.values, found, out=self.values)


class _SeenError(Exception):
    """All embeddings of a pass were seen: the rest of the network need not run."""


def hyper_layers(network: nn.Module) -> list[HyperConv2d]:
    """Return the HyperConvs of a network."""
    return [module for module in network.modules() if isinstance(module, HyperConv2d)]


def release_filters(network: nn.Module) -> None:
    """Let every HyperConv predict its filters again."""
    for layer in hyper_layers(network):
        layer.fixed_filters = None


@dataclass(frozen=True)
class Anatomy:
    """A hyper-network taken apart: the passes that find its filters, and what its output depends on given those."""

    passes: tuple[tuple[Embedding, ...], ...]
    forward: Reception


def dissect(network: nn.Module, channels: int, size: tuple[int, int]) -> Anatomy:
    """Return the passes over an image (1, channels, *size) that find the filters of ``network``, in order.

    Nothing is computed. Layers whose filters are fixed, or that the forward pass does not run, are not among them.
    """
    seen: dict[int, tuple[Tensor, list[HyperConv2d]]] = {}
    planes = torch.empty(1, channels, *size, device="meta")
    free = [layer for layer in hyper_layers(network) if layer.fixed_filters is None]
    with following(network, planes) as follower:

        def enter(layer: nn.Module, args: Any) -> None:
            assert isinstance(layer, HyperConv2d)
            seen.setdefault(id(args[1]), (args[1], []))[1].append(layer)
            # What follows is looked at as it is with filters that are there: constants.
            layer.fixed_filters = torch.empty(1, *layer.filter_shape, device="meta")

        def leave(layer: nn.Module, args: Any, output: Tensor) -> None:
            follower.raise_level(output, 1 + follower.level_of(args[1]))

        hooks = [layer.register_forward_pre_hook(enter) for layer in free]
        hooks += [layer.register_forward_hook(leave) for layer in free]
        try:
            output = network(planes)
        finally:
            for hook in hooks:
                hook.remove()
            for layer in free:
                layer.fixed_filters = None
    found = [
        Embedding(reception_of(follower, size, tensor), follower.level_of(tensor), tuple(layers))
        for tensor, layers in seen.values()
    ]
    levels = sorted({one.level for one in found})
    passes = tuple(tuple(one for one in found if one.level == level) for level in levels)
    return Anatomy(passes, reception_of(follower, size, output))


def together(embeddings: Sequence[Embedding]) -> Reception:
    """Return one reception for a pass that serves all: their widest reach, counted in the input's own pixels.

    Its reach is None where one of them cannot be followed.
    """
    first = embeddings[0].reception
    if any(one.reception.reach is None for one in embeddings):
        return replace(first, reach=None)
    spans = []
    for axis in (0, 1):
        reaches = [one.reception.reach[axis] for one in embeddings if one.reception.reach]
        spans.append(Span(low=min(r.low for r in reaches), high=max(r.high - r.stride + 1 for r in reaches)))
    return replace(first, reach=(spans[0], spans[1]), output_size=first.size)


def fix_filters(
    network: nn.Module,
    planes: Tensor,
    passes: Sequence[Sequence[Embedding]],
    plans: Sequence[Plan],
    *,
    workers: Workers | None = None,
    advance: Callable[[], None] = lambda: None,
    after_tile: Callable[[], None] = lambda: None,
) -> None:
    """Predict every filter of ``network`` for the image ``planes`` (1, C, H, W) and fix it, pass by pass.

    ``plans`` cut the image for each of ``passes``, as ``together`` says what they have to see. Filters stay fixed until
    ``release_filters``, whatever happens here.
    """
    for embeddings, plan in zip(passes, plans):
        maxima = [Maxima(one, one.reception.output_channels) for one in embeddings]
        gather = _Gathering(network, planes, plan, maxima, workers or Workers(), after_tile)
        for _ in gather.run():
            advance()
        with torch.inference_mode():
            for one in maxima:
                for layer in one.embedding.layers:
                    layer.fixed_filters = layer.filters_of(one.values.to(planes.dtype))


class _Gathering:
    """One pass: crops run as far as the pass's embeddings, whose maxima take in what each crop shows of them."""

    def __init__(
        self,
        network: nn.Module,
        planes: Tensor,
        plan: Plan,
        maxima: Sequence[Maxima],
        workers: Workers,
        after_tile: Callable[[], None],
    ) -> None:
        self.network, self.planes, self.plan, self.workers = network, planes, plan, workers
        self.after_tile = after_tile
        # By the first layer that each embedding feeds.
        self.maxima = {one.embedding.layers[0]: one for one in maxima}
        self.current = threading.local()

    def run(self) -> Iterator[None]:
        unresolved = [layer for layer in hyper_layers(self.network) if layer.fixed_filters is None]
        hooks = [layer.register_forward_pre_hook(self._look) for layer in unresolved]
        for layer in unresolved:
            # Not even on meta, which takes Python some milliseconds per tile.
            layer.__dict__["predict_filters"] = partial(_no_filters, layer)
        try:
            yield from over_tiles(self._run_tile, self.plan, self.workers.count)
        finally:
            for hook in hooks:
                hook.remove()
            for layer in unresolved:
                del layer.__dict__["predict_filters"]

    def _run_tile(self, tile: Tile) -> None:
        self.current.tile, self.current.left = tile, len(self.maxima)
        layout = torch.channels_last if self.workers.channels_last else torch.contiguous_format
        crop = self.planes[..., tile.rows.crop, tile.columns.crop].clone(memory_format=layout)
        with torch.inference_mode(), OnMeta(), contextlib.suppress(_SeenError):
            self.network(crop)
        self.after_tile()

    def _look(self, layer: nn.Module, args: Any) -> Any:
        x, embedding = args
        one = self.maxima.get(layer)  # type: ignore[call-overload]
        if one is not None:
            one.take(embedding, self.current.tile)
            self.current.left -= 1
            if not self.current.left:
                raise _SeenError
        # What follows needs filters that are not there yet: it runs on meta, where nothing is computed.
        return _on_meta(x), _on_meta(embedding)


def _no_filters(layer: HyperConv2d, embedding: Tensor) -> Tensor:
    return torch.empty(1, *layer.filter_shape, device="meta")


def _on_meta(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_meta else torch.empty_like(tensor, device="meta")


def _maxima(embedding: Tensor, one: Maxima, tile: Tile) -> Tensor:
    """Return the maxima over the grid of what a tile shows of an embedding; cells without a part are -inf."""
    grid = torch.full_like(one.values, -torch.inf)
    reception = one.embedding.reception
    assert reception.reach is not None
    rows, columns = (
        _parts(Axis(reception.size[axis], reception.output_size[axis], reception.reach[axis], ()), piece, one.pool)
        for axis, piece in enumerate((tile.rows, tile.columns))
    )
    for i, row in rows:
        for j, column in columns:
            grid[0, :, i, j] = maxima_of(embedding[0, :, row, column])
    return grid


def _parts(axis: Axis, piece: Piece, pool: int) -> list[tuple[int, slice]]:
    """Return, by cell of the grid, which elements of the crop's embedding belong to the tile and to the cell.

    Cells are those of adaptive pooling: from floor(i n / pool) to ceil((i + 1) n / pool), so they may overlap.
    """
    own, offset, n = axis.output(piece), axis.span.element(piece.crop_start), axis.output_length
    parts = []
    for cell in range(pool):
        start, end = max(own.start, cell * n // pool), min(own.stop, -(-(cell + 1) * n // pool))
        if start < end:
            parts.append((cell, slice(start - offset, end - offset)))
    return parts


def order_of_use(network: nn.Module, channels: int, size: tuple[int, int]) -> tuple[HyperConv2d, ...]:
    """Return the hyper-convolutions in the order in which a pass uses them; nothing is computed."""
    found: list[HyperConv2d] = []
    fixed = {layer: layer.fixed_filters for layer in hyper_layers(network)}
    if not fixed:
        return ()
    hooks = [layer.register_forward_hook(lambda layer, *_: found.append(layer)) for layer in fixed]
    try:
        for layer in fixed:
            layer.fixed_filters = torch.empty(1, *layer.filter_shape, device="meta")
        with torch.inference_mode(), OnMeta():
            network(torch.empty(1, channels, *size, device="meta"))
    finally:
        for hook in hooks:
            hook.remove()
        for layer, filters in fixed.items():
            layer.fixed_filters = filters
    return tuple(found)
