"""PyNET on packed RAW in its PyTorch version, the PyNet row of the paper's Table 1.

Paper: A. Ignatov, L. Van Gool, R. Timofte, "Replacing Mobile Camera ISP with a Single Deep Learning Model",
CVPRW 2020, arXiv 2002.05509. Written from a layer-by-layer specification for this project (Apache-2.0).
Module names are those of the official checkpoints (aiff22/PyNET-PyTorch). That repository is CC BY-NC-SA, and
no other licence is known for its weights; nothing is copied from it.

An inverted pyramid: five resolutions, from coarse (level 5) to fine (level 1), each fed by the one below;
level 0 doubles the resolution of level 1. All levels share one set of weights. The differences from the
paper's TensorFlow network are the official PyTorch version's, listed in ``_DIFFERENCES``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.card import register_model
from zoo.convention import InputSpec
from zoo.pyramid import LevelOutputs, at_level, check_level, check_size, concatenate, doubling, leaky_relu, reflect_conv


def _layer(in_channels: int, out_channels: int, kernel: int, *, norm: bool) -> nn.Sequential:
    # Layers have names instead of numbers, because `conv2d` and `instance` are the checkpoints' keys.
    parts: OrderedDict[str, nn.Module] = OrderedDict(conv2d=reflect_conv(in_channels, out_channels, kernel))
    if norm:
        parts["instance"] = nn.InstanceNorm2d(out_channels, affine=True)
    parts["activation"] = leaky_relu()
    return nn.Sequential(parts)


def _up(in_channels: int, out_channels: int) -> nn.Sequential:
    conv = reflect_conv(in_channels, out_channels)
    return nn.Sequential(OrderedDict(upsample=doubling(), conv2d=conv, activation=leaky_relu()))


def _head(in_channels: int) -> nn.Sequential:
    return nn.Sequential(OrderedDict(conv2d=reflect_conv(in_channels, 3)))


class MultiConv(nn.Module):
    """Parallel pairs of convolutions of size 3, 5, ... ``kernel``, ``width`` channels each, concatenated.

    Maps (N, in_channels, H, W) to (N, width * branches, H, W).
    """

    def __init__(self, kernel: int, in_channels: int, width: int, *, norm: bool = True) -> None:
        super().__init__()
        self.kernels = range(3, kernel + 1, 2)
        for k in self.kernels:
            self.add_module(f"conv_{k}a", _layer(in_channels, width, k, norm=norm))
            self.add_module(f"conv_{k}b", _layer(width, width, k, norm=norm))

    def forward(self, x: Tensor) -> Tensor:
        """Run the branches on the same input, small kernels first."""
        return concatenate(*[getattr(self, f"conv_{k}b")(getattr(self, f"conv_{k}a")(x)) for k in self.kernels])


class PyNet(nn.Module):
    """Packed RAW (N, 4, H, W) to RGB (N, 3, 2H / 2^level, 2W / 2^level) in (0, 1).

    H and W are multiples of 16, at least 32. Raises UserError for a level outside 0..5.
    """

    def __init__(self, level: int = 0) -> None:
        super().__init__()
        check_level("pynet", level)
        self.level = level

        self.conv_l1_d1 = MultiConv(3, 4, 32, norm=False)
        self.conv_l2_d1 = MultiConv(3, 32, 64)
        self.conv_l3_d1 = MultiConv(3, 64, 128)
        self.conv_l4_d1 = MultiConv(3, 128, 256)

        self.conv_l5_d1 = MultiConv(3, 256, 512)
        self.conv_l5_d2, self.conv_l5_d3, self.conv_l5_d4 = (MultiConv(3, 512, 512) for _ in range(3))
        self.conv_t4a, self.conv_t4b = _up(512, 256), _up(512, 256)
        self.conv_l5_out = _head(512)

        self.conv_l4_d3 = MultiConv(3, 512, 256)
        self.conv_l4_d4, self.conv_l4_d5, self.conv_l4_d6 = (MultiConv(3, 256, 256) for _ in range(3))
        self.conv_l4_d8 = MultiConv(3, 512, 256)
        self.conv_t3a, self.conv_t3b = _up(256, 128), _up(256, 128)
        self.conv_l4_out = _head(256)

        self.conv_l3_d3, self.conv_l3_d4 = MultiConv(5, 256, 128), MultiConv(5, 256, 128)
        self.conv_l3_d5, self.conv_l3_d6 = MultiConv(5, 256, 128), MultiConv(5, 256, 128)
        self.conv_l3_d8 = MultiConv(3, 512, 128)
        self.conv_t2a, self.conv_t2b = _up(128, 64), _up(128, 64)
        self.conv_l3_out = _head(128)

        self.conv_l2_d3 = MultiConv(5, 128, 64)
        self.conv_l2_d5, self.conv_l2_d6 = MultiConv(7, 192, 64), MultiConv(7, 192, 64)
        self.conv_l2_d7, self.conv_l2_d8 = MultiConv(7, 192, 64), MultiConv(7, 192, 64)
        self.conv_l2_d10, self.conv_l2_d12 = MultiConv(5, 256, 64), MultiConv(3, 192, 64)
        self.conv_t1a, self.conv_t1b = _up(64, 32), _up(64, 32)
        self.conv_l2_out = _head(64)

        self.conv_l1_d3, self.conv_l1_d5 = MultiConv(5, 64, 32, norm=False), MultiConv(7, 96, 32)
        self.conv_l1_d6 = MultiConv(9, 96, 32)
        self.conv_l1_d7, self.conv_l1_d8, self.conv_l1_d9 = (MultiConv(9, 128, 32) for _ in range(3))
        self.conv_l1_d10, self.conv_l1_d12 = MultiConv(7, 128, 32), MultiConv(5, 128, 32)
        self.conv_l1_d14 = MultiConv(3, 128, 32, norm=False)
        self.conv_l1_out = _head(32)

        self.conv_t0, self.conv_l0_d1 = _up(32, 16), _head(16)

    def forward(self, x: Tensor) -> Tensor:
        """Return the image of the network's level; finer levels are not computed."""
        check_size("PyNET", x)
        return next(islice(self._images(x), 5 - self.level, None))

    def all_outputs(self, x: Tensor) -> LevelOutputs:
        """Return the images of all six levels, whatever the network's own level."""
        check_size("PyNET", x)
        return LevelOutputs(*self._images(x))

    def _encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        e1 = self.conv_l1_d1(x)
        e2 = self.conv_l2_d1(F.max_pool2d(e1, 2))
        e3 = self.conv_l3_d1(F.max_pool2d(e2, 2))
        return e1, e2, e3, self.conv_l4_d1(F.max_pool2d(e3, 2))

    def _images(self, x: Tensor) -> Iterator[Tensor]:
        # Yields the images of levels 5, 4, ... 0, and computes a level only on request. Its head and upsamplings
        # run whether they are used or not: the official network runs them and its published costs count them.
        # Tensors are deleted after their last use: at 12 MP one of level 1 takes 0.4 to 1.6 GB.
        e1, e2, e3, e4 = self._encode(x)

        t = self.conv_l5_d1(F.max_pool2d(e4, 2))
        t = self.conv_l5_d4(self.conv_l5_d3(self.conv_l5_d2(t)))
        up_a, up_b = self.conv_t4a(t), self.conv_t4b(t)
        yield torch.sigmoid(self.conv_l5_out(t))

        t = self.conv_l4_d3(concatenate(e4, up_a))
        for block in (self.conv_l4_d4, self.conv_l4_d5):
            t = block(t) + t
        t = self.conv_l4_d8(concatenate(self.conv_l4_d6(t), up_b))
        up_a, up_b = self.conv_t3a(t), self.conv_t3b(t)
        yield torch.sigmoid(self.conv_l4_out(t))

        t = concatenate(e3, up_a)
        for block in (self.conv_l3_d3, self.conv_l3_d4, self.conv_l3_d5):
            t = block(t) + t
        t = self.conv_l3_d8(concatenate(self.conv_l3_d6(t), e3, up_b))
        del e3, e4
        up_a, up_b = self.conv_t2a(t), self.conv_t2b(t)
        yield torch.sigmoid(self.conv_l3_out(t))

        t = concatenate(self.conv_l2_d3(concatenate(e2, up_a)), e2)
        for block in (self.conv_l2_d5, self.conv_l2_d6, self.conv_l2_d7):
            t = block(t) + t
        t = self.conv_l2_d10(concatenate(self.conv_l2_d8(t), e2))
        del e2
        t = self.conv_l2_d12(concatenate(t, up_b))
        up_a, up_b = self.conv_t1a(t), self.conv_t1b(t)
        yield torch.sigmoid(self.conv_l2_out(t))

        t = concatenate(self.conv_l1_d3(concatenate(e1, up_a)), e1)
        del up_a
        t = self.conv_l1_d5(t)
        t = self.conv_l1_d6(t)
        for block in (self.conv_l1_d7, self.conv_l1_d8, self.conv_l1_d9):
            t = block(t) + t
        t = concatenate(self.conv_l1_d10(t), e1)
        t = self.conv_l1_d12(t)
        t = concatenate(t, up_b, e1)
        del e1, up_b
        t = self.conv_l1_d14(t)
        up = self.conv_t0(t)
        yield torch.sigmoid(self.conv_l1_out(t))
        yield torch.sigmoid(self.conv_l0_d1(up))


_DIFFERENCES = (
    "the official PyTorch network, not the paper's TensorFlow one: instance norm in level 1 too (as its scripts"
    " set it), bilinear upsampling and convolution in place of transposed convolutions, sigmoid outputs,"
    " other weights of the training losses",
)


@register_model(
    task="raw2rgb",
    input_of=at_level(InputSpec(layout="bayer_packed", multiple=16, min_size=32)),
    params=47_554_738,
    paper="Ignatov et al. 2020, arXiv 2002.05509, CVPRW 2020",
    licence="Apache-2.0 (written from a specification)",
    official_weights=(
        "pynet_level_0.pth of aiff22/PyNET-PyTorch; the repository is CC BY-NC-SA, no other licence is "
        "stated for the file"
    ),
    differences=_DIFFERENCES,
    global_ops=("instance norm: statistics of the whole image",),
)
def pynet(level: int = 0) -> nn.Module:
    """PyNET, PyTorch version, 47.6 M parameters; level 0 (full resolution) to 5 (a sixteenth of the planes)."""
    return PyNet(level)
