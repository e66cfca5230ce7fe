"""DPED's generator on RGB and, adapted by us, on packed RAW: the starred DPED row of the paper's Table 1.

Paper: A. Ignatov, N. Kobyshev, R. Timofte, K. Vanhoey, L. Van Gool, "DSLR-Quality Photos on Mobile Devices
with Deep Convolutional Networks", ICCV 2017, arXiv 1704.02470. The official code (aiff22/DPED, TensorFlow 1)
has no licence file that we saw; nothing is copied from it. Written from a layer-by-layer specification for
this project (Apache-2.0).

``dped_rgb`` is the original. ``dped`` takes 4 input planes and ends in 12 channels and a pixel shuffle. Both
end in 0.58 tanh(x) + 0.5, from -0.08 to 1.08, which is not clipped here.

Free choices of dped:

- adaptation to RAW: 4 planes in, 12 channels from the last 9x9 convolution, a pixel shuffle before the tanh. With 3
  channels and no larger output the network would have 0.41 M parameters.
- width: 64 channels, the only one in the published code. The printed 4 M would need 190 to 216.
- counting: the printed 1.4 T come out at 1 per multiply-accumulate, where other rows of the table count 2.
- initialisation: PyTorch's default.

Official checkpoints are TensorFlow's, a file ``.index`` and one of data, which ``zoo.tensorbundle`` reads; an ``.npz``
of their variables under TensorFlow's names can be imported too.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.card import register_model
from zoo.convention import InputSpec


class DPED(nn.Module):
    """Image (N, in_channels, H, W) in [0, 1] to (N, 3, scale H, scale W) in (-0.08, 1.08); any H and W, not 1x1.

    Every convolution keeps the size with zero padding and has a bias. Layers 2 to 9 have an instance norm.
    """

    def __init__(self, in_channels: int, scale: int, width: int = 64) -> None:
        super().__init__()
        self.scale = scale
        self.conv1 = nn.Conv2d(in_channels, width, 9, padding=4)
        for layer in range(2, 12):
            self.add_module(f"conv{layer}", nn.Conv2d(width, width, 3, padding=1))
            if layer <= 9:
                # 1e-3 and not PyTorch's 1e-5: it is visible in flat images.
                self.add_module(f"norm{layer}", nn.InstanceNorm2d(width, eps=1e-3, affine=True))
        self.conv12 = nn.Conv2d(width, 3 * scale * scale, 9, padding=4)

    def _layer(self, layer: int, x: Tensor) -> Tensor:
        """Apply convolution ``layer``, its norm if it has one, and ReLU."""
        x = self.get_submodule(f"conv{layer}")(x)
        if 2 <= layer <= 9:
            x = self.get_submodule(f"norm{layer}")(x)
        return F.relu(x)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to RGB (N, 3, scale H, scale W)."""
        if x.shape[-2:].numel() < 2:
            height, width = x.shape[-2:]
            raise ValueError(f"DPED takes images of more than one pixel (instance norm); got {height}x{width}")
        x = self._layer(1, x)
        for layer in (2, 4, 6, 8):
            x = x + self._layer(layer + 1, self._layer(layer, x))
        x = self.conv12(self._layer(11, self._layer(10, x)))
        return 0.58 * torch.tanh(F.pixel_shuffle(x, self.scale)) + 0.5


def tensorflow_names() -> dict[str, str]:
    """Return our key for each of the 40 variables of an official TensorFlow checkpoint.

    The norms' vectors have only default names there: "Variable", "Variable_1", ..., a shift and a scale per norm.
    """
    names = {}
    for layer in range(1, 13):
        names[f"generator/W{layer}"] = f"conv{layer}.weight"
        names[f"generator/b{layer}"] = f"conv{layer}.bias"
    for layer in range(2, 10):
        shift = 2 * (layer - 2)
        names[f"generator/Variable_{shift}" if shift else "generator/Variable"] = f"norm{layer}.bias"
        names[f"generator/Variable_{shift + 1}"] = f"norm{layer}.weight"
    return names


def from_tensorflow(state: dict[str, Any]) -> dict[str, Any]:
    """Return a TensorFlow checkpoint's arrays or tensors as tensors under our keys.

    Kernels are transposed from (height, width, in, out) to (out, in, height, width). Keys that are not in the
    table are kept with their values, so a dictionary with our own keys is not changed.
    """
    names = tensorflow_names()
    converted = {}
    for key, value in state.items():
        if key in names:
            value = value if isinstance(value, Tensor) else torch.tensor(value)
            value = value.permute(3, 2, 0, 1).contiguous() if value.ndim == 4 else value
        converted[names.get(key, key)] = value
    return converted


_PAPER = "Ignatov et al. 2017, ICCV, arXiv 1704.02470"
_LICENCE = "Apache-2.0 (written from a specification)"
_GLOBAL = ("instance norm: statistics of the whole image, in layers 2 to 9",)


@register_model(
    task="raw2rgb",
    input=InputSpec(layout="bayer_packed", min_size=2),
    params=453_324,
    paper=f"{_PAPER}; row of arXiv 2105.08470, Table 1",
    licence=_LICENCE,
    differences=(
        "4 input planes, 12 output channels and a pixel shuffle before the tanh are our adaptation to RAW; nobody"
        " published one",
        "0.45 M parameters where Table 1 prints 4 M: the published code has 0.40 M",
    ),
    reconstruction=True,
    global_ops=_GLOBAL,
)
def dped(width: int = 64) -> nn.Module:
    """DPED generator on packed RAW, 0.45 M parameters."""
    return DPED(in_channels=4, scale=2, width=width)


@register_model(
    task="enhance_rgb",
    input=InputSpec(layout="rgb", output_scale=1.0, min_size=2),
    params=401_475,
    paper=_PAPER,
    licence=_LICENCE,
    official_weights=(
        "TensorFlow 1 files iphone_orig, blackberry_orig, sony_orig of aiff22/DPED; no licence file "
        "seen; import takes an .npz of their variables"
    ),
    global_ops=_GLOBAL,
    convert_checkpoint=from_tensorflow,
)
def dped_rgb() -> nn.Module:
    """DPED generator on RGB as published, 0.40 M parameters."""
    return DPED(in_channels=3, scale=1)
