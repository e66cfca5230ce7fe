"""Hyper-networks in pieces: first the filters, which depend on the whole image, then the image with them.

Filters come from the maxima of embeddings over a grid on the whole image, and maxima can be gathered strip by strip.
One pass over the image serves all HyperConvs whose embeddings do not need filters that are still unknown. HyperUNet
takes one pass. In HyperVDN each layer's embedding needs the layer before it, so there is one pass per layer, which runs
the network only up to that layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.fullres.inexact import InexactError
from benchmark.fullres.tiles.receptive import OnMeta, Reception, following, reception_of
from benchmark.fullres.untouched import untouched
from zoo.errors import OutputError, in_one_line
from zoo.hyper import HyperConv2d
from zoo.splitting import FilterNetwork, predicting


@dataclass(frozen=True)
class FilterSource:
    """An embedding from which filters are predicted.

    ``level``: how many HyperConvs run before it, one after another; ``layers``: the layers whose filters it gives.
    """

    level: int
    layers: tuple[HyperConv2d, ...]


def hyper_layers(network: nn.Module) -> list[HyperConv2d]:
    """Return the HyperConvs of a network."""
    return [module for module in network.modules() if isinstance(module, HyperConv2d)]


def release_filters(network: nn.Module) -> None:
    """Let every HyperConv predict its filters again."""
    for layer in hyper_layers(network):
        layer.fixed_filters = None


@dataclass(frozen=True)
class Anatomy:
    """The parts of a hyper-network: the passes that find its filters, and what its output then depends on."""

    passes: tuple[tuple[FilterSource, ...], ...]
    forward: Reception


def dissect(network: nn.Module, channels: int, size: tuple[int, int]) -> Anatomy:
    """Return the passes over an image (1, channels, *size) that find the filters of ``network``, in order.

    Nothing is computed. Layers that the forward pass does not run, or whose filters are fixed, are left out.
    Raises InexactError for a network that does not run without data, or that refuses the size.
    """
    seen: dict[int, tuple[Tensor, list[HyperConv2d]]] = {}
    planes = torch.empty(1, channels, *size, device="meta")
    free = [layer for layer in hyper_layers(network) if layer.fixed_filters is None]
    with untouched(network) as changed, following(network, planes) as follower:

        def enter(layer: nn.Module, args: Any) -> None:
            assert isinstance(layer, HyperConv2d)
            seen.setdefault(id(args[1]), (args[1], []))[1].append(layer)
            # From here on the filters are constants, as they are once they have been found.
            layer.fixed_filters = torch.empty(1, *layer.filter_shape, device="meta")

        def leave(layer: nn.Module, args: Any, output: Tensor) -> None:
            follower.raise_level(output, 1 + follower.level_of(args[1]))

        hooks = [layer.register_forward_pre_hook(enter) for layer in free]
        hooks += [layer.register_forward_hook(leave) for layer in free]
        try:
            output = network(planes)
        except OutputError:
            raise
        except Exception as error:
            raise InexactError(f"it cannot be followed at {size[0]}x{size[1]} ({in_one_line(error)})") from error
        finally:
            for hook in hooks:
                hook.remove()
            for layer in free:
                layer.fixed_filters = None
    if changed:
        raise InexactError(f"a pass changes the network's attribute {changed[0]}")
    found = [FilterSource(follower.level_of(tensor), tuple(layers)) for tensor, layers in seen.values()]
    levels = sorted({one.level for one in found})
    passes = tuple(tuple(one for one in found if one.level == level) for level in levels)
    return Anatomy(passes, reception_of(follower, size, output))


def fix_filters_of_the_whole(network: nn.Module, layers: Sequence[HyperConv2d], planes: Tensor) -> None:
    """Predict every filter of ``network`` in one pass over the whole image ``planes`` (1, C, H, W), and fix them.

    ``layers`` are its hyper-convolutions in the order of use. Filters stay fixed until ``release_filters``.
    """
    with torch.inference_mode():
        for layer, filters in zip(layers, FilterNetwork(network)(planes)):
            layer.fixed_filters = filters


def order_of_use(network: nn.Module, channels: int, size: tuple[int, int]) -> tuple[HyperConv2d, ...]:
    """Return the hyper-convolutions in the order in which a pass uses them; nothing is computed."""
    found: list[HyperConv2d] = []

    def predict(layer: HyperConv2d, embedding: Tensor) -> Tensor:
        found.append(layer)
        return torch.empty(1, *layer.filter_shape, device="meta")

    if hyper_layers(network):
        with predicting(network, predict), torch.inference_mode(), OnMeta():
            network(torch.empty(1, channels, *size, device="meta"))
    return tuple(found)
