"""Ordinary blocks of networks, as users write them: each takes (N, C, H, W) and returns that shape.

A block is a function of its parts and of the input, so that many of them can be read at a glance. Values stay of the
order of one. ``KINDS`` lists all of them by name, in the order in which the files below register them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from random import Random
from typing import Any

from torch import Tensor, nn


class Block(nn.Module):
    """``function(self, x)``, with ``parts`` as attributes: modules, parameters, buffers (tensors) and plain values."""

    def __init__(self, function: Callable[[Any, Tensor], Any], **parts: Any) -> None:
        super().__init__()
        self.function = function
        self.values = {name: part for name, part in parts.items() if not isinstance(part, Tensor | nn.Module)}
        for name, part in parts.items():
            if isinstance(part, Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.values.items())


@dataclass(frozen=True)
class Kind:
    """One kind of block. ``build(draw, channels)`` makes one at random.

    ``group``: "ordinary", or the family that it belongs to. ``steps``: its output jumps where its input changes by a
    rounding error, so it sees the network's input alone, which has none. ``runs``: it may differ from run to run.
    """

    name: str
    group: str
    build: Callable[[Random, int], nn.Module]
    steps: bool = False
    runs: bool = False


KINDS: dict[str, Kind] = {}


def kind(group: str, *, steps: bool = False, runs: bool = False) -> Callable[..., Any]:
    """Register the decorated ``build(draw, channels)`` under its own name."""

    def register(build: Callable[[Random, int], nn.Module]) -> Callable[[Random, int], nn.Module]:
        assert build.__name__ not in KINDS
        KINDS[build.__name__] = Kind(build.__name__, group, build, steps, runs)
        return build

    return register


def conv(channels: int, out: int | None = None, kernel: Any = 3, **options: Any) -> nn.Conv2d:
    """Return a convolution that keeps the size, unless ``options`` say otherwise."""
    if "padding" not in options:
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        options["padding"] = tuple(side // 2 for side in sides)
    return nn.Conv2d(channels, out or channels, kernel, **options)


# A new file goes last: the order decides what a seed means.
FILES = (
    "axes", "attention", "inplace", "layers", "ordinary", "padding", "places", "sizes", "spatial", "views", "whole",
    "wrapped",
)  # fmt: skip
for _file in FILES:
    import_module(f"tests.blocks.{_file}")
