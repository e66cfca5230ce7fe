"""SYENet for ISP, in the small form that it is deployed in and in its training form.

Paper: W. Gou et al., "SYENet: A Simple Yet Effective Network for Multiple Low-Level Vision Tasks with Real-time
Performance on Mobile Device", ICCV 2023, arXiv 2308.08137. Written from a layer-by-layer specification for this
project (Apache-2.0). The official code (sanechips-multimedia/syenet) is Apache-2.0 and publishes no weights. The
attributes have the names of its checkpoints' keys.

Two branches are multiplied instead of activated, in the head and in the body; one gate per channel comes from the
mean of the whole image. In the training form each convolution is a unit of parallel convolutions, half of them with
a batch norm, which a 1x1 convolution mixes, and the products have a factor of 0.1. In evaluation mode a unit is
linear, so ``deployed`` turns the trained network into the deploy form, which computes the same, also at the borders:
every branch pads the image with zeros, and biases come after that.

Differences: ``forward`` returns the image only; the outputs of the official warm-up epochs come from
``warm_up_outputs``. The image is not clipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from zoo.branches import trained_as_one
from zoo.card import register_model
from zoo.convention import READING_PLANES, Counts, InputSpec, of_counts
from zoo.merging import BRANCHES, MakeConv, drop_squares, folded, mixed, plain_conv, put_into, sized_conv

_WIDTH = 12
_FACTOR = 0.1  # of the products, in the training form only
_EPS = 1e-5


class Unit(nn.Module):
    """Parallel convolutions with and without batch norm, concatenated and mixed: (N, a, H, W) -> (N, b, H, W)."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel
        wide = 4 * out_channels
        for name, size in BRANCHES[kernel].items():
            self.add_module(name, sized_conv(in_channels, wide, size))
            norm = nn.BatchNorm2d(wide, eps=_EPS)
            self.add_module(f"{name}_bn", nn.Sequential(sized_conv(in_channels, wide, size), norm))
        self.conv_out = nn.Conv2d(2 * len(BRANCHES[kernel]) * wide, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Mix all branches of the same input."""
        names = BRANCHES[self.kernel]
        if self.training:
            plain = [(self.get_submodule(name), None) for name in names]
            normalised = [(self.get_submodule(f"{name}_bn.0"), self.get_submodule(f"{name}_bn.1")) for name in names]
            return trained_as_one(x, [*plain, *normalised], self.conv_out, self.kernel)
        branches = (*names, *(f"{name}_bn" for name in names))
        return self.conv_out(torch.cat([self.get_submodule(name)(x) for name in branches], dim=1))

    def merged(self, factor: float) -> nn.Conv2d:
        """Return one plain convolution that equals ``factor`` times this unit in evaluation mode."""
        names = BRANCHES[self.kernel]
        parts = [folded(self.get_submodule(name)) for name in names]
        parts += [folded(*(self.get_submodule(f"{name}_bn.{place}") for place in "01")) for name in names]
        return mixed(parts, self.conv_out, self.kernel, factor)


class Product(nn.Module):
    """The product of two branches of the same input, times ``factor``, plus a bias for each channel."""

    def __init__(self, block1: nn.Module, block2: nn.Module, factor: float) -> None:
        super().__init__()
        self.block1 = block1
        self.block2 = block2
        self.bias = nn.Parameter(torch.randn(1, _WIDTH, 1, 1))
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, a, H, W) to (N, 12, H, W)."""
        product = self.block1(x) * self.block2(x)
        return product + self.bias if self.factor == 1 else self.factor * product + self.bias


class SYENet(nn.Module):
    """Packed RAW (N, 4, H, W) to RGB (N, 3, 2H, 2W), of convolutions from ``conv``; any H and W."""

    def __init__(self, conv: MakeConv = plain_conv, factor: float = 1.0) -> None:
        super().__init__()
        first = nn.Sequential(conv(4, _WIDTH, 5), nn.PReLU(_WIDTH), conv(_WIDTH, _WIDTH, 3))
        self.head = Product(first, conv(4, _WIDTH, 5), factor)
        self.body = Product(conv(_WIDTH, _WIDTH, 3), conv(_WIDTH, _WIDTH, 1), factor)
        self.att = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), conv(_WIDTH, _WIDTH, 1), nn.PReLU(_WIDTH), conv(_WIDTH, _WIDTH, 1), nn.Sigmoid()
        )
        self.tail = nn.Sequential(nn.PixelShuffle(2), conv(3, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Map packed RAW (N, 4, H, W) to RGB (N, 3, 2H, 2W)."""
        y = self.body(self.head(x))
        return self.tail(y * self.att(y))


class SYENetTrain(SYENet):
    """The training form: units instead of convolutions, and a head that is used only in the warm-up.

    In training mode a batch needs at least two images, because the attention has batch norms of one value per image.
    """

    def __init__(self) -> None:
        super().__init__(Unit, _FACTOR)
        self.tail_warm = Unit(_WIDTH, 4, 3)

    def warm_up_outputs(self, x: Tensor, *, drop: bool = True) -> tuple[Tensor, Tensor]:
        """Return RGB (N, 3, 2H, 2W) without the attention and an image like the RAW input (N, 4, H, W), for a warm-up.

        With ``drop``, squares of 3x3 positions around random seeds are 0 in the input, also in evaluation mode.
        """
        y = self.body(self.head(drop_squares(x) if drop else x))
        return self.tail(y), self.tail_warm(y)


def deployed(network: nn.Module) -> SYENet:
    """Return a network in deploy form with the outputs that ``network`` has in evaluation mode; ``network`` is kept."""
    # The second factor of each product takes over the factor of the product.
    scaled = ("head.block2", "body.block2")
    units = {
        name: unit.merged(_FACTOR if name in scaled else 1.0)
        for name, unit in network.named_modules()
        if isinstance(unit, Unit)
    }
    return put_into(SYENet(), network, units)


def with_warm_up(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state of the training form with the head of the warm-up: a fresh one if the state has none."""
    if "tail.1.conv_out.weight" not in state or any(key.startswith("tail_warm.") for key in state):
        return dict(state)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fresh = Unit(_WIDTH, 4, 3).state_dict()
    return {**state, **{f"tail_warm.{key}": value for key, value in fresh.items()}}


@register_model(
    task="raw2rgb",
    # The top left pixel of the official mosaics is red.
    input_of=of_counts(InputSpec(layout="bayer_packed", planes=READING_PLANES, divisor=4095.0)),
    params=5_640,
    paper="Gou et al. 2023, ICCV, arXiv 2308.08137",
    licence="Apache-2.0 (written from a specification)",
    differences=(
        "the image is not clipped; the official program clips it and truncates to 8 bits where it saves",
        "forward returns the image only; the two images of the warm-up come from warm_up_outputs of the training form",
    ),
    global_ops=("attention: gates depend on the average of the whole image",),
    convert_checkpoint=with_warm_up,
    deploy=deployed,
)
def syenet(form: Literal["deploy", "training"] = "deploy", counts: Counts = "ultraisp") -> nn.Module:
    """SYENet for ISP, 5,640 parameters; its training form has 108,715."""
    return SYENet() if form == "deploy" else SYENetTrain()
