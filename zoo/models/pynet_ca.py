"""PyNET-CA on packed RAW: PyNET with channel attention, the PyNet-CA row of the paper's Table 1.

Paper: B.-H. Kim, J. Song, J. C. Ye, J. Baek, "PyNET-CA: Enhanced PyNET with Channel Attention for End-to-End
Mobile Image Signal Processing", ECCVW 2020, arXiv 2104.03895. Written from a layer-by-layer specification for
this project (Apache-2.0). Module names are those of the official checkpoints (egyptdj/skyb-aim2020-public).
That repository is GPL-3.0, and no other licence is known for its weights; nothing is copied from it.

Works in [-1, 1] at input and output. Five resolutions from coarse (level 5) to fine (level 1), each fed by the
one below; level 0 doubles the resolution of level 1. All levels share one set of weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.card import register_model
from zoo.convention import InputSpec
from zoo.pyramid import LevelOutputs, at_level, check_level, check_size, concatenate, doubling, leaky_relu, reflect_conv


def _branch(in_channels: int, width: int, kernel: int, *, norm: bool) -> nn.Sequential:
    # Unlike in PyNET, only the second convolution is normalised, and then it has no bias.
    return nn.Sequential(
        reflect_conv(in_channels, width, kernel),
        leaky_relu(),
        reflect_conv(width, width, kernel, bias=not norm),
        *([nn.InstanceNorm2d(width, affine=True)] if norm else []),
        leaky_relu(),
    )


def _up(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(doubling(), reflect_conv(in_channels, out_channels), leaky_relu())


class ChannelAttention(nn.Module):
    """Weigh each channel by a factor in (0, 1) that depends on all channels' means: (N, C, H, W) to the same."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.channel_attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, hidden, 1),
            nn.ReLU(),
            nn.Conv2d(hidden, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels of ``x``."""
        return x * self.channel_attention(x)


class MultiConv(nn.Module):
    """Parallel branches of convolutions of size 3, 5, ... ``kernel``, concatenated, then channel attention.

    Maps (N, in_channels, H, W) to (N, width * branches, H, W).
    """

    def __init__(self, kernel: int, in_channels: int, width: int, *, norm: bool = True) -> None:
        super().__init__()
        kernels = range(3, kernel + 1, 2)
        self.multiconv_layers = nn.ModuleList(_branch(in_channels, width, k, norm=norm) for k in kernels)
        self.channel_attention = ChannelAttention(width * len(kernels), hidden=width)

    def forward(self, x: Tensor) -> Tensor:
        """Run the branches on the same input, small kernels first, and weigh their channels."""
        return self.channel_attention(concatenate(*[branch(x) for branch in self.multiconv_layers]))


class PyNetCA(nn.Module):
    """Packed RAW (N, 4, H, W) to RGB (N, 3, 2H / 2^level, 2W / 2^level), both in [-1, 1].

    H and W are multiples of 16, at least 32. Raises UserError for a level outside 0..5.
    """

    def __init__(self, level: int = 0) -> None:
        super().__init__()
        check_level("pynet_ca", level)
        self.level = level

        self.level0_conv1 = MultiConv(9, 32, 32, norm=False)
        self.level0_conv2 = nn.Conv2d(128, 12, 1)

        self.level1_conv1 = MultiConv(3, 4, 32, norm=False)
        self.level1_conv2 = MultiConv(5, 64, 32, norm=False)
        self.level1_conv3, self.level1_conv4 = MultiConv(7, 96, 32), MultiConv(9, 96, 32)
        self.level1_conv5, self.level1_conv6, self.level1_conv7 = (MultiConv(9, 128, 32) for _ in range(3))
        self.level1_conv8, self.level1_conv9 = MultiConv(7, 128, 32), MultiConv(5, 128, 32)
        self.level1_conv10 = MultiConv(3, 128, 32, norm=False)
        self.level1_conv11 = reflect_conv(32, 3)
        self.level1_up1, self.level1_up2 = _up(64, 32), _up(64, 32)

        self.level2_conv1 = nn.Sequential(nn.MaxPool2d(2), MultiConv(3, 32, 64))
        self.level2_conv2 = MultiConv(5, 128, 64)
        self.level2_conv3, self.level2_conv4 = MultiConv(7, 192, 64), MultiConv(7, 192, 64)
        self.level2_conv5, self.level2_conv6 = MultiConv(7, 192, 64), MultiConv(7, 192, 64)
        self.level2_conv7, self.level2_conv8 = MultiConv(5, 256, 64), MultiConv(3, 192, 64)
        self.level2_conv9 = reflect_conv(64, 3)
        self.level2_up1, self.level2_up2 = _up(128, 64), _up(128, 64)

        self.level3_conv1 = nn.Sequential(nn.MaxPool2d(2), MultiConv(3, 64, 128))
        self.level3_conv2, self.level3_conv3 = MultiConv(5, 256, 128), MultiConv(5, 256, 128)
        self.level3_conv4, self.level3_conv5 = MultiConv(5, 256, 128), MultiConv(5, 256, 128)
        self.level3_conv6 = MultiConv(3, 512, 128)
        self.level3_conv7 = reflect_conv(128, 3)
        self.level3_up1, self.level3_up2 = _up(256, 128), _up(256, 128)

        self.level4_conv1 = nn.Sequential(nn.MaxPool2d(2), MultiConv(3, 128, 256))
        self.level4_conv2 = MultiConv(3, 512, 256)
        self.level4_conv3, self.level4_conv4, self.level4_conv5 = (MultiConv(3, 256, 256) for _ in range(3))
        self.level4_conv6 = MultiConv(3, 512, 256)
        self.level4_conv7 = reflect_conv(256, 3)
        self.level4_up1, self.level4_up2 = _up(512, 256), _up(512, 256)

        self.level5_conv1 = nn.Sequential(nn.MaxPool2d(2), MultiConv(3, 256, 512))
        self.level5_conv2, self.level5_conv3, self.level5_conv4 = (MultiConv(3, 512, 512) for _ in range(3))
        self.level5_conv5 = reflect_conv(512, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return the image of the network's level; finer levels and the heads of coarser ones are not computed."""
        check_size("PyNET-CA", x)
        # The iterator is freed at once, together with the tensors that only finer levels need.
        y = next(islice(self._features(x), 5 - max(self.level, 1), None))
        if self.level == 0:
            return self._full_image(y)
        heads = (self.level1_conv11, self.level2_conv9, self.level3_conv7, self.level4_conv7, self.level5_conv5)
        return torch.tanh(heads[self.level - 1](y))

    def all_outputs(self, x: Tensor) -> LevelOutputs:
        """Return the images of all six levels, whatever the network's own level."""
        check_size("PyNET-CA", x)
        heads = (self.level5_conv5, self.level4_conv7, self.level3_conv7, self.level2_conv9, self.level1_conv11)
        images = []
        for head, y in zip(heads, self._features(x)):
            images.append(torch.tanh(head(y)))
        images.append(self._full_image(y))
        return LevelOutputs(*images)

    def _full_image(self, y: Tensor) -> Tensor:
        return torch.tanh(F.pixel_shuffle(self.level0_conv2(self.level0_conv1(y)), 2))

    def _features(self, x: Tensor) -> Iterator[Tensor]:
        # Yields y, the final features of levels 5, 4, ... 1, and computes a level only on request. Tensors are
        # deleted after their last use: at 12 MP a tensor of level 1 takes 0.4 to 1.6 GB.
        x1 = self.level1_conv1(x)
        x2 = self.level2_conv1(x1)
        x3 = self.level3_conv1(x2)
        x4 = self.level4_conv1(x3)

        t = self.level5_conv1(x4)
        y = self.level5_conv4(self.level5_conv3(self.level5_conv2(t)))
        yield y

        t = self.level4_conv2(concatenate(x4, self.level4_up1(y)))
        del x4
        for block in (self.level4_conv3, self.level4_conv4):
            t = block(t) + t
        t = self.level4_conv5(t)
        y = self.level4_conv6(concatenate(t, self.level4_up2(y)))
        yield y

        t = concatenate(x3, self.level3_up1(y))
        for block in (self.level3_conv2, self.level3_conv3, self.level3_conv4):
            t = block(t) + t
        t = self.level3_conv5(t)
        y = self.level3_conv6(concatenate(t, x3, self.level3_up2(y)))
        del x3
        yield y

        t = self.level2_conv2(concatenate(x2, self.level2_up1(y)))
        t = concatenate(t, x2)
        for block in (self.level2_conv3, self.level2_conv4, self.level2_conv5):
            t = block(t) + t
        t = self.level2_conv6(t)
        t = self.level2_conv7(concatenate(t, x2))
        del x2
        y = self.level2_conv8(concatenate(t, self.level2_up2(y)))
        yield y

        t = self.level1_conv2(concatenate(x1, self.level1_up1(y)))
        t = self.level1_conv3(concatenate(t, x1))
        t = self.level1_conv4(t)
        for block in (self.level1_conv5, self.level1_conv6, self.level1_conv7):
            t = block(t) + t
        t = self.level1_conv8(t)
        t = concatenate(t, x1)
        t = self.level1_conv9(t)
        t = concatenate(t, self.level1_up2(y), x1)
        del x1, y
        yield self.level1_conv10(t)


_DIFFERENCES = (
    "the level is an option of the network; the official forward takes it as an argument",
    "one pass: the official test program averages 8 flipped or transposed passes over 448x448 patches",
)
_GLOBAL = ("instance norm: statistics of the whole image", "channel attention: global average pooling")


@register_model(
    task="raw2rgb",
    input_of=at_level(
        InputSpec(
            layout="bayer_packed",
            divisor=1023.0,  # not PyNET's 1020
            input_range=(-1.0, 1.0),
            output_range=(-1.0, 1.0),
            multiple=16,
            min_size=32,
        )
    ),
    params=51_303_515,
    paper="Kim et al. 2020, arXiv 2104.03895, ECCVW 2020",
    licence="Apache-2.0 (written from a specification)",
    official_weights=(
        "model_final.pth, model_early_fidelity.pth, model_early_perceptual.pth of the PyNET-CA "
        "repository, which is GPL-3.0; no other licence is stated for the files"
    ),
    differences=_DIFFERENCES,
    global_ops=_GLOBAL,
)
def pynet_ca(level: int = 0) -> nn.Module:
    """PyNET-CA, 51.3 M parameters; level 0 (full resolution) to 5 (a sixteenth of the planes)."""
    return PyNetCA(level)
