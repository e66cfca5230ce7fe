"""The inverted pyramid of PyNET and PyNET-CA: six levels from coarse (5, a sixteenth) to fine (0, twice).

Level L returns images of 2 / 2^L times the size of the planes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from zoo.convention import InputSpec
from zoo.errors import UserError


class LevelOutputs(NamedTuple):
    """The images of all levels in the network's range, coarse to fine; level L is (N, 3, 2H / 2^L, 2W / 2^L)."""

    level5: Tensor
    level4: Tensor
    level3: Tensor
    level2: Tensor
    level1: Tensor
    level0: Tensor


def concatenate(*tensors: Tensor) -> Tensor:
    """Return the tensors (N, ..., H, W) joined along their channels."""
    return torch.cat(tensors, dim=1)


def reflect_conv(in_channels: int, out_channels: int, kernel: int = 3, *, bias: bool = True) -> nn.Conv2d:
    """Return a convolution that keeps the size of its input, which is reflected at the border."""
    return nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, padding_mode="reflect", bias=bias)


def leaky_relu() -> nn.LeakyReLU:
    """Return the activation of all hidden layers."""
    return nn.LeakyReLU(0.2, inplace=True)


def doubling() -> nn.Upsample:
    """Return the layer that doubles height and width bilinearly."""
    return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)


def check_level(model: str, level: int) -> None:
    """Raise UserError for a level outside 0..5."""
    if level not in range(6):
        raise UserError(f"{model} has no level {level}; expected 0 (twice the planes' size) to 5 (a sixteenth).")


def check_size(network: str, x: Tensor) -> None:
    """Raise ValueError unless the height and width of planes are multiples of 16 and at least 32."""
    height, width = x.shape[-2:]
    if height % 16 or width % 16 or min(height, width) < 32:
        raise ValueError(f"{network} takes planes with multiples of 16, at least 32; got {height}x{width}")


def at_level(spec: InputSpec) -> Callable[[Mapping[str, Any]], InputSpec]:
    """Return ``input_of`` for a network whose option ``level`` halves its output so many times."""
    return lambda options: replace(spec, output_scale=2.0 ** (1 - options["level"]))
