"""LiteISPNet: residual channel attention between wavelet transforms, with the coordinates of each pixel as input.

Paper: Z. Zhang et al., "Learning RAW-to-sRGB Mappings with Inaccurately Aligned Supervision", ICCV 2021,
arXiv 2108.08119. Written from a layer-by-layer specification for this project (Apache-2.0); the official code
(cszhilu1998/RAW-to-sRGB) has a licence of its own for non-commercial use, and nothing is copied from it. The
attributes have the names of its checkpoints' keys, which include the constant kernels of the wavelets. The networks
that align colour and position in the training are not part of it.

The coordinates always span the whole input, from -1 to 1, whatever its size: in the official training a patch, in
its test a picture. A tile with coordinates of its own would give another result than the whole picture, and so would
a tile with its own channel means.

Differences: ``forward`` takes the planes only and makes the coordinates itself; where the planes are padded to a
multiple of 8, the coordinates span the padded planes. Values below the black level are raised to it inside the network
(its first step is a power, which has no value there); the official program does that where it reads the mosaic.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.card import register_model
from zoo.convention import InputSpec

_MULTIPLE = 8


def haar_kernels() -> Tensor:
    """Return the four 2x2 kernels of the wavelets (4, 1, 2, 2): mean, rows, columns, diagonals; each is +-1/2."""
    signs = [[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]
    return torch.tensor(signs, dtype=torch.float32).reshape(4, 1, 2, 2) / 2


class Wavelet(nn.Module):
    """Haar transform (N, C, 2H, 2W) -> (N, 4C, H, W); band b of channel c becomes channel 4c + b.

    The kernels are constants, but the official checkpoints contain them.
    """

    weight: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.register_buffer("weight", haar_kernels().repeat(channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Split each channel into its four bands."""
        return F.conv2d(x, self.weight, stride=2, groups=self.channels)


class InverseWavelet(Wavelet):
    """The inverse: (N, 4C, H, W) -> (N, C, 2H, 2W)."""

    def forward(self, x: Tensor) -> Tensor:
        """Make one channel of each four."""
        return F.conv_transpose2d(x, self.weight, stride=2, groups=self.channels)


class ChannelAttention(nn.Module):
    """Scale the channels of (N, C, H, W) by gates from their means over the whole image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = channels // 16
        self.conv_du = nn.Sequential(
            nn.Conv2d(channels, narrow, 1), nn.ReLU(), nn.Conv2d(narrow, channels, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled x."""
        return x * self.conv_du(F.adaptive_avg_pool2d(x, 1))


class AttentionBlock(nn.Module):
    """Two convolutions, channel attention, plus the input: (N, C, H, W) -> same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.res = nn.Sequential(_conv(channels, channels), nn.ReLU(), _conv(channels, channels))
        self.ca = ChannelAttention(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Add the attended convolutions to x."""
        return self.ca(self.res(x)) + x


class Group(nn.Module):
    """Four attention blocks and a convolution, plus the input: (N, C, H, W) -> same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.rg = nn.Sequential(*(AttentionBlock(channels) for _ in range(4)), _conv(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Add the blocks' result to x."""
        return self.rg(x) + x


def _conv(in_channels: int, out_channels: int) -> nn.Module:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)


def coordinates(x: Tensor) -> Tensor:
    """Return the positions of the pixels of x (N, C, H, W) as planes (N, 2, H, W): x, then y.

    Both are centres of equal parts of [-1, 1]: -1 + 1/W for the first column, 1 - 1/W for the last.
    """
    n, _, height, width = x.shape
    columns, rows = (
        torch.linspace(-1 + 1 / size, 1 - 1 / size, size, dtype=x.dtype, device=x.device) for size in (width, height)
    )
    planes = torch.stack([columns.expand(height, width), rows[:, None].expand(height, width)])
    return planes.expand(n, 2, height, width)


class LiteISP(nn.Module):
    """Packed RAW (N, 4, H, W) to RGB (N, 3, 2H, 2W), meant for [0, 1]; H and W multiples of 8."""

    def __init__(self) -> None:
        super().__init__()
        self.head = _conv(4, 64)
        self.down1 = nn.Sequential(_conv(66, 66), Group(66), _conv(66, 64), Wavelet(64))
        self.down2 = nn.Sequential(_conv(256, 64), Group(64), Wavelet(64))
        self.down3 = nn.Sequential(_conv(256, 128), Group(128), Wavelet(128))
        self.middle = nn.Sequential(_conv(512, 128), Group(128), Group(128), _conv(128, 512))
        self.up3 = nn.Sequential(InverseWavelet(128), Group(128), _conv(128, 256))
        self.up2 = nn.Sequential(InverseWavelet(64), Group(64), _conv(64, 256))
        self.up1 = nn.Sequential(InverseWavelet(64), Group(64), _conv(64, 64))
        self.tail = nn.Sequential(_conv(64, 256), nn.PixelShuffle(2), _conv(64, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Map packed RAW (N, 4, H, W) to RGB (N, 3, 2H, 2W); raises ValueError if H or W is no multiple of 8."""
        height, width = x.shape[-2:]
        if height % _MULTIPLE or width % _MULTIPLE or min(height, width) < _MULTIPLE:
            raise ValueError(f"LiteISPNet takes planes with multiples of {_MULTIPLE}; got {height}x{width}")
        h = self.head(x.clamp(min=0) ** (1 / 2.2))
        d1 = self.down1(torch.cat([h, coordinates(x)], dim=1))
        d2 = self.down2(d1)
        d3 = self.down3(d2)
        t = self.middle(d3) + d3
        del d3
        t = self.up3(t) + d2
        del d2
        t = self.up2(t) + d1
        del d1
        return self.tail(self.up1(t) + h)


@register_model(
    task="raw2rgb",
    input=InputSpec(
        layout="bayer_packed",
        black_level=63.0,
        divisor=957.0,  # 1020 - 63
        multiple=_MULTIPLE,
        min_size=_MULTIPLE,
    ),
    params=9_039_623,
    paper="Zhang et al. 2021, ICCV, arXiv 2108.08119",
    licence="Apache-2.0 (written from a specification)",
    official_weights=(
        "LiteISPNet_model_*.pth of cszhilu1998/RAW-to-sRGB, whose licence is for non-commercial use; on external drives"
    ),
    differences=(
        "the coordinates are made in forward and span the planes that it gets, padding included",
        "values below the black level are raised to it by the network and not before it",
        "the form with a network that predicts a shift of the coordinates (pre_coord) is not included",
    ),
    global_ops=(
        "channel attention: gates depend on the average of the whole image",
        "coordinates: they span the whole image, from -1 to 1",
    ),
)
def liteisp() -> nn.Module:
    """LiteISPNet on packed RAW, 9.0 M parameters."""
    return LiteISP()
