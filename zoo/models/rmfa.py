"""RMFA-tiny: texture and tone branches with two attentions, at the full size of the mosaic.

Paper: A. Arhire, R. Timofte, "Learned Lightweight Smartphone ISP with Unpaired Data", CVPR Workshops 2025, arXiv
2505.10420, whose weights these are. Key names are those of the official PyTorch code (AndreiiArhire/
Learned-Lightweight-Smartphone-ISP-with-Unpaired-Data, no licence file; nothing is copied from it). Written from a
layer-by-layer specification for this project (Apache-2.0).

The network takes three planes of the mosaic's size, one per colour. Where a plane has no sample its value is exactly 1,
and samples below black are 0.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.card import register_model
from zoo.convention import Counts, InputSpec, of_counts


def _conv(in_channels: int, out_channels: int, size: int = 3) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, size, padding=size // 2)


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class Texture(nn.Module):
    """A 1x1 and a 3x3 convolution with ReLU, side by side: (N, C, H, W) to the same shape."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.high_freq = nn.Sequential(_conv(width, width // 2, 1), nn.ReLU())
        self.low_freq = nn.Sequential(_conv(width, width // 2), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of both, those of the 1x1 convolution first."""
        return torch.cat([self.high_freq(x), self.low_freq(x)], dim=1)


class ToneMapping(nn.Module):
    """Subtract an illumination that is estimated at a half and a quarter of the size: (N, C, H, W) to the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.level1 = nn.Sequential(nn.AvgPool2d(2), _conv(width, width), nn.ReLU())
        self.level2 = nn.Sequential(nn.AvgPool2d(2), _conv(width, width), nn.ReLU())
        self.level3 = nn.Sequential(_conv(width, width), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """Return x minus its illumination; values may be negative."""
        half = self.level1(x)
        illumination = _double(half + _double(self.level3(self.level2(half))))
        if illumination.shape != x.shape:
            illumination = F.interpolate(illumination, size=x.shape[-2:], mode="bilinear", align_corners=False)
        return x - illumination


class ChannelAttention(nn.Module):
    """Scale each channel by a gate of its mean and its maximum over the whole image."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = width // 16
        self.fc = nn.Sequential(
            nn.Conv2d(width, hidden, 1, bias=False), nn.ReLU(), nn.Conv2d(hidden, width, 1, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        return x * torch.sigmoid(self.fc(F.adaptive_avg_pool2d(x, 1)) + self.fc(F.adaptive_max_pool2d(x, 1)))


class SpatialAttention(nn.Module):
    """Scale each position by a gate of the mean and the maximum of the channels around it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        return x * torch.sigmoid(self.conv(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)))


class RMFABlock(nn.Module):
    """Texture and tone, merged, through both attentions, plus the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.texture_module = Texture(width)
        self.tone_mapping = ToneMapping(width)
        self.fusion = nn.Sequential(_conv(2 * width, width), nn.ReLU())
        self.channel_attention = ChannelAttention(width)
        self.spatial_attention = SpatialAttention()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        merged = self.fusion(torch.cat([self.texture_module(x), self.tone_mapping(x)], dim=1))
        return self.spatial_attention(self.channel_attention(merged)) + x


class RMFA(nn.Module):
    """Planes red, green, blue of a mosaic (N, 3, H, W), 1 where a sample is missing, to RGB (N, 3, H, W) in (0, 1).

    H and W are 0 or 1 modulo 4.
    """

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        # The official network has no activation between these two convolutions.
        self.input_module = nn.Sequential(_conv(3, width), _conv(width, width))
        self.rmfa_blocks = nn.Sequential(*(RMFABlock(width) for _ in range(blocks)))
        self.output_module = nn.Sequential(_conv(width, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Map colour planes (N, 3, H, W) to RGB (N, 3, H, W).

        Raises ValueError unless H and W are 0 or 1 modulo 4 and at least 4.
        """
        height, width = x.shape[-2:]
        if height % 4 > 1 or width % 4 > 1 or min(height, width) < 4:
            raise ValueError(f"RMFA takes planes with multiples of 4, or one more, at least 4; got {height}x{width}")
        x = torch.tanh(self.input_module(x))
        return torch.sigmoid(self.output_module(self.rmfa_blocks(x)))


@register_model(
    task="raw2rgb",
    input_of=of_counts(
        InputSpec(
            layout="bayer_rgb",
            black_level=63.0,
            divisor=1023.0,
            floor=0.0,
            missing=1.0,
            multiple=4,
            min_size=4,
            output_scale=1.0,
        )
    ),
    params=29_223,
    paper="Arhire and Timofte 2025, CVPRW, arXiv 2505.10420",
    licence="Apache-2.0 (written from a specification)",
    official_weights=(
        "RMFA_TINY_*.pth of AndreiiArhire/Learned-Lightweight-Smartphone-ISP-with-Unpaired-Data, for UltraISP; no"
        " licence stated"
    ),
    global_ops=("channel attention: gates depend on the average and the maximum of the whole image",),
)
def rmfa_tiny(counts: Counts = "ultraisp") -> nn.Module:
    """RMFA-tiny on the colour planes of a mosaic, 29,223 parameters."""
    return RMFA(width=16, blocks=2)
