"""Convolutions, norms and activations with every option."""

from __future__ import annotations

from random import Random

import torch
import torch.nn.functional as F
from torch import nn

from tests.blocks import Block, conv, kind


@kind("layers")
def uneven_conv(draw: Random, c: int) -> nn.Module:
    """Grouped, depthwise, dilated, asymmetric and even kernels, with padding "same"."""
    options = draw.choice([
        {"kernel_size": (1, 5)}, {"kernel_size": (4, 4)}, {"kernel_size": (2, 3)}, {"kernel_size": 3, "dilation": 3},
        {"kernel_size": (3, 5), "dilation": (2, 1)}, {"kernel_size": 3, "groups": c}, {"kernel_size": 5, "groups": 2},
    ])  # fmt: skip
    return nn.Sequential(nn.Conv2d(c, c, padding="same", **options), nn.LeakyReLU(0.2))


@kind("layers")
def strided_conv(draw: Random, c: int) -> nn.Module:
    """A strided convolution and a transposed one with the output padding that restores the size."""

    def forward(self, x):
        small = torch.relu(self.down(x))
        return x + self.up(small, output_size=x.shape[-2:])

    kernel, stride = draw.choice([(3, 2), (4, 2), (5, 3), (2, 2)])
    padding = (kernel - 1) // 2
    return Block(
        forward, down=nn.Conv2d(c, c, kernel, stride, padding), up=nn.ConvTranspose2d(c, c, kernel, stride, padding)
    )


@kind("layers")
def transposed_conv(draw: Random, c: int) -> nn.Module:
    """Transposed convolutions of stride one and two, dilated or grouped, cropped to the size."""
    options = draw.choice([
        {"kernel_size": 3, "padding": 1}, {"kernel_size": 4, "stride": 2, "padding": 1},
        {"kernel_size": 3, "stride": 2, "output_padding": 1}, {"kernel_size": 3, "dilation": 2, "padding": 2},
        {"kernel_size": 5, "stride": 2, "groups": 2, "padding": 2, "output_padding": 1},
    ])  # fmt: skip
    return Block(
        lambda self, x: torch.tanh(self.up(x))[:, :, : x.shape[2], : x.shape[3]], up=nn.ConvTranspose2d(c, c, **options)
    )


@kind("layers")
def pooled(draw: Random, c: int) -> nn.Module:
    """Pools with ceil_mode, count_include_pad, a divisor, padding and dilation, resized back."""
    pool = draw.choice([
        nn.AvgPool2d(3, 2, 1, ceil_mode=True), nn.AvgPool2d(3, 1, 1, count_include_pad=False),
        nn.AvgPool2d(2, 2, divisor_override=3), nn.AvgPool2d((3, 5), 1, (1, 2)), nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        nn.MaxPool2d(3, 1, 1, dilation=2), nn.MaxPool2d(2, 2, ceil_mode=True), nn.LPPool2d(2, 3, 2, ceil_mode=True),
        nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
    ])  # fmt: skip

    def forward(self, x):
        y = self.body(self.pool(torch.relu(x)))
        y = y if y.shape[-2:] == x.shape[-2:] else F.interpolate(y, scale_factor=2)
        return x + F.pad(y, (0, x.shape[-1] - y.shape[-1], 0, x.shape[-2] - y.shape[-2]))

    return Block(forward, pool=pool, body=conv(c))


@kind("layers")
def norms(draw: Random, c: int) -> nn.Module:
    norm = draw.choice([
        lambda: nn.InstanceNorm2d(c, affine=True), lambda: nn.GroupNorm(2, c), lambda: nn.BatchNorm2d(c),
        lambda: nn.LocalResponseNorm(3), lambda: nn.BatchNorm2d(c, track_running_stats=False),
        lambda: nn.InstanceNorm2d(c, track_running_stats=True), lambda: _image_norm(),
        lambda: Block(lambda self, x: F.layer_norm(x, x.shape[1:], eps=1e-3)),
        lambda: Block(lambda self, x: F.layer_norm(x, x.shape[-1:], eps=1e-3)),
        lambda: Block(lambda self, x: F.normalize(x, dim=self.dim), dim=draw.choice([1, 2, 3])),
    ])()  # fmt: skip
    return Block(lambda self, x: x + 0.3 * self.norm(self.body(x)), norm=norm, body=conv(c))


def _image_norm() -> nn.Module:
    """The image's own mean and deviation, by hand."""

    def forward(self, x):
        var, mean = torch.var_mean(x, dim=(1, 2, 3), keepdim=True)
        return (x - mean) / (var + 1e-3).sqrt()

    return Block(forward)


@kind("layers")
def activations(draw: Random, c: int) -> nn.Module:
    layer = draw.choice([
        nn.PReLU(c, init=0.1), nn.PReLU(), nn.GELU(), nn.GELU(approximate="tanh"), nn.SiLU(inplace=True),
        nn.Hardswish(), nn.ELU(inplace=True), nn.Softplus(), nn.Mish(), nn.ReLU6(inplace=True), nn.Hardtanh(),
        nn.Softshrink(0.1), nn.LogSigmoid(), nn.Threshold(0, 0), nn.RReLU(), nn.Dropout(0.5), nn.Dropout2d(0.5),
        nn.CELU(), nn.Softsign(),
    ])  # fmt: skip
    return nn.Sequential(conv(c), layer)


@kind("layers")
def glu(draw: Random, c: int) -> nn.Module:
    return nn.Sequential(conv(c, 2 * c), nn.GLU(dim=1))


@kind("layers")
def softmaxes(draw: Random, c: int) -> nn.Module:
    """A softmax over channels, rows, columns, or the whole image, scaled to the order of one."""

    def forward(self, x):
        y = self.body(x)
        if self.over == "image":
            return x + y.flatten(2).softmax(-1).view_as(x) * y.shape[-1] * y.shape[-2] * 0.1
        if self.over == "log":
            return x + y.log_softmax(1) * 0.2
        if self.over == "softmin":
            return x + F.softmin(y, dim=1)
        dim = {"channels": 1, "rows": 2, "columns": -1, "batch": 0}[self.over]
        return x + y.softmax(dim) * y.shape[dim] * 0.3

    over = draw.choice(["image", "log", "channels", "rows", "columns", "softmin", "batch"])
    return Block(forward, body=conv(c), over=over)


@kind("layers")
def reused(draw: Random, c: int) -> nn.Module:
    """Few tensors, read many times: polynomials and recursive layers."""

    def forward(self, x):
        y = torch.tanh(x)
        square = y * y
        cube = square * y
        z = y + square - 0.5 * cube + square * square - cube * y * 0.25
        for _ in range(3):
            z = torch.tanh(self.body(z)) + 0.2 * square + 0.1 * y
        return z * y + z - square

    return Block(forward, body=conv(c))


@kind("layers")
def pointwise(draw: Random, c: int) -> nn.Module:
    """Operators on single values that are less common."""

    def forward(self, x):
        y = self.body(x)
        result = {
            "where": lambda: torch.where(y > 0, y, 0.2 * x * (y > 0) + 0.1 * y),
            "clip": lambda: y.clamp(min=-0.5).clip(max=0.5),
            "pow": lambda: (y.abs() + 0.1).pow(1 / 2.2),
            "exp": lambda: torch.exp(-y.square()) + torch.log1p(y.abs()),
            "maximum": lambda: torch.maximum(x, y) - torch.minimum(x, -y),
            "atan2": lambda: torch.hypot(x, y) + torch.erf(y),
            "addcdiv": lambda: torch.addcdiv(x, y, 1 + y.square(), value=0.5),
            "lerp": lambda: torch.lerp(x, y, torch.sigmoid(x)),
            "rsqrt": lambda: y * torch.rsqrt(1 + x.square()),
            "double": lambda: (x.double() + y.double() / 3).float(),
            "rsub": lambda: 1 - y + torch.nan_to_num(x),
            "nan": lambda: torch.where(y > 100, float("nan"), y),
            "cross": lambda: torch.linalg.vector_norm(torch.stack([x, y], -1), dim=-1),
        }
        return result[self.name]()

    names = ["where", "clip", "pow", "exp", "maximum", "atan2", "addcdiv", "lerp", "rsqrt", "double", "rsub", "nan"]
    return Block(forward, body=conv(c), name=draw.choice([*names, "cross"]))


@kind("layers")
def reductions(draw: Random, c: int) -> nn.Module:
    """Median, std, sums and products over dimensions, and over the whole image."""

    def forward(self, x):
        y = {
            "channel std": lambda: x.std(1, keepdim=True),
            "channel median": lambda: x.median(1, keepdim=True).values,
            "image std": lambda: x.std(),
            "image median": lambda: x.median(),
            "image amax": lambda: x.abs().amax((1, 2, 3), keepdim=True),
            "sum rows": lambda: x.sum((1, 2), keepdim=True) / (x.shape[1] * x.shape[2]),
            "logsumexp": lambda: torch.logsumexp(x, 1, keepdim=True),
            "prod": lambda: torch.prod(torch.tanh(x), 1, keepdim=True),
            "mean all": lambda: x.mean(),
            "quantile": lambda: torch.quantile(x[:, :, ::8, ::8].flatten(1), 0.9, dim=1).view(-1, 1, 1, 1),
            "min max": lambda: x.max(dim=1, keepdim=True).values - x.amin(1, keepdim=True),
        }[self.name]()
        return self.body(x) + 0.5 * y

    names = [
        "channel std",
        "channel median",
        "image std",
        "image median",
        "image amax",
        "sum rows",
        "logsumexp",
        "prod",
    ]
    return Block(forward, body=conv(c), name=draw.choice([*names, "mean all", "quantile", "min max"]))


@kind("layers")
def conv_3d(draw: Random, c: int) -> nn.Module:
    """The channels as a third dimension."""

    def forward(self, x):
        return torch.tanh(self.body(x[:, None]))[:, 0] + x

    layer = draw.choice([
        lambda: nn.Conv3d(1, 1, 3, padding=1), lambda: nn.Conv3d(1, 1, (1, 3, 3), padding=(0, 1, 1)),
        lambda: nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv3d(2, 1, 1)),
    ])()  # fmt: skip
    return Block(forward, body=layer)


@kind("layers")
def conv_1d(draw: Random, c: int) -> nn.Module:
    """A convolution of one dimension along rows, along columns, or over channels (ECA)."""

    def forward(self, x):
        n, c, h, w = x.shape
        if self.along == "rows":
            y = self.body(x.permute(0, 2, 1, 3).reshape(n * h, c, w)).view(n, h, c, w).transpose(1, 2)
        elif self.along == "columns":
            y = self.body(x.permute(0, 3, 1, 2).reshape(n * w, c, h)).view(n, w, c, h).permute(0, 2, 3, 1)
        elif self.along == "pixels":
            y = self.body(x.flatten(2)).view(n, c, h, w)
        else:
            seen = x.mean((2, 3))[:, None]
            y = x * torch.sigmoid(F.conv1d(seen, self.body.weight[:1, :1], padding=1)).view(n, c, 1, 1)
        return x + torch.tanh(y)

    return Block(forward, body=nn.Conv1d(c, c, 3, padding=1), along=draw.choice(["rows", "columns", "pixels", "eca"]))


@kind("layers")
def bilinear_layers(draw: Random, c: int) -> nn.Module:
    """Matrix-vector products, nn.Bilinear, and a colour matrix from the image's own statistics."""

    def forward(self, x):
        y = x.permute(0, 2, 3, 1)
        if self.how == "bilinear":
            return x + self.both(y, torch.tanh(y)).permute(0, 3, 1, 2)
        if self.how == "mv":
            return x + torch.mv(y.reshape(-1, y.shape[-1]), self.vector).view(x.shape[0], 1, *x.shape[2:])
        matrix = self.first(x.mean((2, 3))).view(x.shape[0], x.shape[1], x.shape[1])
        return x + torch.einsum("ncd,ndhw->nchw", matrix, x)

    return Block(
        forward, both=nn.Bilinear(c, c, c), vector=nn.Parameter(torch.randn(c) / c), first=nn.Linear(c, c * c),
        how=draw.choice(["bilinear", "mv", "colour matrix"])
    )  # fmt: skip
