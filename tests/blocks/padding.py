"""Paddings of every mode, on sides that differ, and negative ones."""

from __future__ import annotations

from random import Random

import torch
import torch.nn.functional as F
from torch import nn

from tests.blocks import Block, conv, kind

MODES = ["circular", "reflect", "replicate", "constant"]


@kind("padding")
def padded_conv(draw: Random, c: int) -> nn.Module:
    """A layer's own padding mode."""
    mode, kernel = draw.choice(["circular", "reflect", "replicate", "zeros"]), draw.choice([3, 5, (3, 7), (5, 1)])
    return nn.Sequential(conv(c, kernel=kernel, padding_mode=mode), nn.LeakyReLU(0.1))


@kind("padding")
def circular_conv(draw: Random, c: int) -> nn.Module:
    return nn.Sequential(conv(c, padding_mode="circular"), nn.ReLU(), conv(c, padding_mode="circular"))


@kind("padding")
def padding_layer(draw: Random, c: int) -> nn.Module:
    layers = [nn.ReflectionPad2d, nn.ReplicationPad2d, nn.ZeroPad2d, nn.CircularPad2d]
    return nn.Sequential(draw.choice(layers)(draw.choice([1, (0, 2, 1, 1), (2, 0, 0, 2)])), conv(c, padding=0))


@kind("padding")
def asymmetric_pad(draw: Random, c: int) -> nn.Module:
    """Padded on sides that differ, convolved, cropped by a negative padding."""

    def forward(self, x):
        value = {"value": 0.5} if self.mode == "constant" else {}
        padded = F.pad(x, self.sides, mode=self.mode, **value)
        return F.pad(self.body(padded), [-side for side in self.sides])

    sides = [draw.randint(0, 5) for _ in range(4)]
    return Block(forward, body=conv(c), mode=draw.choice(MODES), sides=sides)


@kind("padding")
def cropped_and_padded(draw: Random, c: int) -> nn.Module:
    """The border cut off by a negative padding and filled anew."""

    def forward(self, x):
        return F.pad(F.pad(x, [-side for side in self.sides]), self.sides, mode=self.mode)

    return Block(forward, mode=draw.choice(MODES), sides=[draw.randint(0, 3) for _ in range(4)])


@kind("padding")
def padded_by_cat(draw: Random, c: int) -> nn.Module:
    """The first rows or columns after the last, by ``torch.cat``: a circular padding by hand."""

    def forward(self, x):
        if self.dim == 2:
            return self.body(torch.cat([x[:, :, -1:], x, x[:, :, :1]], 2))
        return self.body(torch.cat([x[..., -1:], x, x[..., :1]], -1))

    dim = draw.choice([2, 3])
    return Block(forward, dim=dim, body=conv(c, kernel=(3, 1) if dim == 2 else (1, 3), padding=0))


@kind("padding")
def channel_pad(draw: Random, c: int) -> nn.Module:
    """Zero channels added, then mixed."""
    return Block(lambda self, x: self.mix(F.pad(x, (0, 0, 0, 0, 1, 2))), mix=conv(c + 3, c, 1))
