"""The floors that every network must beat: no parameters, no training.

``bilinear`` is the textbook pipeline for RAW: bilinear demosaicing, grey-world white balance, gamma 1/2.2.
``identity`` returns a noisy image as it came.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.card import register_model
from zoo.convention import PYNET_PLANES, InputSpec
from zoo.raw import unpack


class BilinearPipeline(nn.Module):
    """Packed RAW (N, 4, H, W), black at 0 and white at 1, to sRGB-like (N, 3, 2H, 2W) in [0, 1]."""

    block: Tensor
    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Red, green, blue sites of an RGGB block, as one mask per colour.
        block = torch.tensor([[[1, 0], [0, 0]], [[0, 1], [1, 0]], [[0, 0], [0, 1]]]).float()
        self.register_buffer("block", block.unsqueeze(0), persistent=False)
        kernel = torch.tensor([[1, 2, 1], [2, 4, 2], [1, 2, 1]]).float() / 4
        self.register_buffer("kernel", kernel.expand(3, 1, 3, 3), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Demosaic, balance and apply gamma."""
        mosaic = unpack(x, PYNET_PLANES)
        mask = self.block.repeat(1, 1, x.shape[-2], x.shape[-1])
        # Normalised convolution: the mean of the known neighbours of each colour, also at the borders.
        total = F.conv2d(mosaic * mask, self.kernel, padding=1, groups=3)
        rgb = total / F.conv2d(mask, self.kernel, padding=1, groups=3)
        means = rgb.clamp(min=0).mean(dim=(-2, -1), keepdim=True)
        gains = means[:, 1:2] / means.clamp(min=1e-6)
        return (rgb * gains).clamp(0, 1) ** (1 / 2.2)


@register_model(
    task="raw2rgb",
    input=InputSpec(layout="bayer_packed", divisor=None, black_level=None, min_size=2),
    params=0,
    licence="Apache-2.0",
    global_ops=("grey-world white balance: mean of each colour over the image",),
)
def bilinear() -> nn.Module:
    """Bilinear demosaicing, grey-world white balance, gamma: the classical floor."""
    return BilinearPipeline()


@register_model(task="denoise_rgb", params=0, licence="Apache-2.0")
def identity() -> nn.Module:
    """The input unchanged: the floor for denoising."""
    return nn.Identity()
