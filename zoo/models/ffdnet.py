"""FFDNet, a denoiser of Gaussian noise whose level is an input, for gray and for colour images.

Paper: K. Zhang, W. Zuo, L. Zhang, "FFDNet: Toward a Fast and Flexible Solution for CNN based Image Denoising", IEEE TIP
2018, arXiv 1710.04026. Written from a layer-by-layer specification for this project (Apache-2.0); nothing is copied
from cszn/FFDNet (no licence file) or cszn/KAIR (MIT). Key names are those of KAIR.

Every 2x2 cell of the image becomes one pixel of four channels, at half the size. The published weights are MatConvNet
files, whose channels go down the columns of a cell where PyTorch's go along its rows; ``from_matconvnet`` exchanges
them. A file read in the wrong order gives images that look plausible and are about 2 dB worse.

Differences: a gray network gets each channel of a colour image as a gray image of its own. Free in training:
convolutions begin as He et al. draw them; the paper's code makes them orthogonal.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.card import InputSpec, register_model
from zoo.errors import UserError
from zoo.matconvnet import PREFIX

# The networks were trained on levels from 0 to this one, on the scale of 8-bit values.
_MOST = 75.0


class FFDNet(nn.Module):
    """Noisy image (N, C, H, W) in about [0, 1] to the denoised image (N, C, H, W), not clipped; any H and W.

    ``channels`` is 1 (gray) or 3; a gray network takes any C and denoises each channel on its own. ``sigma`` is the
    standard deviation of the noise that ``forward`` takes where none is given, on the scale of 8-bit values.
    """

    def __init__(self, channels: int, depth: int, width: int, sigma: float) -> None:
        super().__init__()
        self.channels = channels
        self.sigma = sigma / 255
        layers: list[nn.Module] = [nn.Conv2d(4 * channels + 1, width, 3, padding=1), nn.ReLU()]
        for _ in range(depth - 2):
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
        self.model = nn.Sequential(*layers, nn.Conv2d(width, 4 * channels, 3, padding=1))
        for module in self.model:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, sigma: Tensor | None = None) -> Tensor:
        """Return the denoised image.

        ``sigma`` is the standard deviation of the noise on the scale of ``x`` (25 / 255 where 8-bit values would have
        25): (N, 1, 1, 1), or a map at half the size, (N, 1, ceil(H / 2), ceil(W / 2)). Raises ValueError for another
        shape.
        """
        if self.channels == 1 and x.shape[1] > 1:
            return torch.cat([self._denoised(x[:, i : i + 1], sigma) for i in range(x.shape[1])], dim=1)
        return self._denoised(x, sigma)

    def _denoised(self, x: Tensor, sigma: Tensor | None) -> Tensor:
        height, width = x.shape[-2:]
        cells = F.pixel_unshuffle(F.pad(x, (0, width % 2, 0, height % 2), mode="replicate"), 2)
        level = torch.full_like(cells[:, :1], self.sigma)
        if sigma is not None:
            if sigma.ndim != 4 or any(a not in (1, b) for a, b in zip(sigma.shape, level.shape)):
                raise ValueError(f"FFDNet takes a sigma of shape {tuple(level.shape)}; got {tuple(sigma.shape)}")
            level = sigma.expand_as(level)
        output = F.pixel_shuffle(self.model(torch.cat([cells, level], dim=1)), 2)
        return output.narrow(-2, 0, height).narrow(-1, 0, width)


def from_matconvnet(state: dict[str, Any]) -> dict[str, Any]:
    """Return what ``read_matconvnet`` read under our keys and in PyTorch's order of sub-pixels; others unchanged.

    MATLAB numbers the pixels of a cell down its columns, PyTorch along its rows: of each colour's four channels, the
    second and third change places, at the input of the first kernel and at the output of the last.
    """
    if not all(key.startswith(f"{PREFIX}.") for key in state):
        return state
    last = max(int(key.split(".")[1]) for key in state)
    converted = {}
    for key, value in state.items():
        _, number, leaf = key.split(".")
        if number == "0" and leaf == "weight":
            # The last channel is the noise level.
            value = value[:, [*_order(value.shape[1] - 1), value.shape[1] - 1]]
        if number == str(last):
            value = value[_order(value.shape[0])]
        converted[f"model.{2 * int(number)}.{leaf}"] = value
    return converted


def _order(channels: int) -> list[int]:
    return [4 * (index // 4) + (0, 2, 1, 3)[index % 4] for index in range(channels)]


def _checked(name: str, sigma: float) -> float:
    if not 0 <= sigma <= _MOST:
        raise UserError(
            f"{name}: option sigma={sigma:g} does not fit; expected 0 to {_MOST:g}, as 8-bit values have it."
        )
    return sigma


_INPUT = InputSpec(layout="rgb", output_scale=1.0)
_PAPER = "Zhang et al. 2018, IEEE TIP 27, arXiv 1710.04026"
_LICENCE = "Apache-2.0 (written from a specification)"


@register_model(
    task="denoise_rgb",
    input=_INPUT,
    params=485_316,
    paper=_PAPER,
    licence=_LICENCE,
    official_weights=("FFDNet_gray.mat and FFDNet_Clip_gray.mat (for 8-bit input, clipped) of cszn/FFDNet; no licence"),
    differences=("gray network: the channels of a colour image are denoised one by one, each as a gray image",),
    convert_checkpoint=from_matconvnet,
)
def ffdnet_gray(sigma: float = 25.0, width: int = 64) -> nn.Module:
    """FFDNet for gray images, 0.49 M parameters; ``sigma``: the noise of 8-bit values that it expects, 0 to 75."""
    return FFDNet(1, 15, width, _checked("ffdnet_gray", sigma))


@register_model(
    task="denoise_rgb",
    input=_INPUT,
    params=852_108,
    paper=_PAPER,
    licence=_LICENCE,
    official_weights=(
        "FFDNet_color.mat and FFDNet_Clip_color.mat (for 8-bit input, clipped) of cszn/FFDNet; no licence"
    ),
    convert_checkpoint=from_matconvnet,
)
def ffdnet_color(sigma: float = 25.0, width: int = 96) -> nn.Module:
    """FFDNet for colour images, 0.85 M parameters; ``sigma``: the noise of 8-bit values that it expects, 0 to 75."""
    return FFDNet(3, 12, width, _checked("ffdnet_color", sigma))
