"""FFDNet, a denoiser of Gaussian noise whose level is an input, for gray and for colour images.

Paper: K. Zhang, W. Zuo, L. Zhang, "FFDNet: Toward a Fast and Flexible Solution for CNN based Image Denoising", IEEE TIP
2018, arXiv 1710.04026. Written from a layer-by-layer specification for this project (Apache-2.0); nothing is copied
from cszn/FFDNet (no licence file) or cszn/KAIR (MIT). Key names are those of KAIR.

Every 2x2 cell of the image becomes one pixel of four channels, at half the size. The published weights are MatConvNet
files, whose channels go down the columns of a cell where PyTorch's go along its rows; ``from_matconvnet`` exchanges
them. A file read in the wrong order gives images that look plausible and are about 2 dB worse.

The networks were trained on levels from 0 to 75, on the scale of 8-bit values. Two of the published files, whose names
have "Clip", were trained for noisy images clipped to [0, 1] and rounded to 8 bits: the option ``clip``.

Free in training: convolutions begin as He et al. draw them; the paper's code makes them orthogonal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from zoo.card import register_model
from zoo.convention import InputSpec
from zoo.matconvnet import PREFIX


class FFDNet(nn.Module):
    """Noisy image and map of its noise (N, C + 1, H, W) to the denoised image (N, C, H, W), not clipped; any H and W.

    ``channels``, the C, is 1 (gray) or 3. The map holds the standard deviation of the noise on the scale of the image
    (25 / 255 where 8-bit values would have 25); of each 2x2 cell the first pixel counts.
    """

    def __init__(self, channels: int, depth: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(4 * channels + 1, width, 3, padding=1), nn.ReLU()]
        for _ in range(depth - 2):
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
        self.model = nn.Sequential(*layers, nn.Conv2d(width, 4 * channels, 3, padding=1))
        for module in self.model:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Return the denoised image (N, C, H, W) of an image and its noise (N, C + 1, H, W)."""
        height, width = x.shape[-2:]
        cells = F.pixel_unshuffle(F.pad(x, (0, width % 2, 0, height % 2), mode="replicate"), 2)
        # All four pixels of the image's channels, and the first one of the map.
        output = F.pixel_shuffle(self.model(cells[:, : cells.shape[1] - 3]), 2)
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


def _input(spec: InputSpec) -> Callable[[Mapping[str, Any]], InputSpec]:
    return lambda options: replace(spec, quantised=options["clip"])


_PAPER = "Zhang et al. 2018, IEEE TIP 27, arXiv 1710.04026"
_LICENCE = "Apache-2.0 (written from a specification)"


@register_model(
    task="denoise_gray",
    input_of=_input(InputSpec(layout="gray", noise_level=True, output_scale=1.0)),
    params=485_316,
    paper=_PAPER,
    licence=_LICENCE,
    official_weights=("FFDNet_gray.mat and FFDNet_Clip_gray.mat (for 8-bit input, clipped) of cszn/FFDNet; no licence"),
    convert_checkpoint=from_matconvnet,
)
def ffdnet_gray(clip: bool = False, width: int = 64) -> nn.Module:
    """FFDNet for gray images, 0.49 M parameters; it is told the noise. ``clip``: the weights are for 8-bit input."""
    return FFDNet(1, 15, width)


@register_model(
    task="denoise_rgb",
    input_of=_input(InputSpec(layout="rgb", noise_level=True, output_scale=1.0)),
    params=852_108,
    paper=_PAPER,
    licence=_LICENCE,
    official_weights=(
        "FFDNet_color.mat and FFDNet_Clip_color.mat (for 8-bit input, clipped) of cszn/FFDNet; no licence"
    ),
    convert_checkpoint=from_matconvnet,
)
def ffdnet_color(clip: bool = False, width: int = 96) -> nn.Module:
    """FFDNet for colour images, 0.85 M parameters; it is told the noise. ``clip``: the weights are for 8-bit input."""
    return FFDNet(3, 12, width)
