"""A floor that learns colour and tone, and nothing else: bilinear demosaicing and a colour transform per image.

The image is demosaiced and balanced to grey as in ``bilinear``. From 16 statistics of it an MLP with one hidden layer
predicts a gamma for each colour and an affine transform of the three colours, which are the same for every pixel. So a
network shows by its distance to this floor what it does for detail and noise. A new one gives the image of
``bilinear``: gamma 1/2.2, no transform. Nothing is clipped at white. From no paper, by this project (Apache-2.0).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.card import register_model
from zoo.convention import PYNET_PLANES, InputSpec
from zoo.raw import unpack

# A gamma has no finite derivative at 0. After the gamma of 1/2.2 this value is 0.002, which is 0 in 8 bits.
_DARKEST = 1e-6
_STATISTICS = 16


class BilinearColour(nn.Module):
    """Packed RAW (N, 4, H, W), black at 0 and white at 1, to RGB (N, 3, 2H, 2W), about [0, 1]; any H and W."""

    block: Tensor
    kernel: Tensor

    def __init__(self, hidden: int) -> None:
        super().__init__()
        # Red, green, blue sites of an RGGB block, as one mask per colour.
        block = torch.tensor([[[1, 0], [0, 0]], [[0, 1], [1, 0]], [[0, 0], [0, 1]]]).float()
        self.register_buffer("block", block.unsqueeze(0), persistent=False)
        kernel = torch.tensor([[1, 2, 1], [2, 4, 2], [1, 2, 1]]).float() / 4
        self.register_buffer("kernel", kernel.expand(3, 1, 3, 3), persistent=False)
        # 3 gammas, then 3 rows of (red, green, blue, offset).
        last = nn.Linear(hidden, 15)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.head = nn.Sequential(nn.Linear(_STATISTICS, hidden), nn.GELU(), last)

    def demosaic(self, x: Tensor) -> Tensor:
        """Return linear RGB (N, 3, 2H, 2W): each colour is the mean of its known neighbours, also at the borders."""
        mask = self.block.repeat(1, 1, x.shape[-2], x.shape[-1])
        total = F.conv2d(unpack(x, PYNET_PLANES) * mask, self.kernel, padding=1, groups=3)
        return total / F.conv2d(mask, self.kernel, padding=1, groups=3)

    def forward(self, x: Tensor) -> Tensor:
        """Demosaic, balance, predict the transform from the whole image, and apply it."""
        rgb = self.demosaic(x).clamp(min=0)
        means = rgb.mean(dim=(-2, -1), keepdim=True).clamp(min=1e-6)
        gains = means[:, 1:2] / means
        rgb = (rgb * gains).clamp(min=_DARKEST)
        gamma, matrix = self.head(statistics(rgb ** (1 / 2.2), gains)).split((3, 12), dim=1)
        rgb = rgb ** (gamma.exp() / 2.2)[..., None, None]
        matrix = matrix.unflatten(1, (3, 4))
        colour = torch.einsum("nij,njhw->nihw", matrix[..., :3], rgb)
        return rgb + colour + matrix[..., 3, None, None]


def statistics(rgb: Tensor, gains: Tensor) -> Tensor:
    """Return 16 statistics (N, 16) of a balanced image (N, 3, H, W) and of its grey-world gains (N, 3, 1, 1).

    For each colour: its mean, its standard deviation, the mean of its square root and that of its cube. Then the
    covariances of the three pairs of colours, and the logarithm of red's gain over blue's.
    """
    mean = rgb.mean(dim=(-2, -1))
    centred = rgb - mean[..., None, None]
    spread = (centred.square().mean(dim=(-2, -1)) + 1e-8).sqrt()
    powers = [rgb.sqrt().mean(dim=(-2, -1)), rgb.pow(3).mean(dim=(-2, -1))]
    pairs = (centred * centred.roll(1, dims=1)).mean(dim=(-2, -1))
    balance = (gains[:, 0] / gains[:, 2]).log().flatten(1)
    return torch.cat([mean, spread, *powers, pairs, balance], dim=1)


@register_model(
    task="raw2rgb",
    input=InputSpec(layout="bayer_packed", divisor=None, black_level=None, min_size=2),
    params=783,
    paper="none: a floor of this project",
    licence="Apache-2.0",
    global_ops=(
        "grey-world white balance: mean of each colour over the image",
        "colour transform: predicted from statistics of the whole image",
    ),
)
def bilinear_colour(hidden: int = 24) -> nn.Module:
    """Bilinear demosaicing and a learned colour transform per image: the floor that a network must beat."""
    return BilinearColour(hidden)
