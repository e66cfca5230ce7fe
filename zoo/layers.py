"""Blocks that several families use: the two networks of VDN, with any type of hidden convolution.

Attribute names are the official state_dict keys of VDN (see ``zoo.models.vdn`` for paper and licence).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

# Takes (in_channels, out_channels), returns a 3x3 convolution with padding 1 between two hidden layers.
HiddenConv = Callable[[int, int], nn.Module]

_DEPTH = 4
_MULTIPLE = 2 ** (_DEPTH - 1)
_SLOPE = 0.2


def conv3x3(in_channels: int, out_channels: int) -> nn.Module:
    """Return a plain 3x3 convolution, padding 1, with bias."""
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)


class ConvPair(nn.Module):
    """Twice (3x3 convolution, LeakyReLU): (N, a, H, W) -> (N, b, H, W)."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.block = nn.Sequential(first, nn.LeakyReLU(_SLOPE), second, nn.LeakyReLU(_SLOPE))

    def forward(self, x: Tensor) -> Tensor:
        """Apply both convolutions."""
        return self.block(x)


class UpPair(nn.Module):
    """Double the resolution by a transposed convolution, concatenate the result and the bridge, then ConvPair."""

    def __init__(self, in_channels: int, out_channels: int, hidden_conv: HiddenConv) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2)
        self.conv_block = ConvPair(hidden_conv(2 * out_channels, out_channels), hidden_conv(out_channels, out_channels))

    def forward(self, x: Tensor, bridge: Tensor) -> Tensor:
        """Map x at half the size of ``bridge`` to ``out_channels`` at its full size."""
        return self.conv_block(torch.cat([self.up(x), bridge], dim=1))


class DenoisingNet(nn.Module):
    """D-net, a UNet of depth 4: image (N, 3, H, W) to phi_Z (N, 6, H, W); H and W multiples of 8."""

    def __init__(self, width: int, hidden_conv: HiddenConv) -> None:
        super().__init__()
        widths = [width << level for level in range(_DEPTH)]
        pairs = [ConvPair(conv3x3(3, width), hidden_conv(width, width))]
        pairs += [ConvPair(hidden_conv(a, b), hidden_conv(b, b)) for a, b in pairwise(widths)]
        self.down_path = nn.ModuleList(pairs)
        self.up_path = nn.ModuleList(UpPair(2 * b, b, hidden_conv) for b in reversed(widths[:-1]))
        self.pool = nn.AvgPool2d(2)
        self.last = conv3x3(width, 6)

    def forward(self, x: Tensor) -> Tensor:
        """Return phi_Z (N, 6, H, W): the residual and the log of its variance."""
        height, width = x.shape[-2:]
        if height % _MULTIPLE or width % _MULTIPLE or min(height, width) < _MULTIPLE:
            raise ValueError(
                f"VDN's denoising net takes a height and width that are multiples of {_MULTIPLE}; got {height}x{width}"
            )
        bridges: list[Tensor] = []
        for level, pair in enumerate(self.down_path):
            if level:
                bridges.append(x)
                x = self.pool(x)
            x = pair(x)
        for up in self.up_path:
            x = up(x, bridges.pop())
        return self.last(x)


class NoiseNet(nn.Module):
    """S-net, five 3x3 convolutions: image (N, 3, H, W) to phi_sigma (N, 6, H, W), any H and W."""

    def __init__(self, width: int, hidden_conv: HiddenConv) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(3):
            layers += [hidden_conv(width, width), nn.LeakyReLU(_SLOPE)]
        self.conv1 = conv3x3(3, width)
        self.relu = nn.LeakyReLU(_SLOPE)
        self.mid_layer = nn.Sequential(*layers)
        self.conv_last = conv3x3(width, 6)

    def forward(self, x: Tensor) -> Tensor:
        """Return phi_sigma (N, 6, H, W): log alpha and log beta of the noise variance's inverse gamma."""
        return self.conv_last(self.mid_layer(self.relu(self.conv1(x))))


class NoiseModel(NamedTuple):
    """The two parameter maps of VDN's posterior, without clamping, for an image (N, 3, H, W).

    ``phi_z`` (N, 6, H, W): channels 0-2 the predicted noise, 3-5 the log variance of the clean image.
    ``phi_sigma`` (N, 6, H, W): channels 0-2 log alpha, 3-5 log beta of the inverse gamma distribution of the
    noise variance, whose mean is about beta / (alpha - 1).
    """

    phi_z: Tensor
    phi_sigma: Tensor


class VariationalDenoiser(nn.Module):
    """VDN: sRGB (N, 3, H, W) in [0, 1] to the denoised image (N, 3, H, W); H and W multiples of 8."""

    def __init__(self, width: int, noise_width: int, hidden_conv: HiddenConv = conv3x3) -> None:
        super().__init__()
        self.DNet = DenoisingNet(width, hidden_conv)
        self.SNet = NoiseNet(noise_width, hidden_conv)
        # As in VDN's training code; PyTorch's default would halve the signal at each of the 14 convolutions.
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the denoised image, ``x`` minus the predicted noise, not clipped; runs D-net only."""
        return x - self.DNet(x)[:, :3]

    def all_outputs(self, x: Tensor) -> NoiseModel:
        """Run both networks on the image and return their parameter maps (phi_z, phi_sigma)."""
        return NoiseModel(phi_z=self.DNet(x), phi_sigma=self.SNet(x))

    def noise_parameters(self, x: Tensor) -> Tensor:
        """Return only phi_sigma (N, 6, H, W); runs only S-net, which takes any H and W."""
        return self.SNet(x)
