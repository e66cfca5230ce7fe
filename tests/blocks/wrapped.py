"""Ordinary layers behind what torch wraps around them: parametrizations, hooks, checkpoints, scripts."""

from __future__ import annotations

from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from tests.blocks import Block, conv, kind


@kind("wrapped")
def parametrized(draw: Random, c: int) -> nn.Module:
    """Weights computed from others at each call."""
    wrap = draw.choice([parametrizations.weight_norm, parametrizations.spectral_norm])
    return nn.Sequential(wrap(conv(c)), nn.ReLU())


@kind("wrapped")
def hooked(draw: Random, c: int) -> nn.Module:
    """A forward hook that changes the output, another that changes the input."""
    layer = conv(c)
    layer.register_forward_hook(lambda module, inputs, output: output * 0.5 + 0.1)
    layer.register_forward_pre_hook(lambda module, inputs: (torch.tanh(inputs[0]),))
    return layer


@kind("wrapped")
def checkpointed(draw: Random, c: int) -> nn.Module:
    return Block(lambda self, x: x + checkpoint(self.body, x, use_reentrant=False), body=conv(c))


@kind("wrapped")
def called_otherwise(draw: Random, c: int) -> nn.Module:
    """Layers called by keyword, by their weights, through a list, and with options of forward."""

    def forward(self, x: Tensor, gain: float = 0.5):
        y = self.body(input=x)
        for layer in self.plain:
            y = layer(y)
        return F.conv2d(y, self.body.weight * gain, self.body.bias, padding="same")

    return Block(forward, body=conv(c), plain=[torch.tanh, nn.ReLU(), lambda y: y - 0.1])


class _Straight(torch.autograd.Function):
    """Small values as they are, large ones cut off, with a gradient of one."""

    @staticmethod
    def forward(ctx, x):
        return x.clamp(-0.5, 0.5)

    @staticmethod
    def backward(ctx, grad):
        return grad


@kind("wrapped")
def own_gradient(draw: Random, c: int) -> nn.Module:
    """An autograd function of the network's own."""
    return Block(lambda self, x: _Straight.apply(self.body(x)), body=conv(c))


@kind("wrapped")
def shared_layers(draw: Random, c: int) -> nn.Module:
    """One layer in two places, at two scales."""

    def forward(self, x):
        small = F.avg_pool2d(torch.tanh(self.first(x)), 2, ceil_mode=True)
        y = F.interpolate(self.second(small), scale_factor=2)[:, :, : x.shape[2], : x.shape[3]]
        return self.first(torch.tanh(y)) + x

    layer = conv(c)
    return Block(forward, first=layer, second=layer)
