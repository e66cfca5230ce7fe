"""Attention of the common sorts, Fourier transforms, and operators on channels-last pixels."""

from __future__ import annotations

from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.blocks import Block, conv, kind


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(1, (heads, -1)).flatten(3)


@kind("attention")
def window_attention(draw: Random, c: int) -> nn.Module:
    """Swin's: windows of a padded image, shifted by a roll, heads and a bias by place in the window."""

    def forward(self, x):
        n, c, h, w = x.shape
        s, shift = self.side, self.shift
        y = F.pad(x, (0, -w % s, 0, -h % s), mode="reflect" if self.reflect else "constant").permute(0, 2, 3, 1)
        if shift:
            y = torch.roll(y, (-shift, -shift), (1, 2))
        hh, ww = y.shape[1], y.shape[2]
        y = y.view(n, hh // s, s, ww // s, s, c).permute(0, 1, 3, 2, 4, 5)
        y = y.contiguous().view(-1, s * s, c) if self.viewed else y.reshape(-1, s * s, c)
        q, k, v = self.qkv(y).chunk(3, -1)
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            y = ((q @ k.transpose(-2, -1)) * c**-0.5 + self.bias).softmax(-1) @ v
        y = y.view(n, hh // s, ww // s, s, s, c).permute(0, 1, 3, 2, 4, 5).reshape(n, hh, ww, c)
        if shift:
            y = torch.roll(y, (shift, shift), (1, 2))
        return x + y.permute(0, 3, 1, 2)[:, :, :h, :w]

    side = draw.choice([4, 8])
    return Block(
        forward, side=side, shift=draw.choice([0, side // 2]), reflect=draw.random() < 0.5, viewed=draw.random() < 0.5,
        fused=draw.random() < 0.3, qkv=nn.Linear(c, 3 * c), bias=nn.Parameter(torch.randn(side**2, side**2)),
    )  # fmt: skip


@kind("attention")
def channel_attention(draw: Random, c: int) -> nn.Module:
    """Restormer's: attention between channels, over all pixels."""

    def forward(self, x):
        q, k, v = (_heads(one, 2) for one in self.qkv(x).chunk(3, 1))
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        y = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        return x + self.last(y.flatten(1, 2).view_as(x))

    return Block(forward, qkv=nn.Sequential(conv(c, 3 * c, 1), conv(3 * c, groups=3 * c)), last=conv(c, kernel=1))


@kind("attention")
def row_attention(draw: Random, c: int) -> nn.Module:
    """Attention within each row, or each column."""

    def forward(self, x):
        y = x.permute(0, 2, 3, 1) if self.rows else x.permute(0, 3, 2, 1)
        q, k, v = self.qkv(y).chunk(3, -1)
        y = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1) @ v
        return x + (y.permute(0, 3, 1, 2) if self.rows else y.permute(0, 3, 2, 1))

    return Block(forward, qkv=nn.Linear(c, 3 * c), rows=draw.random() < 0.5)


@kind("attention")
def pooled_attention(draw: Random, c: int) -> nn.Module:
    """Every pixel looks at a pooled image."""

    def forward(self, x):
        small = F.adaptive_avg_pool2d(x, 5).flatten(2)
        weights = (x.flatten(2).transpose(1, 2) @ small).softmax(-1)
        return x + (weights @ small.transpose(1, 2)).transpose(1, 2).reshape(x.shape)

    return Block(forward)


@kind("attention")
def grid_attention(draw: Random, c: int) -> nn.Module:
    """MaxViT's: pixels that lie a fraction of the image apart."""

    def forward(self, x):
        n, c, h, w = x.shape
        g = 4
        y = F.pad(x, (0, -w % g, 0, -h % g))
        a, b = y.shape[2] // g, y.shape[3] // g
        y = y.view(n, c, g, a, g, b).permute(0, 3, 5, 2, 4, 1).reshape(n * a * b, g * g, c)
        y = (y @ y.transpose(1, 2)).softmax(-1) @ y
        y = y.view(n, a, b, g, g, c).permute(0, 5, 3, 1, 4, 2).reshape(n, c, g * a, g * b)
        return 0.5 * x + 0.5 * y[:, :, :h, :w]

    return Block(forward)


@kind("attention")
def fourier(draw: Random, c: int) -> nn.Module:
    """A filter in the frequency domain: over the whole image, over rows, or over windows."""

    def forward(self, x):
        n, c, h, w = x.shape
        if self.how == "image":
            return x + torch.fft.irfft2(torch.fft.rfft2(x) * self.gain[:, None, None], s=(h, w))
        if self.how == "real":
            y = torch.view_as_real(torch.fft.fft2(x, norm="ortho")) * self.gain[:, None, None, None]
            return x + torch.fft.ifft2(torch.view_as_complex(y.contiguous()), norm="ortho").real
        if self.how == "rows":
            return x + torch.fft.ifft(torch.fft.fft(x, dim=-1) * self.gain[:, None, None], dim=-1).real
        y = F.pad(x, (0, -w % 8, 0, -h % 8), mode="reflect").unfold(2, 8, 8).unfold(3, 8, 8)
        y = torch.fft.irfft2(torch.fft.rfft2(y) * self.gain.view(-1, 1, 1, 1, 1), s=(8, 8))
        return y.permute(0, 1, 2, 4, 3, 5).reshape(n, c, y.shape[2] * 8, -1)[:, :, :h, :w]

    return Block(forward, gain=nn.Parameter(torch.rand(c)), how=draw.choice(["image", "real", "rows", "windows"]))


@kind("attention")
def layer_norm_2d(draw: Random, c: int) -> nn.Module:
    """NAFNet's block: a norm over channels, depthwise convolution, simple gate, channel weights."""

    def forward(self, x):
        if self.by_hand:
            mean, var = x.mean(1, keepdim=True), x.var(1, keepdim=True, unbiased=False)
            y = (x - mean) / (var + 1e-3).sqrt()
        else:
            y = F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],), eps=1e-3).permute(0, 3, 1, 2)
        a, b = self.deep(self.wide(y)).chunk(2, 1)
        y = a * b
        if self.global_:
            y = y * self.scale(F.adaptive_avg_pool2d(y, 1))
        return x + self.last(y)

    return Block(
        forward, by_hand=draw.random() < 0.5, global_=draw.random() < 0.5, wide=conv(c, 2 * c, 1),
        deep=conv(2 * c, groups=2 * c), scale=conv(c, kernel=1), last=conv(c, kernel=1),
    )  # fmt: skip


@kind("attention")
def linear_nhwc(draw: Random, c: int) -> nn.Module:
    """ConvNeXt's block: a depthwise convolution and linear layers on channels-last pixels."""

    def forward(self, x):
        y = self.deep(x).permute(0, 2, 3, 1)
        y = self.second(F.gelu(self.first(self.norm(y)))) * self.gamma
        return x + y.permute(0, 3, 1, 2)

    return Block(
        forward, deep=conv(c, kernel=7, groups=c), norm=nn.LayerNorm(c, eps=1e-3), first=nn.Linear(c, 2 * c),
        second=nn.Linear(2 * c, c), gamma=nn.Parameter(torch.rand(c)),
    )  # fmt: skip


@kind("attention")
def spatial_mlp(draw: Random, c: int) -> nn.Module:
    """MAXIM's: a linear layer over places, within blocks of a padded image or within a fixed grid."""

    def forward(self, x):
        n, c, h, w = x.shape
        y = F.pad(x, (0, -w % 4, 0, -h % 4))
        a, b = y.shape[2] // 4, y.shape[3] // 4
        order = (0, 1, 2, 4, 3, 5)
        if self.blocks:
            y = self.mix(y.view(n, c, a, 4, b, 4).permute(order).reshape(n, c, a, b, 16))
            y = y.view(n, c, a, b, 4, 4).permute(order)
        else:
            y = y.view(n, c, 4, a, 4, b).permute(0, 1, 3, 5, 2, 4).reshape(n, c, a, b, 16)
            y = self.mix(y).view(n, c, a, b, 4, 4).permute(0, 1, 4, 2, 5, 3)
        return x + y.reshape(n, c, 4 * a, 4 * b)[:, :, :h, :w]

    return Block(forward, mix=nn.Linear(16, 16), blocks=draw.random() < 0.5)


@kind("attention")
def squeeze_excitation(draw: Random, c: int) -> nn.Module:
    def forward(self, x):
        seen = {
            "mean": lambda: x.mean((2, 3), keepdim=True),
            "pool": lambda: F.adaptive_avg_pool2d(x, 1),
            "max": lambda: x.amax((-2, -1), keepdim=True),
            "std": lambda: x.std((2, 3), keepdim=True),
            "flat": lambda: x.flatten(2).mean(-1)[..., None, None],
        }[self.of]()
        return x * torch.sigmoid(self.last(F.relu(self.first(seen))))

    return Block(
        forward, first=conv(c, 2 * c, 1), last=conv(2 * c, c, 1),
        of=draw.choice(["mean", "pool", "max", "std", "flat"])
    )  # fmt: skip


@kind("attention")
def global_context(draw: Random, c: int) -> nn.Module:
    """GCNet's: a softmax over all pixels, and the weighted mean added to each."""

    def forward(self, x):
        weights = self.score(x).flatten(2).softmax(-1)
        context = torch.bmm(x.flatten(2), weights.transpose(1, 2))[..., None]
        return x + self.last(context)

    return Block(forward, score=conv(c, 1, 1), last=conv(c, kernel=1))


@kind("attention")
def products(draw: Random, c: int) -> nn.Module:
    """einsum, bmm and matmul over channels, rows or pixels."""

    def forward(self, x):
        n, c, h, w = x.shape
        if self.how == "einsum channels":
            return torch.einsum("dc,nchw->ndhw", self.weight, x)
        if self.how == "einsum pixels":
            return x + torch.einsum("ncd,ndhw->nchw", torch.einsum("nchw,ndhw->ncd", x, x) / (h * w), x)
        if self.how == "bmm":
            return torch.bmm(self.weight.expand(n, c, c), x.flatten(2)).view(n, c, h, w)
        if self.how == "matmul":
            return torch.matmul(x.permute(0, 2, 3, 1), self.weight).permute(0, 3, 1, 2)
        return x + (x @ (x.transpose(-1, -2) @ x)) / (h * w)

    ways = ["einsum channels", "einsum pixels", "bmm", "matmul", "rows"]
    return Block(forward, weight=nn.Parameter(torch.randn(c, c) / c**0.5), how=draw.choice(ways))
