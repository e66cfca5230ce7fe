"""NAFNet, a UNet without activation functions, for denoising: width 32 and 64, with global or local statistics.

Paper: L. Chen, X. Chu, X. Zhang, J. Sun, "Simple Baselines for Image Restoration", ECCV 2022, arXiv 2204.04676; local
statistics: X. Chu, L. Chen, C. Chen, X. Lu, "Improving Image Restoration by Revisiting Global Information Aggregation",
ECCV 2022, arXiv 2112.04491. Written from a layer-by-layer specification for this project (Apache-2.0); nothing is
copied from megvii-research/NAFNet (MIT). Attributes carry the names of its checkpoints' keys.

Every block scales its channels by means. ``nafnet_32`` and ``nafnet_64`` take them over the whole image, as the SIDD
settings do; the zeros that fill the sides up to multiples of 16 are part of them. The ``_local`` forms have the same
weights and take means over boxes of 1.5 times the training crop (GoPro and REDS settings): another result on images
larger than a box, and one that does not depend on the whole image.

Differences: box means are made of sums of neighbours, along rows and then columns; the official code takes differences
of float32 cumulative sums, whose rounding errors grow with the image.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.card import register_model
from zoo.convention import InputSpec
from zoo.errors import UserError

_ENCODER, _MIDDLE, _DECODER = (2, 2, 4, 8), 12, (2, 2, 2, 2)
_MULTIPLE = 2 ** len(_ENCODER)


class LayerNorm2d(nn.Module):
    """Normalise the channels of each pixel; scale and shift per channel: (N, C, H, W) -> same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised features."""
        x = x - x.mean(dim=1, keepdim=True)
        # 1e-6 and not PyTorch's 1e-5: it is visible in flat images.
        x = x / torch.sqrt(x.square().mean(dim=1, keepdim=True) + 1e-6)
        return x * self.weight[:, None, None] + self.bias[:, None, None]


class GlobalMean(nn.Module):
    """The mean of each channel over the image: (N, C, H, W) -> (N, C, 1, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the means."""
        return x.mean(dim=(-2, -1), keepdim=True)


class BoxMean(nn.Module):
    """The mean of each channel over a box of ``side`` around each pixel: (N, C, H, W) -> same.

    Near a border it is that of the nearest box inside the image. In an image that a box covers it is the global mean,
    (N, C, 1, 1).
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        """Return the means."""
        height, width = x.shape[-2:]
        rows, columns = min(height, self.side), min(width, self.side)
        if (rows, columns) == (height, width):
            return x.mean(dim=(-2, -1), keepdim=True)
        x = running_mean(running_mean(x, rows, dim=2), columns, dim=3)
        top, left = (rows - 1) // 2, (columns - 1) // 2
        return F.pad(x, (left, columns - 1 - left, top, rows - 1 - top), mode="replicate")


def running_mean(x: Tensor, count: int, *, dim: int) -> Tensor:
    """Return the means of ``count`` neighbours along rows (``dim`` 2) or columns (3): count - 1 fewer elements.

    Sums of 2, 4, 8 ... neighbours are made of each other, so that a box of 384 takes nine additions for each element.
    """
    length, start, width = x.shape[dim] - count + 1, 0, 1
    total: Tensor | None = None
    while True:
        if count & width:
            part = x.narrow(dim, start, length)
            total = part if total is None else total + part
            start += width
        if start == count:
            assert total is not None
            return total * (1 / count)
        rest = x.shape[dim] - width
        x, width = x.narrow(dim, 0, rest) + x.narrow(dim, width, rest), 2 * width


def gate(x: Tensor) -> Tensor:
    """Multiply the first half of the channels by the second: (N, 2C, H, W) -> (N, C, H, W)."""
    first, second = x.chunk(2, dim=1)
    return first * second


class NAFBlock(nn.Module):
    """A gated depthwise convolution with channel attention, then a gated pair of 1x1 convolutions, both residual."""

    def __init__(self, channels: int, mean: nn.Module) -> None:
        super().__init__()
        c = channels
        self.beta = nn.Parameter(torch.zeros(1, c, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, c, 1, 1))
        self.conv1 = nn.Conv2d(c, 2 * c, 1)
        self.conv2 = nn.Conv2d(2 * c, 2 * c, 3, padding=1, groups=2 * c)
        self.conv3 = nn.Conv2d(c, c, 1)
        self.sca = nn.Sequential(mean, nn.Conv2d(c, c, 1))
        self.conv4 = nn.Conv2d(c, 2 * c, 1)
        self.conv5 = nn.Conv2d(c, c, 1)
        self.norm1 = LayerNorm2d(c)
        self.norm2 = LayerNorm2d(c)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        a = gate(self.conv2(self.conv1(self.norm1(x))))
        x = x + self.conv3(a * self.sca(a)) * self.beta
        return x + self.conv5(gate(self.conv4(self.norm2(x)))) * self.gamma


class NAFNet(nn.Module):
    """RGB (N, 3, H, W) in [0, 1] to the denoised image (N, 3, H, W), not clipped; any H and W.

    Sides are filled with zeros, at the bottom and right, up to multiples of 16. ``mean_at`` returns the module for the
    means of a level: 0 has the image's size, each next half of it.
    """

    def __init__(self, width: int, mean_at: Callable[[int], nn.Module]) -> None:
        super().__init__()
        levels = len(_ENCODER)

        def blocks(count: int, level: int) -> nn.Sequential:
            return nn.Sequential(*(NAFBlock(width << level, mean_at(level)) for _ in range(count)))

        def up(level: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(width << level, 2 * (width << level), 1, bias=False), nn.PixelShuffle(2))

        self.intro = nn.Conv2d(3, width, 3, padding=1)
        self.ending = nn.Conv2d(width, 3, 3, padding=1)
        self.encoders = nn.ModuleList(blocks(count, level) for level, count in enumerate(_ENCODER))
        self.decoders = nn.ModuleList(blocks(count, levels - 1 - index) for index, count in enumerate(_DECODER))
        self.middle_blks = blocks(_MIDDLE, levels)
        self.ups = nn.ModuleList(up(levels - index) for index in range(levels))
        self.downs = nn.ModuleList(
            nn.Conv2d(width << level, width << level + 1, 2, stride=2) for level in range(levels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the denoised image."""
        height, width = x.shape[-2:]
        x = F.pad(x, (0, -width % _MULTIPLE, 0, -height % _MULTIPLE))
        t = self.intro(x)
        skips: list[Tensor] = []
        for encoder, down in zip(self.encoders, self.downs):
            skips.append(encoder(t))
            t = down(skips[-1])
        t = self.middle_blks(t)
        for decoder, up in zip(self.decoders, self.ups):
            # Skips are popped, so that each is freed after its use.
            t = decoder(up(t) + skips.pop())
        return (self.ending(t) + x).narrow(-2, 0, height).narrow(-1, 0, width)


def _global(width: int) -> NAFNet:
    return NAFNet(width, lambda level: GlobalMean())


def _local(width: int, train_size: int) -> NAFNet:
    if train_size < _MULTIPLE:
        raise UserError(
            f"option train_size={train_size} does not fit; expected the side of the training crops, at least"
            f" {_MULTIPLE}, such as 256."
        )
    base, padded = int(1.5 * train_size), train_size + -train_size % _MULTIPLE
    return NAFNet(width, lambda level: BoxMean((padded >> level) * base // train_size))


_INPUT = InputSpec(layout="rgb", output_scale=1.0)
_PAPER = "Chen et al. 2022, ECCV, arXiv 2204.04676"
_PAPER_LOCAL = f"{_PAPER}; local statistics: Chu et al. 2022, ECCV, arXiv 2112.04491"
_LICENCE = "Apache-2.0 (written from a specification)"
_WEIGHTS = "of megvii-research/NAFNet (MIT), on external drives; none seen here"
_GLOBAL = ("channel attention: a mean over the whole image in each of the 36 blocks",)
_BOXES = ("box means are average poolings; the official code takes differences of float32 cumulative sums",)


@register_model(
    task="denoise_rgb",
    input=_INPUT,
    params=29_159_715,
    paper=_PAPER,
    licence=_LICENCE,
    official_weights=f"NAFNet-SIDD-width32.pth {_WEIGHTS}",
    global_ops=_GLOBAL,
)
def nafnet_32(width: int = 32) -> nn.Module:
    """NAFNet of width 32 for sRGB denoising, 29.2 M parameters."""
    return _global(width)


@register_model(
    task="denoise_rgb",
    input=_INPUT,
    params=115_982_915,
    paper=_PAPER,
    licence=_LICENCE,
    official_weights=f"NAFNet-SIDD-width64.pth {_WEIGHTS}",
    global_ops=_GLOBAL,
)
def nafnet_64(width: int = 64) -> nn.Module:
    """NAFNet of width 64 for sRGB denoising, 116.0 M parameters."""
    return _global(width)


@register_model(
    task="denoise_rgb",
    input=_INPUT,
    params=29_159_715,
    paper=_PAPER_LOCAL,
    licence=_LICENCE,
    official_weights=f"those of nafnet_32: NAFNet-SIDD-width32.pth {_WEIGHTS}",
    differences=_BOXES,
)
def nafnet_32_local(width: int = 32, train_size: int = 256) -> nn.Module:
    """NAFNet of width 32 with box means of 1.5 times the training crops' side ``train_size``; weights of nafnet_32."""
    return _local(width, train_size)


@register_model(
    task="denoise_rgb",
    input=_INPUT,
    params=115_982_915,
    paper=_PAPER_LOCAL,
    licence=_LICENCE,
    official_weights=f"those of nafnet_64: NAFNet-SIDD-width64.pth {_WEIGHTS}",
    differences=_BOXES,
)
def nafnet_64_local(width: int = 64, train_size: int = 256) -> nn.Module:
    """NAFNet of width 64 with box means of 1.5 times the training crops' side ``train_size``; weights of nafnet_64."""
    return _local(width, train_size)
