"""An inference engine in place of the network, for whole images and for tiles of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmark.conditions import Conditions, Placed
from benchmark.fullres.hyper import hyper_layers
from benchmark.fullres.probe import probe_planes
from zoo.splitting import split


class EnginePass:
    """Planes (N, C, h, w) to what the network returns, by an engine; compiled once for each shape.

    While the filters of a hyper-network are fixed, as they are between the tiles of an image, the engine gets them with
    each tile and runs the convolutions alone.
    """

    def __init__(self, network: nn.Module, conditions: Conditions, channels: int, side: int) -> None:
        """``side`` is one that the network takes, on which it shows the order of its hyper-convolutions."""
        self._whole = Placed(network, conditions)
        halves = split(network)
        self._forward = conditions.place(halves.forward) if halves else None
        self._layers = _order_of_use(network, channels, side) if halves else []

    def __call__(self, planes: Tensor) -> Tensor:
        """Run one pass."""
        filters = [layer.fixed_filters for layer in self._layers]
        fixed = [bank for bank in filters if isinstance(bank, Tensor)]
        output: Tensor = self._forward(planes, *fixed) if self._forward and fixed else self._whole(planes)
        return output


def _order_of_use(network: nn.Module, channels: int, side: int) -> list[nn.Module]:
    found: list[nn.Module] = []
    hooks = [layer.register_forward_hook(lambda layer, *_: found.append(layer)) for layer in hyper_layers(network)]
    try:
        with torch.inference_mode():
            network(probe_planes(channels, (side, side)))
    finally:
        for hook in hooks:
            hook.remove()
    return found
