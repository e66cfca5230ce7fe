"""Operators that depend on the image's size, and planes of constants."""

from __future__ import annotations

from random import Random

import torch
import torch.nn.functional as F
from torch import nn

from tests.blocks import Block, conv, kind


@kind("size")
def branch_by_size(draw: Random, c: int) -> nn.Module:
    """Another way for large images."""

    def forward(self, x):
        h, w = x.shape[-2:]
        large = {"h": h > self.most, "w": w > self.most, "pixels": h * w > self.most**2, "wide": w > h}[self.of]
        return self.body(x) if large else torch.tanh(x)

    most = draw.choice([50, 64, 100, 128, 300])
    return Block(forward, body=conv(c), most=most, of=draw.choice(["h", "w", "pixels", "wide"]))


@kind("size")
def window_by_size(draw: Random, c: int) -> nn.Module:
    """A window, a kernel or a dilation that grows with the image."""

    def forward(self, x):
        h, w = x.shape[-2:]
        if self.how == "window":
            side = max(h // self.parts, 1)
            padded = F.pad(x, (0, -w % side, 0, -h % side), mode="constant")
            means = F.interpolate(F.avg_pool2d(padded, side), scale_factor=side)
            return x - 0.5 * means[:, :, :h, :w]
        if self.how == "pool":
            side = 2 * (max(h, w) // (4 * self.parts)) + 1
            return x - 0.5 * F.avg_pool2d(x, side, 1, side // 2)
        if self.how == "dilation":
            step = max(1, h // (8 * self.parts))
            return F.conv2d(x, self.body.weight, self.body.bias, padding=step, dilation=step)
        if self.how == "roll":
            return x + 0.5 * self.body(torch.roll(x, h // self.parts, 2))
        radius = 1 + (h > 100) + (w > 200)
        return x - F.max_pool2d(x, 2 * radius + 1, 1, radius) * 0.5

    ways = ["window", "pool", "dilation", "roll", "radius"]
    return Block(forward, body=conv(c), parts=draw.choice([3, 8]), how=draw.choice(ways))


@kind("size")
def scaled_by_size(draw: Random, c: int) -> nn.Module:
    def forward(self, x):
        h, w = x.shape[-2:]
        factor = {"h": 50 / h, "w": 50 / w, "pixels": 2500 / (h * w), "root": (x[0, 0].numel() / 2500) ** -0.5}[self.of]
        return self.body(x) * factor + x

    return Block(forward, body=conv(c), of=draw.choice(["h", "w", "pixels", "root"]))


@kind("size")
def steps_by_size(draw: Random, c: int) -> nn.Module:
    """As many steps as the size gives."""

    def forward(self, x):
        for _ in range(min(x.shape[self.dim] // self.every, 4)):
            x = torch.tanh(self.body(x))
        return x

    return Block(forward, body=conv(c), every=draw.choice([60, 40, 100]), dim=draw.choice([2, 3]))


@kind("size")
def resized(draw: Random, c: int) -> nn.Module:
    """Down to a computed size and up again."""

    def forward(self, x):
        h, w = x.shape[-2:]
        align = {} if self.mode in ("nearest", "area", "nearest-exact") else {"align_corners": self.corners}
        if self.how == "half":
            small = F.interpolate(x, size=(h // 2, w // 2), mode=self.mode, **align)
        elif self.how == "fixed":
            small = F.interpolate(x, size=(32, 40), mode=self.mode, **align)
        elif self.how == "factor":
            small = F.interpolate(x, scale_factor=0.5, mode=self.mode, **align)
        elif self.how == "odd factor":
            small = F.interpolate(x, scale_factor=(0.7, 1.3), mode=self.mode, **align)
        elif self.how == "kept factor":
            small = F.interpolate(x, scale_factor=0.6, mode=self.mode, recompute_scale_factor=True, **align)
        else:
            small = F.interpolate(x, scale_factor=2, mode=self.mode, **align)
        return x + F.interpolate(self.body(small), size=(h, w), mode=self.mode, **align)

    return Block(
        forward, body=nn.Sequential(conv(c), nn.Tanh()), corners=draw.random() < 0.5,
        mode=draw.choice(["nearest", "bilinear", "bicubic", "area", "nearest-exact"]),
        how=draw.choice(["half", "fixed", "factor", "odd factor", "kept factor", "twice"])
    )  # fmt: skip


@kind("size")
def adaptive_pool(draw: Random, c: int) -> nn.Module:
    def forward(self, x):
        h, w = x.shape[-2:]
        pool = F.adaptive_max_pool2d if self.largest else F.adaptive_avg_pool2d
        size = {"computed": (h // 4, w // 4), "fixed": (6, 7), "rows": (None, 1), "same": (h, w), "one": 1}[self.how]
        return x + 0.5 * F.interpolate(self.body(pool(x, size)), size=(h, w))

    ways = ["computed", "fixed", "rows", "same", "one"]
    return Block(forward, body=conv(c, kernel=1), largest=draw.random() < 0.4, how=draw.choice(ways))


@kind("size")
def padded_to_a_multiple(draw: Random, c: int) -> nn.Module:
    """Padded to a multiple, down and up again, cropped: what networks with strides do by themselves."""

    def forward(self, x):
        h, w = x.shape[-2:]
        bottom, right = -h % self.multiple, -w % self.multiple
        top, left = (bottom // 2, right // 2) if self.centred else (0, 0)
        y = F.pad(x, (left, right - left, top, bottom - top), mode=self.mode)
        y = self.up(torch.relu(self.down(y)))
        return x + y[:, :, top : top + h, left : left + w]

    multiple = draw.choice([2, 4, 8])
    return Block(
        forward, multiple=multiple, centred=draw.random() < 0.5, mode=draw.choice(["reflect", "replicate", "constant"]),
        down=nn.Conv2d(c, c, multiple, multiple), up=nn.ConvTranspose2d(c, c, multiple, multiple)
    )  # fmt: skip


@kind("constants")
def noise_level(draw: Random, c: int) -> nn.Module:
    """A plane of one value beside the image, as FFDNet has it."""

    def forward(self, x):
        n, _, h, w = x.shape
        if self.how == "full":
            level = torch.full((n, 1, h, w), 0.1)
        elif self.how == "full like":
            level = torch.full_like(x[:, :1], 0.1)
        elif self.how == "new_full":
            level = x.new_full((n, 1, h, w), 0.2)
        elif self.how == "zeros":
            level = torch.zeros(n, 1, h, w)
        elif self.how == "ones":
            level = torch.ones((n, 1, h, w), dtype=x.dtype) * 0.3
        elif self.how == "ones_like":
            level = 0.3 * torch.ones_like(x)[:, :1]
        elif self.how == "expand":
            level = self.sigma.view(1, 1, 1, 1).expand(n, 1, h, w)
        elif self.how == "repeat":
            level = self.sigma.reshape(1, 1, 1, 1).repeat(n, 1, h, w)
        elif self.how == "half sized":
            level = torch.full((n, 1, h // 2 + 1, w // 2 + 1), 0.1).repeat_interleave(2, 2).repeat_interleave(2, 3)
            level = level[:, :, :h, :w]
        else:
            level = torch.tensor(0.3).expand(n, 1, h, w)
        return self.mix(torch.cat([x, level] if self.after else [level, x], 1))

    ways = ["full", "full like", "new_full", "zeros", "ones", "ones_like", "expand", "repeat", "half sized", "tensor"]
    return Block(
        forward, mix=conv(c + 1, c), how=draw.choice(ways), after=draw.random() < 0.5,
        sigma=nn.Parameter(torch.rand(1))
    )  # fmt: skip


@kind("constants")
def border_count(draw: Random, c: int) -> nn.Module:
    """How many pixels of the window lie in the image: a convolution of ones, as partial convolutions have it."""

    def forward(self, x):
        ones = torch.ones(1, 1, *x.shape[-2:])
        count = F.conv2d(ones, torch.ones(1, 1, 3, 3), padding=1)
        return self.body(x) * 9 / count

    return Block(forward, body=conv(c))


@kind("constants")
def half_of_zeros(draw: Random, c: int) -> nn.Module:
    """Zeros joined to the image along one dimension and cut away after a convolution."""

    def forward(self, x):
        zeros = torch.zeros_like(x) if self.like else x.new_zeros(x.shape)
        return self.body(torch.cat([x, zeros], self.dim)).narrow(self.dim, 0, x.shape[self.dim])

    return Block(forward, body=conv(c), dim=draw.choice([0, 2, 3]), like=draw.random() < 0.5)
