"""Split a hyper-network into two halves: one predicts the filters from the image, one runs with given filters.

The filters depend on the whole image, so tiles, engines and bursts need them separately from the convolutions. Any
network whose hyper-convolutions are ``HyperConv2d`` can be split; nothing is copied, both halves share its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from torch import Tensor, nn

from zoo.hyper import HyperConv2d


class FilterNetwork(nn.Module):
    """Map an image (N, C, H, W) to the filters (N, C_out, C_in, k, k) of every hyper-convolution, in order of use.

    In PyTorch it runs the whole network; a captured graph leaves out everything that no filter depends on.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the predicted filters."""
        found: list[Tensor] = []

        def predict(layer: HyperConv2d, embedding: Tensor) -> Tensor:
            found.append(HyperConv2d.predict_filters(layer, embedding))
            return found[-1]

        with predicting(self.network, predict):
            self.network(x)
        return tuple(found)


class ForwardNetwork(nn.Module):
    """Map an image (N, C, H, W) and the filters of every hyper-convolution to the network's output."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, *filters: Tensor) -> Tensor:
        """Run the network with ``filters``, in the order that ``FilterNetwork`` returns."""
        given = iter(filters)
        with predicting(self.network, lambda layer, embedding: next(given)):
            return self.network(x)


class FrozenNetwork(nn.Module):
    """A hyper-network with the fixed filters of one image: maps (N, C, H, W) to the network's output."""

    def __init__(self, network: nn.Module, filters: Sequence[Tensor]) -> None:
        """``filters`` are the filters of one image, as ``FilterNetwork`` returns them."""
        super().__init__()
        self.inner = ForwardNetwork(network)
        self._count = len(filters)
        for index, tensor in enumerate(filters):
            self.register_buffer(f"filters_{index}", tensor)

    def forward(self, x: Tensor) -> Tensor:
        """Run the network with its fixed filters."""
        return self.inner(x, *(getattr(self, f"filters_{index}") for index in range(self._count)))


class Halves(NamedTuple):
    """A split hyper-network: ``forward(x, *filters(x))`` equals the network's output for x."""

    filters: FilterNetwork
    forward: ForwardNetwork


def split(network: nn.Module) -> Halves | None:
    """Return the halves of a hyper-network; None for a network without hyper-convolutions."""
    if not any(isinstance(module, HyperConv2d) for module in network.modules()):
        return None
    return Halves(FilterNetwork(network).eval(), ForwardNetwork(network).eval())


@contextmanager
def predicting(network: nn.Module, predict: Callable[[HyperConv2d, Tensor], Tensor]) -> Iterator[None]:
    """Let the hyper-convolutions of ``network`` take their filters from ``predict`` during the block."""
    layers = [module for module in network.modules() if isinstance(module, HyperConv2d)]
    fixed = [layer.fixed_filters for layer in layers]
    for layer in layers:
        layer.fixed_filters = None
        layer.__dict__["predict_filters"] = lambda embedding, layer=layer: predict(layer, embedding)
    try:
        yield
    finally:
        for layer, before in zip(layers, fixed):
            layer.fixed_filters = before
            del layer.__dict__["predict_filters"]
