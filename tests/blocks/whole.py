"""Networks that meta tensors cannot follow, or that remember: they can only run whole."""

from __future__ import annotations

from random import Random

import numpy as np
import torch
from torch import nn

from tests.blocks import Block, conv, kind


@kind("untraceable")
def branch_by_value(draw: Random, c: int) -> nn.Module:
    """A branch by the image's own brightness."""

    def forward(self, x):
        bright = {
            "float": lambda: float(x.mean()) > self.least,
            "item": lambda: x.abs().max().item() > self.least,
            "tensor": lambda: x.mean() > self.least,
            "any": lambda: bool((x > self.least).any()),
            "tolist": lambda: x.mean((2, 3)).tolist()[0][0] > self.least,
        }[self.how]()
        return self.body(x) if bright else torch.tanh(x)

    ways = ["float", "item", "tensor", "any", "tolist"]
    return Block(forward, body=conv(c), least=draw.choice([-9.0, 0.02, 0.5, 9.0]), how=draw.choice(ways))


@kind("untraceable")
def scaled_by_item(draw: Random, c: int) -> nn.Module:
    def forward(self, x):
        scale = 1 + x.abs().max().item()
        return torch.tanh(self.body(x / scale)) * scale

    return Block(forward, body=conv(c))


@kind("untraceable")
def recurrent(draw: Random, c: int) -> nn.Module:
    """An LSTM or GRU over each row or over each pixel's channels."""

    def forward(self, x):
        n, c, h, w = x.shape
        if self.along == "rows":
            y = x.permute(0, 2, 3, 1).reshape(n * h, w, c)[:, :40]
            y = torch.nn.functional.pad(self.body(y)[0], (0, 0, 0, w - y.shape[1])).view(n, h, w, c).permute(0, 3, 1, 2)
        else:
            seen = x.mean(3).transpose(1, 2)
            y = self.body(seen)[0].transpose(1, 2)[..., None]
        return x + y

    body = draw.choice([nn.LSTM, nn.GRU, nn.RNN])(c, c, batch_first=True)
    return Block(forward, body=body, along=draw.choice(["rows", "column means"]))


@kind("untraceable")
def through_numpy(draw: Random, c: int) -> nn.Module:
    def forward(self, x):
        y = self.body(x).numpy()
        return torch.from_numpy(np.tanh(y) if self.how == "tanh" else np.ascontiguousarray(y[..., ::-1]))

    return Block(forward, body=conv(c), how=draw.choice(["tanh", "flip"]))


@kind("untraceable", steps=True)
def found_pixels(draw: Random, c: int) -> nn.Module:
    """Shapes that depend on the values: nonzero, masked_select, unique."""

    def forward(self, x):
        bright = x > 0.9
        if self.how == "nonzero":
            out = torch.zeros_like(x)
            out[tuple(bright.nonzero().T)] = 1.0
            return out
        if self.how == "masked_select":
            return x - x.masked_select(bright).mean()
        if self.how == "mask":
            return x - x[bright].mean()
        if self.how == "unique":
            return x / (1 + (x * 4).round().unique().numel())
        return torch.zeros_like(x).masked_scatter_(bright, x[bright].flip(0))

    ways = ["nonzero", "masked_select", "mask", "unique", "masked_scatter"]
    return Block(forward, how=draw.choice(ways))


@kind("untraceable")
def cached_grid(draw: Random, c: int) -> nn.Module:
    """A grid kept for images of the last size."""

    def forward(self, x):
        size = tuple(x.shape[-2:])
        if self.kept is None or self.kept[0] != size:
            rows = torch.linspace(-1, 1, size[0], device=x.device)[:, None]
            self.kept = (size, rows + torch.linspace(-1, 1, size[1], device=x.device))
        return self.body(x) + self.kept[1]

    return Block(forward, body=conv(c), kept=None)


@kind("untraceable")
def first_grid(draw: Random, c: int) -> nn.Module:
    """A pooled size that the first image decides, kept for all others."""

    def forward(self, x):
        h, w = x.shape[-2:]
        if self.kept is None:
            self.kept = {}
        if (h, w) not in self.kept:
            self.kept[h, w] = (h // 16 + 1, w // 16 + 1)
        small = torch.nn.functional.adaptive_avg_pool2d(x, self.kept[h, w])
        return x + torch.nn.functional.interpolate(self.body(small), size=(h, w))

    return Block(forward, body=conv(c), kept=None)


@kind("untraceable", runs=True)
def counter(draw: Random, c: int) -> nn.Module:
    """Another way at every second call: it can only be said to run."""

    def forward(self, x):
        self.calls += 1
        return self.body(x) if self.calls % 2 else torch.tanh(x)

    return Block(forward, body=conv(c), calls=0)


@kind("untraceable", runs=True)
def random_in_eval(draw: Random, c: int) -> nn.Module:
    """Noise that is drawn anew for each image: it can only be said to run."""

    def forward(self, x):
        noise = {
            "randn_like": lambda: torch.randn_like(x),
            "rand": lambda: torch.rand(x.shape[0], 1, *x.shape[2:]),
            "normal_": lambda: x.new_empty(x.shape).normal_(),
            "dropout": lambda: torch.nn.functional.dropout(x, 0.3, training=True),
            "bernoulli": lambda: torch.bernoulli(torch.full_like(x, 0.5)),
        }[self.how]()
        return self.body(x) + 0.1 * noise

    return Block(forward, body=conv(c), how=draw.choice(["randn_like", "rand", "normal_", "dropout", "bernoulli"]))
