"""HyperUNet and its plain twins: a small UNet on packed RAW whose filters depend on the image.

Paper: L. K. Muller, "Overparametrization of HyperNetworks at Fixed FLOP-Count Enables Fast Neural Image
Enhancement", CVPRW 2021, arXiv 2105.08470. Written from the paper's text for this project (Apache-2.0).

The layout is a reconstruction: the paper's figure of it does not survive in its text. It was chosen because
it reproduces the printed parameters, FLOPs and convolution memory. ``hyperunet_C_E_H`` has C channels,
embedding networks that start at E channels, and H hidden units per MLP; ``plainunet_C`` is the "no HC" row.

Free choices:

- layers: seven 3x3 convolutions at full, half and quarter size of the planes, all of one width. Skips are added and not
  concatenated. These were chosen together by the printed parameters, FLOPs and memory of the six rows; of the hyper
  rows' parameters one of four comes out as printed, the others 0.4 to 5 % beside it.
- activations: hard sigmoid after the first two convolutions, GELU after the others, none at the end.
- upsampling: bilinear x2 without align_corners, then a plain convolution; at the end a pixel shuffle from 12 channels.
- input and output: PyNET's planes and scale; the output is not clipped. Sizes are padded to multiples of 4 by
  reflection.
- initialisation of plain convolutions: PyTorch's default.

Free choices of hyperunet_*:

- which filters are predicted: those of the four convolutions on the way down and of the last one. The two after
  upsampling are plain. Predicted convolutions have no bias.
- embedding: 3x3 convolution, GELU and 2x2 max-pool, repeated, with E, 2E, 4E, ... channels: four times from the planes,
  three times from their half by average pooling, twice from their quarter, so that filters depend on matching detail.
- pool: the embedding's maxima on a grid of 2x2.
- MLP: two hidden layers of H units with GELU, and no activation at its end. H is known from the name of each row, and
  for hyperunet_8_8_64, which is for machines and tests, it is ours.
- normalisation: W' = W / ||W||_1 * 2 sqrt(n / pi) per output channel, with n = 9 C_in and eps 1e-12, which gives
  filters He's variance 2/n (Eqs. 3-5). The constant is 13.54 for n = 144, 27.08 for n = 576. An L1 norm of 1, as the
  equation says literally, kills the signal: 20 such layers with ReLU leave about 1e-21 of it at 8 channels, 1e-29 at
  64. An L2 norm of sqrt(2) would keep it as well.
- initialisation of the MLP: its last layer has normal weights with deviation 1 / sqrt(H) and zero bias, so that
  filters have zero mean; with a common offset of half their deviation the signal grows about 1e12 times in 20 layers
  of 8 channels. Its other layers have PyTorch's default.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from zoo.card import register_model
from zoo.convention import InputSpec
from zoo.hyper import HyperConv2d, embedding_for

_PAPER = "arXiv 2105.08470, CVPRW 2021"
_INPUT = InputSpec(layout="bayer_packed", multiple=4, min_size=32)
_DIFFERENCES = ("the layer list is reconstructed from the printed parameters, FLOPs and memory, not from the figure",)
_GLOBAL = ("hyper-network: filters depend on global max-pools of the embeddings",)


def _check_size(x: Tensor) -> None:
    height, width = x.shape[-2:]
    if height % 4 or width % 4 or min(height, width) < 32:
        raise ValueError(f"HyperUNet takes planes with multiples of 4, at least 32; got {height}x{width}")


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


class Embedding(nn.Sequential):
    """3x3 convolutions, each with GELU and 2x2 max-pooling: (N, 4, H, W) to (N, width 2^(depth-1), ...)."""

    def __init__(self, width: int, depth: int) -> None:
        layers: list[nn.Module] = []
        channels = 4
        for level in range(depth):
            layers += [nn.Conv2d(channels, width << level, 3, padding=1), nn.GELU(), nn.MaxPool2d(2)]
            channels = width << level
        super().__init__(*layers)
        self.out_channels = channels


class HyperUNet(nn.Module):
    """UNet (N, 4, H, W) -> (N, 3, 2H, 2W) with five HyperConvs; the output is not clipped."""

    def __init__(self, width: int, embedding_width: int, hidden: int) -> None:
        super().__init__()
        # One embedding per resolution of the forward network, so that filters depend on matching detail.
        self.embed0 = Embedding(embedding_width, depth=4)
        self.embed1 = Embedding(embedding_width, depth=3)
        self.embed2 = Embedding(embedding_width, depth=2)

        def hyper(c_in: int, c_out: int, embed: Embedding) -> HyperConv2d:
            return HyperConv2d(c_in, c_out, embedding_channels=embed.out_channels, hidden=hidden)

        self.enc0a = hyper(4, width, self.embed0)
        self.enc0b = hyper(width, width, self.embed0)
        self.enc1 = hyper(width, width, self.embed1)
        self.enc2 = hyper(width, width, self.embed2)
        self.up1 = nn.Conv2d(width, width, 3, padding=1)
        self.up0 = nn.Conv2d(width, width, 3, padding=1)
        self.out = hyper(width, 12, self.embed0)

    def forward(self, x: Tensor) -> Tensor:
        """Map packed RAW (N, 4, H, W) to RGB (N, 3, 2H, 2W); H and W multiples of 4, at least 32."""
        _check_size(x)
        e0 = embedding_for(self.embed0, x, self.enc0a, self.enc0b, self.out)
        e1 = embedding_for(self.embed1, F.avg_pool2d(x, 2), self.enc1)
        e2 = embedding_for(self.embed2, F.avg_pool2d(x, 4), self.enc2)
        skip0 = F.hardsigmoid(self.enc0b(F.hardsigmoid(self.enc0a(x, e0)), e0))
        skip1 = F.gelu(self.enc1(F.max_pool2d(skip0, 2), e1))
        t = F.gelu(self.enc2(F.max_pool2d(skip1, 2), e2))
        t = F.gelu(self.up1(_double(t)) + skip1)
        t = F.gelu(self.up0(_double(t)) + skip0)
        return F.pixel_shuffle(self.out(t, e0), 2)


class PlainUNet(nn.Module):
    """The same layers as HyperUNet with ordinary convolutions: (N, 4, H, W) -> (N, 3, 2H, 2W)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enc0a = nn.Conv2d(4, width, 3, padding=1)
        self.enc0b = nn.Conv2d(width, width, 3, padding=1)
        self.enc1 = nn.Conv2d(width, width, 3, padding=1)
        self.enc2 = nn.Conv2d(width, width, 3, padding=1)
        self.up1 = nn.Conv2d(width, width, 3, padding=1)
        self.up0 = nn.Conv2d(width, width, 3, padding=1)
        self.out = nn.Conv2d(width, 12, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map packed RAW (N, 4, H, W) to RGB (N, 3, 2H, 2W); H and W multiples of 4, at least 32."""
        _check_size(x)
        skip0 = F.hardsigmoid(self.enc0b(F.hardsigmoid(self.enc0a(x))))
        skip1 = F.gelu(self.enc1(F.max_pool2d(skip0, 2)))
        t = F.gelu(self.enc2(F.max_pool2d(skip1, 2)))
        t = F.gelu(self.up1(_double(t)) + skip1)
        t = F.gelu(self.up0(_double(t)) + skip0)
        return F.pixel_shuffle(self.out(t), 2)


def _register(params: int, *, plain: bool = False) -> Callable[[Callable[..., nn.Module]], Callable[..., nn.Module]]:
    return register_model(
        task="raw2rgb",
        input=_INPUT,
        params=params,
        paper=_PAPER,
        licence="Apache-2.0 (written from a specification)",
        differences=_DIFFERENCES,
        reconstruction=True,
        global_ops=() if plain else _GLOBAL,
    )


@_register(params=274_918_688)
def hyperunet_64_32_2048(width: int = 64, embedding_width: int = 32, hidden: int = 2048) -> nn.Module:
    """HyperUNet with 64 channels, embeddings from 32 channels, 2048 hidden units."""
    return HyperUNet(width, embedding_width, hidden)


@_register(params=95_469_280)
def hyperunet_32_32_2048(width: int = 32, embedding_width: int = 32, hidden: int = 2048) -> nn.Module:
    """HyperUNet with 32 channels, embeddings from 32 channels, 2048 hidden units."""
    return HyperUNet(width, embedding_width, hidden)


@_register(params=91_161_744)
def hyperunet_32_16_2048(width: int = 32, embedding_width: int = 16, hidden: int = 2048) -> nn.Module:
    """HyperUNet with 32 channels, embeddings from 16 channels, 2048 hidden units."""
    return HyperUNet(width, embedding_width, hidden)


@_register(params=107_425_968)
def hyperunet_8_32_4000(width: int = 8, embedding_width: int = 32, hidden: int = 4000) -> nn.Module:
    """HyperUNet with 8 channels, embeddings from 32 channels, 4000 hidden units."""
    return HyperUNet(width, embedding_width, hidden)


@_register(params=303_096)
def hyperunet_8_8_64(width: int = 8, embedding_width: int = 8, hidden: int = 64) -> nn.Module:
    """HyperUNet with 8 channels, embeddings from 8 channels, 64 hidden units; for machines and tests."""
    return HyperUNet(width, embedding_width, hidden)


@_register(params=429_132, plain=True)
def plainunet_96(width: int = 96) -> nn.Module:
    """HyperUNet's layers with plain convolutions, 96 channels."""
    return PlainUNet(width)


@_register(params=193_932, plain=True)
def plainunet_64(width: int = 64) -> nn.Module:
    """HyperUNet's layers with plain convolutions, 64 channels."""
    return PlainUNet(width)


@_register(params=4_092, plain=True)
def plainunet_8(width: int = 8) -> nn.Module:
    """HyperUNet's layers with plain convolutions, 8 channels; for machines and tests."""
    return PlainUNet(width)
