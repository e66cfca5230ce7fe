"""MobileIE for RAW: twelve channels, two squares and two gates, in its deploy form and its training form.

Paper: "MobileIE: An Extremely Lightweight and Effective ConvNet for Real-Time Image Enhancement on Mobile Devices",
ICCV 2025, arXiv 2507.01838. Official code: AVC2-UESTC/MobileIE, Apache-2.0; key names are those of its checkpoints,
nothing else is taken from it. Written from a layer-by-layer specification for this project (Apache-2.0).

Both forms compute the same function in evaluation mode. In the training form each convolution is a
``BranchedConv``: several kernels side by side, with and without batch norm, merged by a 1x1 convolution. ``deployed``
turns it into the deploy form, whose convolutions are plain. Published weights exist in deploy form only.

The input is counts / 4095 for every data set: ZRR's 10-bit counts end at 0.25, UltraISP's (10-bit counts times 4) at 1.
Weights for ZRR therefore need UltraISP's counts divided by 4 first. The network squares twice, so a wrong scale
saturates it.

Of the official code this file leaves out the form for RGB pictures (low light, underwater) and the second phase of
training, in which the 1x1 convolutions are frozen and a trainable tensor is added to them.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from zoo.branches import trained_as_one
from zoo.card import register_model
from zoo.convention import READING_PLANES, Counts, InputSpec, of_counts
from zoo.merging import BRANCHES, MakeConv, drop_squares, folded, mixed, plain_conv, put_into, sized_conv

_EPS = 1e-5


class BranchedConv(nn.Module):
    """Kernels of several shapes, with and without batch norm, merged by a 1x1 convolution.

    It maps (N, in_channels, H, W) to (N, out_channels, H, W). Each branch has ``4 * out_channels`` channels and zero
    padding. In evaluation mode the block equals ``merged()``.
    """

    def __init__(self, in_channels: int, out_channels: int, side: int) -> None:
        super().__init__()
        self.side = side
        width = 4 * out_channels
        for name, size in BRANCHES[side].items():
            self.add_module(name, sized_conv(in_channels, width, size))
            self.add_module(f"{name}_bn", nn.Sequential(nn.BatchNorm2d(width, eps=_EPS)))
        self.conv_out = nn.Conv2d(2 * len(BRANCHES[side]) * width, out_channels, 1)

    def _branches(self) -> list[tuple[nn.Module, nn.Module]]:
        return [(self.get_submodule(name), self.get_submodule(f"{name}_bn.0")) for name in BRANCHES[self.side]]

    def forward(self, x: Tensor) -> Tensor:
        """Merge the outputs of all convolutions and then all normalised ones."""
        branches = self._branches()
        if self.training:
            both = [*((convolution, None) for convolution, _ in branches), *branches]
            return trained_as_one(x, both, self.conv_out, self.side)
        plain = [convolution(x) for convolution, _ in branches]
        normalised = [norm(y) for (_, norm), y in zip(branches, plain)]
        return self.conv_out(torch.cat([*plain, *normalised], dim=1))

    def merged(self) -> nn.Conv2d:
        """Return one plain convolution that equals this block in evaluation mode, also at the image's borders."""
        branches = self._branches()
        plain = [folded(convolution) for convolution, _ in branches]
        normalised = [folded(convolution, norm) for convolution, norm in branches]
        return mixed([*plain, *normalised], self.conv_out, self.side)


class SelfTransform(nn.Module):
    """Square the output u of ``block1`` element by element: weight1 weight2 u^2 + bias, with two scalars."""

    def __init__(self, block: nn.Module, channels: int) -> None:
        super().__init__()
        self.weight1 = nn.Parameter(torch.ones(1))
        self.weight2 = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.block1 = block

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, a, H, W) to (N, channels, H, W)."""
        u = self.block1(x)
        # In this order float16 does not overflow: trained weights have large u and small scalars.
        return (self.weight1 * u) * (self.weight2 * u) + self.bias


class MobileIE(nn.Module):
    """Packed RAW (N, 4, H, W) to RGB (N, 3, 2H, 2W), slightly outside [0, 1] and not clipped; any H and W."""

    def __init__(self, conv: MakeConv = plain_conv, channels: int = 12) -> None:
        super().__init__()
        first = nn.Sequential(conv(4, channels, 5), nn.PReLU(channels), conv(channels, channels, 3))
        self.head = SelfTransform(first, channels)
        self.body = SelfTransform(conv(channels, channels, 3), channels)
        self.att = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv(channels, channels, 1), nn.Sigmoid())
        self.att1 = nn.Sequential(conv(1, channels, 1), nn.Sigmoid())
        self.tail = nn.Sequential(nn.PixelShuffle(2), conv(3, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Map packed RAW (N, 4, H, W) to RGB (N, 3, 2H, 2W)."""
        y = self.body(self.head(x))
        gated = self.att(y) * y
        return self.tail(self.att1(gated.amax(1, keepdim=True)) * gated)


class MobileIETraining(MobileIE):
    """The training form of MobileIE: ``BranchedConv`` instead of plain convolutions, and a second output.

    ``deployed`` removes both. Training mode needs batches of at least two images, because the channel gate's batch
    norm sees one value per image; smaller ones raise ValueError.
    """

    def __init__(self) -> None:
        super().__init__(BranchedConv)
        self.tail_warm = BranchedConv(12, 4, 3)

    def warm_up_outputs(self, x: Tensor, *, drop: bool = True) -> tuple[Tensor, Tensor]:
        """Return RGB (N, 3, 2H, 2W) without the gates and an image like the RAW input (N, 4, H, W), for a warm-up.

        With ``drop``, squares of 3x3 positions around random seeds are 0 in the input, also in evaluation mode.
        """
        y = self.body(self.head(drop_squares(x) if drop else x))
        return self.tail(y), self.tail_warm(y)


def deployed(network: nn.Module) -> MobileIE:
    """Return a network in deploy form with the outputs that ``network`` has in evaluation mode; ``network`` is kept."""
    blocks = {name: block.merged() for name, block in network.named_modules() if isinstance(block, BranchedConv)}
    return put_into(MobileIE(), network, blocks)


@register_model(
    task="raw2rgb",
    input_of=of_counts(InputSpec(layout="bayer_packed", planes=READING_PLANES, divisor=4095.0)),
    params=4_132,
    paper="MobileIE, ICCV 2025, arXiv 2507.01838",
    licence="Apache-2.0 (written from a specification)",
    official_weights=(
        "mai25_isp_challenge_best_slim.pkl (UltraISP) and zrr_best_slim.pkl of AVC2-UESTC/MobileIE; Apache-2.0; deploy"
        " form"
    ),
    differences=(
        "the self-transforms start as the plain square (scalars 1, bias 0): the specification does not give the"
        " official initial values",
        "training has one phase: the second one of the paper, incremental weight optimisation, is left out",
    ),
    global_ops=("channel gate: it depends on the mean of the whole image",),
    deploy=deployed,
)
def mobileie(form: Literal["deploy", "training"] = "deploy", counts: Counts = "ultraisp") -> nn.Module:
    """MobileIE on packed RAW, 4,132 parameters; its training form has 51,259."""
    return MobileIE() if form == "deploy" else MobileIETraining()
