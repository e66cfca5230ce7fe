"""Operators between pixels that are no plain convolutions: unfold, sums along lines, sorting, deformable."""

from __future__ import annotations

from random import Random

import torch
import torch.nn.functional as F
from torch import nn

from tests.blocks import Block, conv, kind


@kind("spatial")
def unfolded(draw: Random, c: int) -> nn.Module:
    def forward(self, x):
        n, c, h, w = x.shape
        if self.how == "unfold":
            patches = F.unfold(x, 3, padding=1)
            return (self.weight @ patches).view(n, c, h, w)
        if self.how == "predicted":
            kernels = self.predict(x).softmax(1)
            patches = F.unfold(x, 3, padding=1).view(n, c, 9, h, w)
            return (patches * kernels[:, None]).sum(2)
        if self.how == "fold":
            patches = F.unfold(x, 3, padding=1)
            return F.fold(patches * 0.2, (h, w), 3, padding=1)
        if self.how == "blocks":
            y = F.pad(x, (0, -w % 4, 0, -h % 4))
            patches = torch.tanh(F.unfold(y, 4, stride=4))
            return F.fold(patches, y.shape[-2:], 4, stride=4)[:, :, :h, :w]
        windows = F.pad(x, (1, 1, 1, 1)).unfold(2, 3, 1).unfold(3, 3, 1)
        return windows.amax((-1, -2)) - windows.mean((-1, -2)) if self.how == "range" else windows.median(-1)[0].sum(-1)

    return Block(
        forward, weight=nn.Parameter(torch.randn(c, 9 * c) / (9 * c) ** 0.5), predict=conv(c, 9, 1),
        how=draw.choice(["unfold", "predicted", "fold", "blocks", "range", "median"])
    )  # fmt: skip


@kind("spatial")
def summed_along(draw: Random, c: int) -> nn.Module:
    """Running sums: integral images and recursive filters."""

    def forward(self, x):
        h, w = x.shape[-2:]
        if self.how == "cumsum":
            return x + x.cumsum(self.dim) / x.shape[self.dim]
        if self.how == "integral":
            total = F.pad(x.cumsum(2).cumsum(3), (1, 0, 1, 0))
            boxes = total[:, :, 5:, 5:] - total[:, :, :-5, 5:] - total[:, :, 5:, :-5] + total[:, :, :-5, :-5]
            return x - F.pad(boxes / (h * w), (2, 2, 2, 2))
        if self.how == "cummax":
            return x - 0.5 * x.cummax(self.dim).values
        return x + torch.cumprod(torch.sigmoid(x), self.dim)

    ways = ["cumsum", "integral", "cummax", "cumprod"]
    return Block(forward, how=draw.choice(ways), dim=draw.choice([1, 2, 3, -1]))


@kind("spatial")
def recursive_rows(draw: Random, c: int) -> nn.Module:
    """A recursive filter: each of a few rows from the one before."""

    def forward(self, x):
        state, rows = x[:, :, 0], [x[:, :, 0]]
        for i in range(1, 12):
            state = 0.5 * state + 0.5 * x[:, :, i]
            rows.append(state)
        return torch.cat([torch.stack(rows, 2), x[:, :, 12:]], 2)

    return Block(forward)


@kind("spatial")
def sorted_values(draw: Random, c: int) -> nn.Module:
    def forward(self, x):
        if self.how == "sort":
            return x + 0.5 * torch.sort(x, dim=self.dim).values
        if self.how == "argmax":
            return x + 0.5 * x.max(dim=self.dim, keepdim=True).values
        if self.how == "topk":
            return x + x.topk(2, dim=self.dim).values.mean(self.dim, keepdim=True)
        return x - x.kthvalue(2, dim=self.dim, keepdim=True).values

    how = draw.choice(["sort", "argmax", "topk", "kthvalue"])
    return Block(forward, dim=draw.choice([1, 2, 3]), how=how)


@kind("spatial")
def gathered(draw: Random, c: int) -> nn.Module:
    """Rows, columns or channels taken by index."""

    def forward(self, x):
        n, c, h, w = x.shape
        if self.how == "channels":
            return x[:, torch.arange(c).flip(0)]
        if self.how == "rows":
            return 0.5 * x + self.body(x.index_select(2, torch.arange(h - 1, -1, -1)))
        if self.how == "columns":
            return x + 0.5 * x[..., torch.arange(w) // 2]
        if self.how == "gather":
            index = ((torch.arange(w) + 3) % w).expand(n, c, h, w)
            return x + 0.5 * x.gather(3, index)
        return x + 0.5 * torch.take_along_dim(x, (torch.arange(h) // 2)[None, None, :, None], 2)

    return Block(forward, body=conv(c), how=draw.choice(["channels", "rows", "columns", "gather", "take"]))


@kind("spatial")
def deformable(draw: Random, c: int) -> nn.Module:
    """torchvision's deformable convolution, with and without a mask."""
    from torchvision.ops import DeformConv2d

    def forward(self, x):
        offset, mask = self.offset(x).split([18, 9], 1)
        return x + self.body(x, torch.tanh(offset), torch.sigmoid(mask) if self.masked else None)

    return Block(forward, offset=conv(c, 27), body=DeformConv2d(c, c, 3, padding=1), masked=draw.random() < 0.5)


@kind("spatial")
def guided(draw: Random, c: int) -> nn.Module:
    """A guided filter: box means, variances, and their quotient."""

    def forward(self, x):
        def box(y):
            return F.avg_pool2d(y, 5, 1, 2, count_include_pad=False)

        guide = x.mean(1, keepdim=True)
        mean_x, mean_g = box(x), box(guide)
        a = (box(x * guide) - mean_x * mean_g) / (box(guide * guide) - mean_g**2 + 0.1)
        return box(a) * guide + box(mean_x - a * mean_g)

    return Block(forward)


@kind("spatial")
def bilateral_grid(draw: Random, c: int) -> nn.Module:
    """HDRNet's: coefficients of a small image, sliced by place and brightness."""

    def forward(self, x):
        n, c, h, w = x.shape
        grid = self.coefficients(F.interpolate(x, size=(16, 16), mode="bilinear")).view(n, c, 4, 16, 16)
        rows, columns = torch.meshgrid(torch.linspace(-1, 1, h), torch.linspace(-1, 1, w), indexing="ij")
        guide = torch.tanh(x.mean(1))
        places = torch.stack([columns.expand(n, h, w), rows.expand(n, h, w), guide], -1)[:, None]
        return x * F.grid_sample(grid, places, align_corners=True)[:, :, 0] + x

    return Block(forward, coefficients=conv(c, 4 * c))


@kind("spatial")
def dynamic_filter(draw: Random, c: int) -> nn.Module:
    """A filter predicted from the image's mean, applied by a grouped convolution over images as channels."""

    def forward(self, x):
        n, c, h, w = x.shape
        filters = torch.tanh(self.predict(x.mean((2, 3)))).view(n * c, 1, 3, 3)
        return F.conv2d(x.reshape(1, n * c, h, w), filters, padding=1, groups=n * c).view(n, c, h, w)

    return Block(forward, predict=nn.Linear(c, 9 * c))


@kind("spatial", steps=True)
def max_unpool(draw: Random, c: int) -> nn.Module:
    """Maxima put back where they came from."""

    def forward(self, x):
        y, places = F.max_pool2d(x, 2, return_indices=True)
        return F.max_unpool2d(torch.tanh(y), places, 2, output_size=x.shape[-2:])

    return Block(forward)
