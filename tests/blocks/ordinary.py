"""Blocks that have always been exact: what stands around the others."""

from __future__ import annotations

from random import Random

import torch
import torch.nn.functional as F
from torch import nn

from tests.blocks import Block, conv, kind


@kind("ordinary")
def conv_relu(draw: Random, c: int) -> nn.Module:
    return nn.Sequential(conv(c), nn.ReLU())


@kind("ordinary")
def residual(draw: Random, c: int) -> nn.Module:
    return Block(lambda self, x: x + self.body(x), body=nn.Sequential(conv(c), nn.ReLU(), conv(c, kernel=1)))


@kind("ordinary")
def dense(draw: Random, c: int) -> nn.Module:
    def forward(self, x):
        first = F.leaky_relu(self.first(x), 0.2)
        return self.last(torch.cat([x, first, F.leaky_relu(self.second(torch.cat([x, first], 1)), 0.2)], 1))

    return Block(forward, first=conv(c), second=conv(2 * c, c), last=conv(3 * c, c, 1))


@kind("ordinary")
def pool_and_upsample(draw: Random, c: int) -> nn.Module:
    def forward(self, x):
        small = self.body(F.max_pool2d(x, 2) if self.largest else F.avg_pool2d(x, 2))
        # An odd side loses its last pixel: repeat the one before.
        up = F.interpolate(small, scale_factor=2, mode=self.mode)
        return x + F.pad(up, (0, x.shape[-1] - up.shape[-1], 0, x.shape[-2] - up.shape[-2]), mode="replicate")

    mode = draw.choice(["nearest", "bilinear"])
    return Block(forward, body=conv(c), mode=mode, largest=draw.random() < 0.5)


@kind("ordinary")
def shuffled(draw: Random, c: int) -> nn.Module:
    up = nn.Sequential(conv(c, 4 * c, 1), nn.PixelShuffle(2), nn.ReLU())
    return nn.Sequential(up, nn.PixelUnshuffle(2), conv(4 * c, c, 1))


@kind("ordinary")
def normed(draw: Random, c: int) -> nn.Module:
    norm = draw.choice([lambda: nn.BatchNorm2d(c), lambda: nn.GroupNorm(1, c), lambda: nn.InstanceNorm2d(c)])()
    return Block(lambda self, x: x + 0.3 * self.norm(self.body(x)), norm=norm, body=conv(c))


@kind("ordinary")
def gated(draw: Random, c: int) -> nn.Module:
    def forward(self, x):
        value, gate = self.body(x).chunk(2, dim=1)
        return x + torch.tanh(value) * torch.sigmoid(gate)

    return Block(forward, body=conv(c, 2 * c))
