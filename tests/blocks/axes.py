"""Slices, splits, joins and turns along each dimension."""

from __future__ import annotations

from random import Random

import torch
import torch.nn.functional as F
from torch import nn

from tests.blocks import Block, conv, kind


def _mix(c: int) -> nn.Module:
    return nn.Sequential(conv(c), nn.Tanh())


@kind("axes")
def over_the_batch(draw: Random, c: int) -> nn.Module:
    """Image by image, as networks do that were written for one."""

    def forward(self, x):
        if self.how == "loop":
            return torch.stack([self.body(x[i : i + 1])[0] for i in range(x.shape[0])])
        if self.how == "unbind":
            return torch.stack([self.body(one[None]).squeeze(0) for one in x.unbind(0)], 0)
        if self.how == "split":
            return torch.cat([self.body(one) for one in x.split(1, 0)], 0)
        if self.how == "select":
            return x + self.body(x).select(0, 0).unsqueeze(0)
        if self.how == "slice":
            return self.body(x)[-1:] + x[:1]
        if self.how == "doubled":
            both = torch.cat([x, x * 0.5], 0)
            return self.body(both)[x.shape[0] :] + self.body(both)[: x.shape[0]]
        if self.how == "chunk":
            first, second = self.body(torch.cat([x, -x])).chunk(2, dim=0)
            return first - 0.5 * second
        first, second = self.body(torch.stack([x, 0.5 * x], 0).flatten(0, 1)).unflatten(0, (2, -1))
        return first + second

    ways = ["loop", "unbind", "split", "select", "slice", "doubled", "chunk", "stacked"]
    return Block(forward, body=_mix(c), how=draw.choice(ways))


@kind("axes")
def over_the_channels(draw: Random, c: int) -> nn.Module:
    def forward(self, x):
        y = self.body(x)
        if self.how == "split sizes":
            parts = y.split([1, self.c - 1], dim=1)
            return torch.cat([parts[1], parts[0]], 1)
        if self.how == "unbind":
            planes = list(y.unbind(1))
            return torch.stack(planes[1:] + planes[:1], dim=1)
        if self.how == "loop":
            return torch.cat([y[:, i : i + 1] * (1 if i % 2 else 0.5) for i in range(self.c)], dim=1)
        if self.how == "negative":
            return torch.cat([y[:, -2:], y[:, :-2]], -3)
        if self.how == "steps":
            return torch.cat([y[:, ::2], y[:, 1::2]], 1)
        if self.how == "select":
            return x * y.select(1, -1).unsqueeze(1)
        if self.how == "narrow":
            return x + F.pad(y.narrow(1, 1, 2), (0, 0, 0, 0, 1, self.c - 3))
        return torch.cat(y.chunk(3, dim=1)[::-1], 1)

    ways = ["split sizes", "unbind", "loop", "negative", "steps", "select", "narrow", "chunk"]
    return Block(forward, body=_mix(c), c=c, how=draw.choice(ways))


@kind("axes")
def over_rows_and_columns(draw: Random, c: int) -> nn.Module:
    def forward(self, x):
        d, n = self.dim, x.shape[self.dim]
        y = self.body(x)
        if self.how == "halves":
            first, second = y.split([n // 2, n - n // 2], dim=d)
            return torch.cat([self.body(first), second], d)
        if self.how == "chunk":
            return torch.cat([self.body(part) for part in y.chunk(3, dim=d)], dim=d)
        if self.how == "swap":
            return torch.cat([y.narrow(d, n // 3, n - n // 3), y.narrow(d, 0, n // 3)], d)
        if self.how == "unbind":
            return torch.stack(y.unbind(d), d)
        if self.how == "one row":
            return x + y.select(d, -1).unsqueeze(d)
        if self.how == "steps":
            even, odd = (y[:, :, ::2], y[:, :, 1::2]) if d in (2, -2) else (y[..., ::2], y[..., 1::2])
            return torch.cat([even, odd], d)
        if self.how == "strided and back":
            even = y[:, :, ::2] if d in (2, -2) else y[..., ::2]
            return even.repeat_interleave(2, dim=d).narrow(d, 0, n)
        return torch.cat([y.narrow(d, 2, n - 2), torch.zeros_like(y.narrow(d, 0, 2))], d)

    ways = ["halves", "chunk", "swap", "unbind", "one row", "steps", "strided and back", "shifted"]
    return Block(forward, body=_mix(c), dim=draw.choice([2, 3, -1, -2]), how=draw.choice(ways))


@kind("axes")
def shifted_by_slices(draw: Random, c: int) -> nn.Module:
    """Differences of neighbours, total-variation style."""

    def forward(self, x):
        rows = F.pad(x[:, :, 1:] - x[:, :, :-1], (0, 0, 0, 1))
        columns = F.pad(x[..., 1:] - x[..., :-1], (1, 0))
        return self.mix(torch.cat([x, rows, columns], 1))

    return Block(forward, mix=conv(3 * c, c, 1))


@kind("axes")
def flipped(draw: Random, c: int) -> nn.Module:
    return Block(
        lambda self, x: 0.5 * x + self.body(x.flip(self.dims)).flip(self.back),
        body=_mix(c),
        dims=draw.choice([(2,), (3,), (-1, -2), (1,), (0,)]),
        back=draw.choice([(2,), (3,), (-1,), (1,)]),
    )


@kind("axes")
def rolled(draw: Random, c: int) -> nn.Module:
    shifts, dims = draw.choice([((2,), (2,)), ((-3,), (3,)), ((1, -1), (2, 3)), ((1,), (1,)), ((1,), (0,)), (4, -1)])
    return Block(
        lambda self, x: 0.5 * x + self.body(torch.roll(x, self.shifts, self.dims)),
        body=_mix(c), shifts=shifts, dims=dims,
    )  # fmt: skip


@kind("axes")
def turned(draw: Random, c: int) -> nn.Module:
    """H and W exchanged or turned, convolved, and back."""

    def forward(self, x):
        if self.how == "transpose":
            return x + self.body(x.transpose(2, 3)).transpose(-1, -2)
        if self.how == "permute":
            return x + self.body(x.permute(0, 1, 3, 2)).permute(0, 1, 3, 2).contiguous()
        if self.how == "rot90":
            return x + torch.rot90(self.body(torch.rot90(x, 1, (2, 3))), -1, (2, 3))
        if self.how == "rot180":
            return x + self.body(torch.rot90(x, 2, (2, 3)))
        if self.how == "mT":
            return x + self.body(x.mT).mT
        return x + self.body(x.permute(0, 3, 2, 1).permute(0, 3, 2, 1))

    ways = ["transpose", "permute", "rot90", "rot180", "mT", "there and back"]
    return Block(forward, body=nn.Sequential(conv(c, kernel=(3, 5)), nn.ReLU()), how=draw.choice(ways))


@kind("axes")
def ensemble(draw: Random, c: int) -> nn.Module:
    """The mean over turned copies, a network's own test-time augmentation."""

    def forward(self, x):
        outs = [self.body(x), self.body(x.flip(-1)).flip(-1), self.body(x.flip(-2)).flip(-2)]
        outs.append(self.body(x.transpose(2, 3)).transpose(2, 3))
        return torch.stack(outs).mean(0)

    return Block(forward, body=_mix(c))


@kind("axes")
def stacked(draw: Random, c: int) -> nn.Module:
    """Stacked along each dimension and reduced again."""

    def forward(self, x):
        y = self.body(x)
        both = torch.stack([x, y], dim=self.dim)
        if self.how == "mean":
            return both.mean(self.dim)
        if self.how == "amax":
            return both.amax(self.dim)
        if self.how == "sum":
            return both.sum(dim=self.dim) * 0.5
        return both.select(self.dim, 1) - both.select(self.dim, 0)

    return Block(
        forward, body=_mix(c), dim=draw.randint(-1, 4) if draw.random() < 0.8 else -3,
        how=draw.choice(["mean", "amax", "sum", "select"]),
    )  # fmt: skip


@kind("axes")
def joined_and_cut(draw: Random, c: int) -> nn.Module:
    """Two tensors side by side along one dimension, convolved together and cut apart."""

    def forward(self, x):
        n = x.shape[self.dim]
        both = self.body(torch.cat([x, 0.5 * x], self.dim))
        return both.narrow(self.dim, n, n) + both.narrow(self.dim, 0, n)

    return Block(forward, body=_mix(c), dim=draw.choice([0, 2, 3, -1]))


@kind("axes")
def interlaced(draw: Random, c: int) -> nn.Module:
    """Fields of even and odd rows or columns treated apart and woven together again."""

    def forward(self, x):
        d = self.dim
        n = x.shape[d] - x.shape[d] % 2
        even_sized = x.narrow(d, 0, n)
        pairs = even_sized.unflatten(d, (n // 2, 2))
        even, odd = self.body(pairs.select(d + 1, 0)), pairs.select(d + 1, 1)
        woven = torch.stack([even, odd], d + 1).flatten(d, d + 1)
        return torch.cat([woven, x.narrow(d, n, x.shape[d] - n)], d)

    return Block(forward, body=_mix(c), dim=draw.choice([2, 3]))
