"""Values by place: maps, coordinates and flow fields of the image's own size."""

from __future__ import annotations

from random import Random

import torch
import torch.nn.functional as F
from torch import nn

from tests.blocks import Block, conv, kind


def _lines(x):
    h, w = x.shape[-2:]
    return torch.linspace(-1, 1, h), torch.linspace(-1, 1, w)


@kind("places")
def gain_map(draw: Random, c: int) -> nn.Module:
    """Vignetting: a gain by place, of every shape that broadcasts."""

    def forward(self, x):
        h, w = x.shape[-2:]
        rows, columns = _lines(x)
        gain = {
            "(H, W)": lambda: 1 + rows[:, None] ** 2 + columns[None, :] ** 2,
            "(1, 1, H, W)": lambda: (1 + rows[:, None] ** 2 + columns[None, :] ** 2)[None, None],
            "(H, 1)": lambda: 1 + rows[:, None] ** 2,
            "(1, W)": lambda: 1 + columns[None] ** 2,
            "(W,)": lambda: 1 + columns**2,
            "(H, W, 2)": lambda: torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1).square().sum(-1) + 1,
            "arange": lambda: (torch.arange(h).float() / h).view(1, 1, h, 1),
            "integers": lambda: torch.arange(w) % 2 + 0.5,
            "checkerboard": lambda: ((torch.arange(h)[:, None] + torch.arange(w)) % 2).float(),
            "parities": lambda: (torch.arange(h * w).view(h, w) % 3).to(x.dtype) * 0.5,
        }[self.shape]()
        return self.body(x) * gain if self.factor else self.body(x) + gain

    shapes = ["(H, W)", "(1, 1, H, W)", "(H, 1)", "(1, W)", "(W,)", "(H, W, 2)", "arange", "integers", "checkerboard"]
    return Block(forward, body=conv(c), shape=draw.choice([*shapes, "parities"]), factor=draw.random() < 0.7)


@kind("places")
def stored_map(draw: Random, c: int) -> nn.Module:
    """A learned map of one size, fitted to the image: cropped, repeated or interpolated."""

    def forward(self, x):
        h, w = x.shape[-2:]
        if self.how == "cropped":
            return x + self.map[..., :h, :w] if self.map.shape[-1] >= w and self.map.shape[-2] >= h else x
        if self.how == "interpolated":
            return x + F.interpolate(self.map, size=(h, w), mode="bilinear")
        if self.how == "tiled":
            times = (1, 1, -(-h // self.map.shape[2]), -(-w // self.map.shape[3]))
            return x + self.map.repeat(*times)[:, :, :h, :w]
        index = torch.arange(h)[:, None] % self.map.shape[2]
        return x + self.map[0, :, index, torch.arange(w)[None] % self.map.shape[3]]

    how = draw.choice(["cropped", "interpolated", "tiled", "indexed"])
    size = (1100, 1100) if how == "cropped" else (9, 12)
    values = torch.randn(1, 1 if how == "cropped" else c, *size)
    return Block(forward, map=nn.Parameter(values) if draw.random() < 0.5 else values, how=how)


@kind("places")
def coordinates(draw: Random, c: int) -> nn.Module:
    """CoordConv: two planes of coordinates beside the image."""

    def forward(self, x):
        n, _, h, w = x.shape
        if self.how == "meshgrid":
            planes = torch.stack(torch.meshgrid(*_lines(x), indexing="ij")).expand(n, 2, h, w)
        elif self.how == "expand":
            rows, columns = _lines(x)
            planes = torch.cat([rows.view(1, 1, h, 1).expand(n, 1, h, w), columns.expand(n, 1, h, w)], 1)
        elif self.how == "cumsum":
            ones = torch.ones(n, 1, h, w)
            planes = torch.cat([ones.cumsum(2) / h, ones.cumsum(3) / w], 1)
        elif self.how == "pixels":
            planes = torch.stack(torch.meshgrid(torch.arange(h), torch.arange(w), indexing="xy"))[None].mT / 100.0
            planes = planes.expand(n, 2, h, w)
        else:
            rows = torch.arange(h, dtype=torch.float32).sub(h / 2).div(h)
            planes = rows[:, None].add(torch.arange(w) / w).expand(n, 2, h, w)
        return self.mix(torch.cat([x, planes], 1))

    return Block(
        forward, mix=conv(c + 2, c, draw.choice([1, 3])),
        how=draw.choice(["meshgrid", "expand", "cumsum", "pixels", "arange"])
    )  # fmt: skip


@kind("places")
def sine_positions(draw: Random, c: int) -> nn.Module:
    """Sines and cosines of the place."""

    def forward(self, x):
        h, w = x.shape[-2:]
        rows = torch.arange(h)[:, None] * self.frequency[:, None, None]
        columns = torch.arange(w)[None] * self.frequency[:, None, None]
        return x + 0.3 * (torch.sin(rows) + torch.cos(columns))

    return Block(forward, frequency=nn.Parameter(torch.rand(c)))


@kind("places")
def flow_field(draw: Random, c: int) -> nn.Module:
    """The image warped by a small flow: a grid of (H, W, 2) and grid_sample."""

    def forward(self, x):
        n, _, h, w = x.shape
        rows, columns = _lines(x)
        grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], -1).expand(n, h, w, 2)
        if self.learned:
            grid = grid + torch.tanh(self.flow(x)).permute(0, 2, 3, 1) * 4 / torch.tensor([w, h])
        if self.turned:
            theta = torch.tensor([[0.9, 0.1, 0.0], [-0.1, 0.9, 0.0]]).expand(n, 2, 3)
            grid = F.affine_grid(theta, [n, 1, h, w], align_corners=True)
        return F.grid_sample(x, grid, mode=self.mode, padding_mode=self.border, align_corners=True)

    return Block(
        forward, flow=conv(c, 2), learned=draw.random() < 0.6, turned=draw.random() < 0.2,
        mode=draw.choice(["bilinear", "bicubic"]), border=draw.choice(["zeros", "border", "reflection"])
    )  # fmt: skip


@kind("places")
def distance_mask(draw: Random, c: int) -> nn.Module:
    """Another operator in the middle of the image than at its border."""

    def forward(self, x):
        h, w = x.shape[-2:]
        rows, columns = torch.arange(h)[:, None], torch.arange(w)[None, :]
        if self.how == "circle":
            mask = (rows - h // 2) ** 2 + (columns - w // 2) ** 2 < (h // 3) ** 2
        elif self.how == "border":
            mask = (rows > 3) & (rows < h - 4) & (columns > 3) & (columns < w - 4)
        elif self.how == "half":
            mask = columns < w // 2
        elif self.how == "triangle":
            mask = torch.ones(h, w).triu().bool()
        else:
            mask = torch.eye(h, w, dtype=torch.bool)
        return torch.where(mask, self.body(x), x)

    ways = ["circle", "border", "half", "triangle", "eye"]
    return Block(forward, body=conv(c), how=draw.choice(ways))


@kind("places")
def row_statistics(draw: Random, c: int) -> nn.Module:
    """The mean, maximum or range of each row or column, as destriping has it."""

    def forward(self, x):
        if self.how == "mean":
            return x - x.mean(self.dim, keepdim=True)
        if self.how == "amax":
            return x - 0.5 * x.amax(self.dim, keepdim=True)
        if self.how == "norm":
            return x / (1 + x.norm(dim=self.dim, keepdim=True))
        return x - x.median(dim=self.dim, keepdim=True).values

    return Block(forward, dim=draw.choice([2, 3, -1]), how=draw.choice(["mean", "amax", "norm", "median"]))
