"""In-place operators of every sort: on whole tensors, on slices, on slices of slices, on new buffers."""

from __future__ import annotations

from random import Random

import torch
import torch.nn.functional as F
from torch import nn

from tests.blocks import Block, conv, kind


@kind("in place")
def pointwise_in_place(draw: Random, c: int) -> nn.Module:
    def forward(self, x):
        y = self.body(x)
        for name in self.names:
            if name == "relu_":
                torch.relu_(y)
            elif name == "add_":
                y.add_(x, alpha=0.5)
            elif name == "mul_":
                y.mul_(torch.sigmoid(x))
            elif name == "clamp_":
                y.clamp_(-1, 1)
            elif name == "sub_":
                y -= 0.1
            elif name == "leaky_relu_":
                F.leaky_relu(y, 0.1, inplace=True)
            elif name == "addcmul_":
                y.addcmul_(x, x, value=0.1)
            else:
                y.lerp_(x, 0.3)
        return y

    names = ["relu_", "add_", "mul_", "clamp_", "sub_", "leaky_relu_", "addcmul_", "lerp_"]
    return Block(forward, body=conv(c), names=draw.sample(names, 3))


@kind("in place")
def written_while_read(draw: Random, c: int) -> nn.Module:
    """A view taken before its base changes in place: it changes, too."""

    def forward(self, x):
        y = self.body(x)
        view = y[:, 1:] if self.sliced else y.view(y.shape)
        y.mul_(0.5).add_(1)
        return y + F.pad(view, (0, 0, 0, 0, y.shape[1] - view.shape[1], 0))

    return Block(forward, body=conv(c), sliced=draw.random() < 0.5)


@kind("in place")
def slice_assigned(draw: Random, c: int) -> nn.Module:
    def forward(self, x):
        y = self.body(x)
        v = torch.tanh(x)
        if self.place == "rows":
            y[:, :, 3:-4] = v[:, :, 3:-4]
        elif self.place == "columns":
            y[..., 5:20] = v[..., 5:20]
        elif self.place == "channels":
            y[:, ::2] = v[:, ::2] * 0.5
        elif self.place == "every second row":
            y[:, :, ::2] = 0.25
        elif self.place == "every second column":
            y[:, :, :, 1::2] *= 0.5
        elif self.place == "a row":
            y[:, :, 7] = v[:, :, -1]
        elif self.place == "a column":
            y[:, :, :, -1] += 1
        elif self.place == "border":
            y[:, :, :2, :] = 0
            y[:, :, -2:, :] = 0
            y[..., :2] = 0
            y[..., -2:] = 0
        else:
            y[:, 0] = v.mean(1)
        return y

    places = ["rows", "columns", "channels", "every second row", "every second column", "a row", "a column", "border"]
    return Block(forward, body=conv(c), place=draw.choice([*places, "a channel"]))


@kind("in place")
def slice_of_slice_assigned(draw: Random, c: int) -> nn.Module:
    def forward(self, x):
        y = self.body(x)
        if self.place == "rows of rows":
            y[:, :, 2:][:, :, 1:3] = 0.5
        elif self.place == "columns of columns":
            y[..., 4:][..., 1:30] = x[..., 5:34]
        elif self.place == "channels of channels":
            y[:, 1:][:, 1:] *= 0.5
        elif self.place == "channels of rows":
            y[:, :, 10:][:, 0] = x[:, 1, 10:]
        elif self.place == "rows of steps":
            y[:, :, ::2][:, :, 3:9] = 0.5
        elif self.place == "narrow of narrow":
            y.narrow(2, 3, 20).narrow(2, 5, 4).fill_(0.1)
        else:
            y[:, 1][:, 3:].add_(x[:, 0, 3:])
        return y

    places = ["rows of rows", "columns of columns", "channels of channels", "channels of rows", "rows of steps"]
    return Block(forward, body=conv(c), place=draw.choice([*places, "narrow of narrow", "rows of a channel"]))


@kind("in place")
def buffer_filled(draw: Random, c: int) -> nn.Module:
    """A new buffer, filled part by part."""

    def forward(self, x):
        y = self.body(x)
        n, _, h, w = x.shape
        if self.how == "zeros_like":
            out = torch.zeros_like(y)
            out[:, : self.part] = y[:, : self.part]
            out[:, self.part :] += x[:, self.part :]
        elif self.how == "new_empty":
            out = y.new_empty(y.shape)
            out.copy_(y)
            out[:, :, : h // 2] = x[:, :, : h // 2]
        elif self.how == "empty rows":
            out = torch.empty_like(x)
            out[:, :, ::2] = y[:, :, ::2]
            out[:, :, 1::2] = x[:, :, 1::2]
        elif self.how == "empty columns":
            out = torch.empty(n, x.shape[1], h, w)
            out[..., : w // 3] = y[..., : w // 3]
            out[..., w // 3 :] = x[..., w // 3 :]
        elif self.how == "fill":
            out = y.new_zeros(n, x.shape[1], h, w).fill_(0.5) + y
        else:
            out = x.new_zeros(n, x.shape[1], h + 4, w + 2)
            out[:, :, 2:-2, 1:-1] = y
            out = out[:, :, 1:-3, :-2]
        return out

    ways = ["zeros_like", "new_empty", "empty rows", "empty columns", "fill", "padded by hand"]
    return Block(forward, body=conv(c), part=draw.randint(1, c - 1), how=draw.choice(ways))


@kind("in place")
def mosaic_by_hand(draw: Random, c: int) -> nn.Module:
    """Pixel shuffle as four assignments with steps, and back as four slices."""

    def forward(self, x):
        n, c, h, w = x.shape
        full = x.new_zeros(n, c, 2 * h, 2 * w)
        full[:, :, 0::2, 0::2] = x
        full[:, :, 0::2, 1::2] = 0.5 * x
        full[:, :, 1::2, 0::2] = -x
        full[:, :, 1::2, 1::2] = torch.relu(x)
        full = self.body(full)
        return 0.5 * (full[:, :, ::2, ::2] + full[:, :, 1::2, 1::2])

    return Block(forward, body=conv(c))


@kind("in place")
def index_put(draw: Random, c: int) -> nn.Module:
    def forward(self, x):
        y = self.body(x)
        index = torch.tensor(self.index)
        if self.how == "channels":
            y.index_put_((torch.zeros(1, dtype=torch.long)[:, None], index[None] % y.shape[1]), x[:1, 0][None])
        elif self.how == "rows":
            y[:, :, index] = 0.5
        elif self.how == "columns":
            y.index_fill_(3, index, 0.25)
        elif self.how == "index_copy_":
            y.index_copy_(2, index, x[:, :, : len(self.index)])
        elif self.how == "index_add_":
            y.index_add_(3, index, x[..., : len(self.index)])
        else:
            y.scatter_(1, torch.zeros_like(y[:, :1], dtype=torch.long), x[:, 1:2])
        return y

    ways = ["channels", "rows", "columns", "index_copy_", "index_add_", "scatter_"]
    return Block(forward, body=conv(c), index=draw.sample(range(20), 3), how=draw.choice(ways))


@kind("in place")
def masked_fill(draw: Random, c: int) -> nn.Module:
    """Filled by masks that are continuous where they switch: zero below zero, or by place."""

    def forward(self, x):
        y = self.body(x)
        if self.how == "values":
            return y.masked_fill_(y < 0, 0.0)
        if self.how == "assigned":
            y[y < 0] = 0
            return y
        mask = torch.zeros_like(y[:, :1], dtype=torch.bool)
        mask[:, :, 5:25, 3:9] = True
        return y.masked_fill(mask, 0.5)

    return Block(forward, body=conv(c), how=draw.choice(["values", "assigned", "place"]))


@kind("in place")
def accumulated(draw: Random, c: int) -> nn.Module:
    """A sum that grows in place over shifted views."""

    def forward(self, x):
        padded = F.pad(x, (1, 1, 1, 1))
        h, w = x.shape[-2:]
        total = torch.zeros_like(x)
        for i in range(3):
            for j in range(3):
                total += self.weight[i, j] * padded[:, :, i : i + h, j : j + w]
        return total

    return Block(forward, weight=nn.Parameter(torch.randn(3, 3) / 3))
