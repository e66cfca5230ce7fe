"""AWNet, 4-channel branch: residual dense blocks with global context between discrete wavelet transforms.

Paper: Dai et al., "AWNet: Attentive Wavelet Network for Image ISP", ECCVW 2020, arXiv 2008.09228. Written from
a layer-by-layer specification for this project (Apache-2.0); the official code (Charlie0215/AWNet) has no
licence file and nothing is copied from it. Attributes carry the names of its checkpoints' keys.

Differences: ``forward`` returns the final image only; the side outputs of the multi-scale loss and the latent
come from ``all_outputs``. Dense blocks per level are 3, 3, 3, 4, 4, as in every official script and in Table 1
of arXiv 2105.08470; the official class defaults to 2, 2, 2, 3, 4.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.card import register_model
from zoo.convention import InputSpec
from zoo.errors import UserError


class AWNetOutputs(NamedTuple):
    """Everything the official network returns; images are RGB in (0, 1)."""

    out: Tensor  # (N, 3, 2H, 2W), the result
    scale1: Tensor  # (N, 3, H, W)
    scale2: Tensor  # (N, 3, H/2, W/2)
    scale3: Tensor  # (N, 3, H/4, W/4)
    scale4: Tensor  # (N, 3, H/8, W/8)
    scale5: Tensor  # (N, 3, H/16, W/16)
    latent: Tensor  # (N, 1024, H/16, W/16)


def dwt(x: Tensor) -> tuple[Tensor, Tensor]:
    """Haar transform of (N, C, H, W): LL (N, C, H/2, W/2) and [LL, HL, LH, HH] (N, 4C, H/2, W/2)."""
    x = x / 2
    p00, p01, p10, p11 = x[..., 0::2, 0::2], x[..., 0::2, 1::2], x[..., 1::2, 0::2], x[..., 1::2, 1::2]
    ll = p00 + p10 + p01 + p11
    hl = -p00 - p10 + p01 + p11
    lh = -p00 + p10 - p01 + p11
    hh = p00 - p10 - p01 + p11
    return ll, torch.cat([ll, hl, lh, hh], dim=1)


def iwt(bands: Tensor) -> Tensor:
    """Invert ``dwt``: four bands (N, 4C, H, W) to (N, C, 2H, 2W)."""
    ll, hl, lh, hh = (bands / 2).chunk(4, dim=1)
    n, channels, height, width = ll.shape
    x = bands.new_empty(n, channels, 2 * height, 2 * width)
    x[..., 0::2, 0::2] = ll - hl - lh + hh
    x[..., 1::2, 0::2] = ll - hl + lh - hh
    x[..., 0::2, 1::2] = ll + hl - lh - hh
    x[..., 1::2, 1::2] = ll + hl + lh + hh
    return x


class GlobalContext(nn.Module):
    """Add to every position a context from an attention-weighted mean over all positions: (N, C, H, W) -> same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_mask = nn.Conv2d(channels, 1, 1)
        self.channel_add_conv = nn.Sequential(
            nn.Conv2d(channels, channels // 4, 1),
            nn.LayerNorm((channels // 4, 1, 1)),
            nn.PReLU(),
            nn.Conv2d(channels // 4, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Add the transformed context vector of each image."""
        attention = self.conv_mask(x).flatten(2).softmax(dim=-1)  # (N, 1, HW)
        context = x.flatten(2) @ attention.transpose(1, 2)  # (N, C, 1)
        return x + self.channel_add_conv(context.unsqueeze(-1))


class ChannelAttention(nn.Module):
    """A 1x1 convolution whose channels are scaled by gates from the global average: (N, C, H, W) -> same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(channels, channels, 1)
        self.conv_mid = nn.Conv2d(channels, channels // 4, 1)
        self.conv_out = nn.Conv2d(channels // 4, channels, 1)
        self.x_red = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels of the convolved x."""
        gate = F.relu(self.conv_in(F.adaptive_avg_pool2d(x, 1)))
        gate = torch.sigmoid(self.conv_out(F.relu(self.conv_mid(gate))))
        return self.x_red(x) * gate


class DenseStep(nn.Module):
    """Append 16 new channels: 3x3 convolution, ReLU, and only then batch norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 16, 3, padding=1)
        self.norm_layer = nn.BatchNorm2d(16)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C + 16, H, W), the input first."""
        return torch.cat([x, self.norm_layer(F.relu(self.conv(x)))], dim=1)


class ResidualDenseBlock(nn.Module):
    """Six dense steps, 1x1 convolution back to C channels, global context, plus the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.residual_dense_layers = nn.Sequential(*(DenseStep(channels + 16 * step) for step in range(6)))
        self.conv_1x1 = nn.Conv2d(channels + 96, channels, 1)
        self.final_att = GlobalContext(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        return x + self.final_att(self.conv_1x1(self.residual_dense_layers(x)))


class Down(nn.Module):
    """Halve the resolution in two ways, by strided convolution and by wavelets."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, channels, 3, stride=2, padding=1),
            nn.PReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.PReLU(),
        )
        self.conv1x1 = nn.Conv2d(channels, channels, 1)
        # This layer is never used, but every official checkpoint contains it.
        self.conv_down = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (N, C, H, W) to features (N, 2C, H/2, W/2) and the four sub-bands (N, 4C, H/2, W/2)."""
        ll, bands = dwt(x)
        return torch.cat([self.stem(x), self.conv1x1(ll)], dim=1), bands


class Up(nn.Module):
    """Double the resolution in two ways, by pixel shuffle and by the inverse wavelet transform."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        m = channels
        self.stem = nn.Sequential(
            nn.PixelShuffle(2),
            nn.Conv2d(m // 4, m // 4, 3, padding=1),
            nn.PReLU(),
            nn.Conv2d(m // 4, m // 4, 3, padding=1),
            nn.PReLU(),
        )
        self.pre_conv_stem = nn.Conv2d(m // 2, m, 1)
        self.pre_conv = nn.Conv2d(m, m, 1)
        self.post_conv = nn.Conv2d(m // 4, m // 4, 1)
        self.last_conv = nn.Conv2d(m // 2, m // 4, 1)

    def forward(self, x: Tensor, bands: Tensor) -> Tensor:
        """Map features (N, M/2, H, W) and sub-bands (N, M, H, W) to (N, M/4, 2H, 2W)."""
        stem = self.stem(self.pre_conv_stem(x))
        wave = self.post_conv(iwt(self.pre_conv(bands)))
        return self.last_conv(torch.cat([stem, wave], dim=1))


class Shortcut(nn.Module):
    """Two 3x3 convolutions with ReLU and channel attention, from the encoder to the decoder."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.se = ChannelAttention(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        return self.se(F.relu(self.conv2(F.relu(self.conv1(x)))))


class PyramidPooling(nn.Module):
    """Merge 16 channels with their averages over s x s grids of the whole image, s = 1, 2, 3, 6; no activation."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(size), nn.Conv2d(16, 16, 1, bias=False)) for size in (1, 2, 3, 6)
        )
        self.bottleneck = nn.Conv2d(80, 16, 1)

    def forward(self, p: Tensor) -> Tensor:
        """Map (N, 16, H, W) to the same shape."""
        size = p.shape[-2:]
        # Filled level by level, because all levels together with their concatenation would be the memory peak.
        pyramid = p.new_empty(p.shape[0], 80, *size)
        for index, stage in enumerate(self.stages):
            pyramid[:, 16 * index : 16 * (index + 1)] = F.interpolate(
                stage(p), size=size, mode="bilinear", align_corners=False
            )
        pyramid[:, 64:] = p
        return self.bottleneck(pyramid)


class Last(nn.Module):
    """The head: pixel shuffle, pyramid pooling, channel attention, sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.pre_enhance = nn.Conv2d(16, 16, 3, padding=1)
        self.enhance = PyramidPooling()
        self.post_conv = nn.Conv2d(32, 32, 3, padding=1)
        self.se = ChannelAttention(32)
        self.final = nn.Conv2d(32, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 64, H, W) to RGB (N, 3, 2H, 2W) in (0, 1)."""
        p = self.pre_enhance(F.pixel_shuffle(x, 2))
        t = self.post_conv(torch.cat([F.relu(self.enhance(p)), p], dim=1))
        return torch.sigmoid(self.final(self.se(t)))


def _dense_blocks(count: int, channels: int) -> list[nn.Module]:
    return [ResidualDenseBlock(channels) for _ in range(count)]


def _join(x: Tensor, skip: tuple[Tensor, Tensor], up: Up, shortcut: Shortcut) -> Tensor:
    """Climb one level of the decoder: the upsampled x plus the shortcut."""
    encoded, bands = skip
    return up(x, bands) + shortcut(encoded)


class AWNet(nn.Module):
    """Packed RAW (N, 4, H, W) to RGB (N, 3, 2H, 2W) in (0, 1); H and W multiples of 16."""

    def __init__(self, blocks: tuple[int, ...]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(4, 64, 3, padding=1)
        self.layer1 = nn.Sequential(*_dense_blocks(blocks[0], 64), Down(64))
        self.layer2 = nn.Sequential(*_dense_blocks(blocks[1], 128), Down(128))
        self.layer3 = nn.Sequential(*_dense_blocks(blocks[2], 256), Down(256))
        self.layer4 = nn.Sequential(*_dense_blocks(blocks[3], 512), Down(512))
        self.layer5 = nn.Sequential(*_dense_blocks(blocks[4], 1024))
        self.layer4_up = Up(2048)
        self.layer3_up = Up(1024)
        self.layer2_up = Up(512)
        self.layer1_up = Up(256)
        self.sc_x1 = Shortcut(64)
        self.sc_x2 = Shortcut(128)
        self.sc_x3 = Shortcut(256)
        self.sc_x4 = Shortcut(512)
        self.scale_5 = nn.Conv2d(1024, 3, 3, padding=1)
        self.scale_4 = nn.Conv2d(512, 3, 3, padding=1)
        self.scale_3 = nn.Conv2d(256, 3, 3, padding=1)
        self.scale_2 = nn.Conv2d(128, 3, 3, padding=1)
        self.scale_1 = nn.Conv2d(64, 3, 3, padding=1)
        self.se1 = ChannelAttention(64)
        self.se2 = ChannelAttention(128)
        self.se3 = ChannelAttention(256)
        self.se4 = ChannelAttention(512)
        self.se5 = ChannelAttention(1024)
        self.last = Last()

    def _encode(self, x: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Return the latent and, from the finest level on, the decoder's inputs: (features, sub-bands)."""
        height, width = x.shape[-2:]
        if height % 16 or width % 16 or min(height, width) < 16:
            raise ValueError(f"AWNet takes planes with multiples of 16, at least 16; got {height}x{width}")
        x1 = self.conv1(x)
        x2, w1 = self.layer1(self.se1(x1))
        x3, w2 = self.layer2(self.se2(x2))
        x4, w3 = self.layer3(self.se3(x3))
        x5, w4 = self.layer4(self.se4(x4))
        latent = self.layer5(self.se5(x5))
        return latent, [(x1, w1), (x2, w2), (x3, w3), (x4, w4)]

    def forward(self, x: Tensor) -> Tensor:
        """Map packed RAW (N, 4, H, W) to RGB (N, 3, 2H, 2W); H and W multiples of 16.

        Raises ValueError for other sizes.
        """
        t, skips = self._encode(x)
        # Skips are popped, so that each is freed after its use.
        t = _join(t, skips.pop(), self.layer4_up, self.sc_x4)
        t = _join(t, skips.pop(), self.layer3_up, self.sc_x3)
        t = _join(t, skips.pop(), self.layer2_up, self.sc_x2)
        t = _join(t, skips.pop(), self.layer1_up, self.sc_x1)
        return self.last(t)

    def all_outputs(self, x: Tensor) -> AWNetOutputs:
        """Return the image with the side outputs of the multi-scale loss and the latent; x as in ``forward``."""
        latent, skips = self._encode(x)
        u4 = _join(latent, skips.pop(), self.layer4_up, self.sc_x4)
        u3 = _join(u4, skips.pop(), self.layer3_up, self.sc_x3)
        u2 = _join(u3, skips.pop(), self.layer2_up, self.sc_x2)
        u1 = _join(u2, skips.pop(), self.layer1_up, self.sc_x1)
        return AWNetOutputs(
            out=self.last(u1),
            scale1=torch.sigmoid(self.scale_1(u1)),
            scale2=torch.sigmoid(self.scale_2(u2)),
            scale3=torch.sigmoid(self.scale_3(u3)),
            scale4=torch.sigmoid(self.scale_4(u4)),
            scale5=torch.sigmoid(self.scale_5(latent)),
            latent=latent,
        )


@register_model(
    task="raw2rgb",
    input=InputSpec(layout="bayer_packed", multiple=16, min_size=16),
    params=52_205_436,
    paper="Dai et al., ECCVW 2020, arXiv 2008.09228",
    licence="Apache-2.0 (written from a specification)",
    official_weights=(
        "weight_4channel_best.pkl of Charlie0215/AWNet-Attentive-Wavelet-Network-for-Image-ISP; no licence file seen"
    ),
    differences=(
        "forward returns the final image only; side outputs and latent come from all_outputs",
        "one pass: the official validation can average 8 rotations and flips",
    ),
    global_ops=(
        "channel attention: gates depend on the average of the whole image",
        "global context: a softmax-weighted mean over all positions",
        "pyramid pooling: averages over 1x1, 2x2, 3x3 and 6x6 grids of the whole image",
    ),
    unused_params=("layer*.conv_down.*",),
)
def awnet_4ch(blocks: tuple[int, ...] = (3, 3, 3, 4, 4)) -> nn.Module:
    """AWNet on packed RAW, 52.2 M parameters; ``blocks`` are the dense blocks per level."""
    if len(blocks) != 5 or min(blocks) < 1:
        raise UserError(
            f"awnet_4ch: option blocks={','.join(map(str, blocks))} does not fit;"
            f" expected five counts of at least 1, one per level, such as 2,2,2,3,4."
        )
    return AWNet(blocks)
