"""Views of several outputs, read late or after their base has changed; memory order."""

from __future__ import annotations

from random import Random

import torch
import torch.nn.functional as F
from torch import nn

from tests.blocks import Block, conv, kind


@kind("views")
def split_read_late(draw: Random, c: int) -> nn.Module:
    """Parts of one tensor that live long after it: by split with sizes, unbind, chunk, tensor_split."""

    def forward(self, x):
        y = self.first(x)
        if self.how == "split sizes":
            a, b = torch.split(y, [1, y.shape[1] - 1], dim=1)
        elif self.how == "unbind":
            planes = torch.unbind(y, 1)
            a, b = planes[0][:, None], torch.stack(planes[1:], 1)
        elif self.how == "chunk":
            a, b = torch.chunk(y, 2, 1)
        elif self.how == "tensor_split":
            a, b = torch.tensor_split(y, [2], dim=1)
        else:
            a, b = y[:, :1], y[:, 1:]
        z = self.second(F.relu(x))
        z = self.second(torch.tanh(z)) + self.second(torch.sigmoid(z))
        return torch.cat([a, b], 1) + z

    ways = ["split sizes", "unbind", "chunk", "tensor_split", "slices"]
    return Block(forward, first=conv(c), second=conv(c), how=draw.choice(ways))


@kind("views")
def views_changed_later(draw: Random, c: int) -> nn.Module:
    """Views of which one is written in place, or whose base is, before they are read."""

    def forward(self, x):
        y = self.body(x)
        parts = y.chunk(2, 1) if self.how != "unbind" else y.unbind(1)
        if self.how == "base":
            y.mul_(0.5)
            return torch.cat([parts[1], parts[0]], 1)
        if self.how == "part":
            parts[0].add_(1.0)
            return y
        if self.how == "swap":
            kept = parts[0].clone()
            parts[0].copy_(torch.tanh(parts[1][:, : parts[0].shape[1]].mean(1, keepdim=True)))
            return y + F.pad(kept, (0, 0, 0, 0, 0, y.shape[1] - kept.shape[1]))
        parts[0].relu_()
        parts[-1].mul_(0.5)
        return torch.stack(parts, 1) + 0.1 * y

    return Block(forward, body=conv(c), how=draw.choice(["base", "part", "swap", "unbind"]))


@kind("views")
def expanded(draw: Random, c: int) -> nn.Module:
    """One plane expanded over the channels, read late."""

    def forward(self, x):
        mean = x.mean(1, keepdim=True)
        wide = mean.expand(-1, x.shape[1], -1, -1) if self.how == "expand" else mean.expand_as(x)
        return self.body(x) + wide * 0.5 - self.body(wide.contiguous() if self.how == "contiguous" else wide)

    return Block(forward, body=conv(c), how=draw.choice(["expand", "expand_as", "contiguous"]))


@kind("views")
def diagonal(draw: Random, c: int) -> nn.Module:
    """The diagonal of products between channels, read after the products are used."""

    def forward(self, x):
        y = torch.tanh(self.body(x))
        if self.how == "channels":
            products = torch.einsum("nchw,ndhw->ncdhw", y, x)
            return torch.diagonal(products, dim1=1, dim2=2).movedim(-1, 1) + products.mean(2)
        line = torch.diagonal(y, dim1=2, dim2=3).mean(-1)
        return x + line[..., None, None]

    return Block(forward, body=conv(c), how=draw.choice(["channels", "pixels"]))


@kind("views")
def as_complex(draw: Random, c: int) -> nn.Module:
    """Pairs of channels as complex numbers, cloned into the order that this takes."""

    def forward(self, x):
        y = torch.cat([x, self.body(x)], 1).unflatten(1, (x.shape[1], 2)).permute(0, 1, 3, 4, 2)
        z = torch.view_as_complex(y.clone(memory_format=torch.contiguous_format) if self.cloned else y.contiguous())
        z = z * torch.polar(torch.ones(()), self.angle)
        return torch.view_as_real(z)[..., 0] if self.real else z.real + 0.5 * z.imag

    return Block(
        forward, body=conv(c), cloned=draw.random() < 0.5, real=draw.random() < 0.5,
        angle=nn.Parameter(torch.randn(()))
    )  # fmt: skip


@kind("views")
def ordered_memory(draw: Random, c: int) -> nn.Module:
    """Clones of another memory order before a view that depends on it."""

    def forward(self, x):
        n, c, h, w = x.shape
        if self.how == "channels last":
            y = self.body(x.contiguous(memory_format=torch.channels_last))
            return y.permute(0, 2, 3, 1).reshape(n, h * w, c).transpose(1, 2).view(n, c, h, w)
        if self.how == "clone":
            y = x.permute(0, 2, 3, 1).clone(memory_format=torch.contiguous_format).view(n, h * w, c)
            return self.body(y.transpose(1, 2).reshape(n, c, h, w))
        if self.how == "as_strided":
            y = x.contiguous()
            return self.body(y.as_strided((n, c, h, w), (c * h * w, h * w, w, 1)))
        y = x.transpose(1, 2).clone(memory_format=torch.contiguous_format).view(n, h, c * w)
        return self.body(y.view(n, h, c, w).transpose(1, 2))

    ways = ["channels last", "clone", "transposed", "as_strided"]
    return Block(forward, body=conv(c), how=draw.choice(ways))


@kind("views")
def channel_shuffle(draw: Random, c: int) -> nn.Module:
    def forward(self, x):
        if self.layer:
            return self.body(F.channel_shuffle(x, 2))
        n, c, h, w = x.shape
        return self.body(x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w))

    return Block(forward, body=conv(c, groups=2), layer=draw.random() < 0.3)


@kind("views")
def shuffle_by_hand(draw: Random, c: int) -> nn.Module:
    """Space to depth and back by view and permute, on a multiple that is padded and cropped."""

    def forward(self, x):
        n, c, h, w = x.shape
        x = F.pad(x, (0, -w % 2, 0, -h % 2))
        hh, ww = x.shape[2] // 2, x.shape[3] // 2
        y = x.view(n, c, hh, 2, ww, 2).permute(0, 1, 3, 5, 2, 4).reshape(n, 4 * c, hh, ww)
        y = torch.relu(self.body(y))
        y = y.view(n, c, 2, 2, hh, ww).permute(0, 1, 4, 2, 5, 3).reshape(n, c, 2 * hh, 2 * ww)
        return y[:, :, :h, :w]

    return Block(forward, body=conv(4 * c, 4 * c, 1))


@kind("views")
def flat_pixels(draw: Random, c: int) -> nn.Module:
    """Pixels as one long list, with a linear layer, and back."""

    def forward(self, x):
        y = x.flatten(2).transpose(1, 2)
        y = self.second(F.gelu(self.first(y)))
        return x + y.transpose(1, 2).view_as(x) if self.viewed else x + y.transpose(1, 2).unflatten(2, x.shape[2:])

    return Block(forward, first=nn.Linear(c, 2 * c), second=nn.Linear(2 * c, c), viewed=draw.random() < 0.5)
