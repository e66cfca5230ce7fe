"""UNet on packed RAW, the starred UNet row of the paper's Table 1.

Core: the UNet of Ronneberger et al. (MICCAI 2015, arXiv 1505.04597) with batch norm, bilinear upsampling and
key names of the widely used public PyTorch version (milesial/Pytorch-UNet, GPL-3.0; nothing is copied from
it). Written from a layer-by-layer specification for this project (Apache-2.0).

No official ZRR version exists. Ours: 4 input planes, a 1x1 head to 12 channels, pixel shuffle, sigmoid.

Free choices:

- core: bilinear upsampling, inferred from the printed 17 M; with transposed convolutions it would have 31.0 M.
- head: a 1x1 convolution to 12 channels, pixel shuffle and sigmoid. A 3x3 head has the same printed parameters
  (17.27 M), and 3.885 T FLOPs where this one has 3.846 T and the paper prints 3.9.
- input: PyNET's planes and scale; sizes that are no multiples of 16 are padded with zeros inside.
- initialisation: PyTorch's default.
- width: 64 channels at full size; unet_w8 has 8, is ours, and is for machines and tests.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.card import register_model
from zoo.convention import InputSpec


class DoubleConv(nn.Module):
    """Twice (3x3 convolution without bias, batch norm, ReLU): (N, a, H, W) -> (N, b, H, W)."""

    def __init__(self, in_channels: int, mid_channels: int, out_channels: int) -> None:
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.Conv2d(in_channels, mid_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(mid_channels),
            nn.ReLU(),
            nn.Conv2d(mid_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply both convolutions."""
        return self.double_conv(x)


class Down(nn.Module):
    """Halve the resolution by max-pooling, then DoubleConv."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), DoubleConv(in_channels, out_channels, out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, a, H, W) to (N, b, H // 2, W // 2)."""
        return self.maxpool_conv(x)


class Up(nn.Module):
    """Double the resolution bilinearly, concatenate behind the skip, then DoubleConv."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = DoubleConv(in_channels, in_channels // 2, out_channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Map x at half the size of ``skip`` to ``out_channels`` at its full size."""
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        down, right = skip.shape[-2] - x.shape[-2], skip.shape[-1] - x.shape[-1]
        if down or right:
            x = F.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2))
        return self.conv(torch.cat([skip, x], dim=1))


class OutConv(nn.Module):
    """The 1x1 head."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, a, H, W) to (N, b, H, W)."""
        return self.conv(x)


class UNet(nn.Module):
    """Packed RAW (N, 4, H, W) to RGB (N, 3, 2H, 2W) in (0, 1); H and W at least 16."""

    def __init__(self, width: int) -> None:
        super().__init__()
        w = width
        self.inc = DoubleConv(4, w, w)
        self.down1 = Down(w, 2 * w)
        self.down2 = Down(2 * w, 4 * w)
        self.down3 = Down(4 * w, 8 * w)
        self.down4 = Down(8 * w, 8 * w)
        self.up1 = Up(16 * w, 4 * w)
        self.up2 = Up(8 * w, 2 * w)
        self.up3 = Up(4 * w, w)
        self.up4 = Up(2 * w, w)
        self.outc = OutConv(w, 12)

    def forward(self, x: Tensor) -> Tensor:
        """Map packed RAW (N, 4, H, W) to RGB (N, 3, 2H, 2W)."""
        if min(x.shape[-2:]) < 16:
            raise ValueError(f"UNet takes planes of at least 16x16; got {x.shape[-2]}x{x.shape[-1]}")
        x1 = self.inc(x)
        x2 = self.down1(x1)
        x3 = self.down2(x2)
        x4 = self.down3(x3)
        t = self.down4(x4)
        t = self.up1(t, x4)
        t = self.up2(t, x3)
        t = self.up3(t, x2)
        t = self.up4(t, x1)
        return torch.sigmoid(F.pixel_shuffle(self.outc(t), 2))


_INPUT = InputSpec(layout="bayer_packed", min_size=16)
_PAPER = "Ronneberger et al. 2015, arXiv 1505.04597 (core); row of arXiv 2105.08470, Table 1"
_DIFFERENCES = (
    "the paper gives no network: that the core is the bilinear public PyTorch one is inferred from 17 M parameters",
    "4 input planes, 12 output channels of the 1x1 head, pixel shuffle and sigmoid are our adaptation to RAW",
)


@register_model(
    task="raw2rgb",
    input=_INPUT,
    params=17_264_268,
    paper=_PAPER,
    licence="Apache-2.0 (written from a specification)",
    differences=_DIFFERENCES,
    reconstruction=True,
)
def unet(width: int = 64) -> nn.Module:
    """UNet baseline on packed RAW, 17.3 M parameters."""
    return UNet(width)


@register_model(
    task="raw2rgb",
    input=_INPUT,
    params=271_068,
    paper=_PAPER,
    licence="Apache-2.0 (written from a specification)",
    differences=(*_DIFFERENCES, "width 8 instead of 64: for machines and tests"),
    reconstruction=True,
)
def unet_w8(width: int = 8) -> nn.Module:
    """UNet baseline at width 8; for machines and tests."""
    return UNet(width)
