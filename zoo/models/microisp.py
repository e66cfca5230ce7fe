"""MicroISP: six small branches of 4 channels, two stages for each colour of the output, with attention.

Paper: A. Ignatov et al., "MicroISP: Processing 32MP Photos on Mobile Devices with Deep Learning", ECCVW 2022,
arXiv 2211.06770. Written from a layer-by-layer specification for this project (Apache-2.0). The official
TensorFlow code and weights (aiff22/MicroISP) are CC BY-NC-SA 4.0, for academic research only; nothing is copied
from them. The original has no names of layers that we could keep, so the keys are our own; ``tensorflow_names``
is the table between them and the names of the variables in the checkpoint.

The branches of red, green and blue never mix, and only the first stage sees the RAW image. The result is
0.58 tanh(x) + 0.5, from -0.08 to 1.08, which is not clipped here. The published weights were trained on files that
hold 10-bit counts times 4 and are divided by 1020 without a black level, so their input reaches 4.01.

Differences: the initial weights are PyTorch's (the official ones are normal with standard deviation 1e-3, biases
and slopes 0; no training code is published); images below 79x79 are refused, where the official graph returns NaN.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.card import register_model
from zoo.convention import Counts, InputSpec, of_counts

_WIDTH = 4
_COLOURS = 3
# The strides of four convolutions multiply to 81; below 79 nothing is left to average.
_LEAST = 79


class Attention(nn.Module):
    """Gates (N, 4, 1, 1) in (0, 1) from the whole image (N, 4, H, W); H and W at least 79.

    Nothing is padded: the strided layers drop rows and columns that do not fill a window.
    """

    def __init__(self) -> None:
        super().__init__()
        kernels = ((1, 3), (3, 3), (3, 3), (3, 3), (1, 1), (1, 1))
        self.conv = nn.ModuleList(nn.Conv2d(_WIDTH, _WIDTH, size, stride=stride) for size, stride in kernels)
        self.act = nn.ModuleList(nn.PReLU(_WIDTH) for _ in range(5))

    def forward(self, x: Tensor) -> Tensor:
        """Return the gates of each image."""
        for layer in range(4):
            x = self.act[layer](self.conv[layer](x))
        gate = F.adaptive_avg_pool2d(x, 1)
        return torch.sigmoid(self.conv[5](self.act[4](self.conv[4](gate))))


class Branch(nn.Module):
    """Seven convolutions with PReLU, two gated residual groups of them, and an output convolution: 4 -> 4 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.ModuleList(nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1) for _ in range(7))
        self.act = nn.ModuleList(nn.PReLU(_WIDTH) for _ in range(7))
        self.out = nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1)
        self.att = nn.ModuleList(Attention() for _ in range(2))

    def _layer(self, index: int, x: Tensor) -> Tensor:
        return self.act[index](self.conv[index](x))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 4, H, W) to the same shape, without a final activation."""
        for group, attention in enumerate(self.att):
            skip = self._layer(3 * group, x)
            x = self._layer(3 * group + 2, self._layer(3 * group + 1, skip))
            x = x * attention(x) + skip
        return self.out(self._layer(6, x))


class MicroISP(nn.Module):
    """Packed RAW (N, 4, H, W) to RGB (N, 3, 2H, 2W) in (-0.08, 1.08); H and W at least 79."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(nn.ModuleList(Branch() for _ in range(_COLOURS)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Map packed RAW (N, 4, H, W) to RGB (N, 3, 2H, 2W); raises ValueError below 79x79."""
        height, width = x.shape[-2:]
        if min(height, width) < _LEAST:
            raise ValueError(f"MicroISP takes planes of at least {_LEAST}x{_LEAST}; got {height}x{width}")
        colours = [second(torch.tanh(first(x))) for first, second in zip(*self.stages)]
        return 0.58 * torch.tanh(F.pixel_shuffle(torch.cat(colours, dim=1), 2)) + 0.5


def tensorflow_names() -> dict[str, str]:
    """Return our key for each of the 342 variables of the official TensorFlow checkpoint.

    The attentions' variables are numbered within a stage; the slopes' numbers run through both stages.
    """
    names = {}
    for stage in range(2):
        scope = f"generator-{stage + 1}"
        for colour in range(_COLOURS):
            ours = f"stages.{stage}.{colour}"
            slope = 51 * stage + 17 * colour
            for number in (*range(7), "out"):
                layer = "out" if number == "out" else f"conv.{number}"
                names[f"{scope}/{colour}_w{stage + 1}_{number}"] = f"{ours}.{layer}.weight"
                names[f"{scope}/{colour}_b{stage + 1}_{number}"] = f"{ours}.{layer}.bias"
            for index, place in enumerate((0, 1, 2, 8, 9, 10, 16)):
                names[f"{scope}/{_numbered('p_re_lu', slope + place)}/alpha"] = f"{ours}.act.{index}.weight"
            for group in range(2):
                attention = f"{ours}.att.{group}"
                for index in range(6):
                    variable = 24 * colour + 12 * group + 2 * index
                    names[f"{scope}/{_numbered('Variable', variable)}"] = f"{attention}.conv.{index}.weight"
                    names[f"{scope}/{_numbered('Variable', variable + 1)}"] = f"{attention}.conv.{index}.bias"
                for index in range(5):
                    name = _numbered("p_re_lu", slope + 3 + 8 * group + index)
                    names[f"{scope}/{name}/alpha"] = f"{attention}.act.{index}.weight"
    return names


def _numbered(name: str, number: int) -> str:
    """Return a default name of TensorFlow, whose first one has no number."""
    return f"{name}_{number}" if number else name


def from_tensorflow(state: dict[str, Any]) -> dict[str, Any]:
    """Return a TensorFlow checkpoint's tensors under our keys and in PyTorch's layout.

    Kernels are transposed from (height, width, in, out) to (out, in, height, width); slopes (1, 1, 4) become (4,).
    Keys that are not in the table are kept with their values, so a dictionary with our own keys is not changed.
    """
    names = tensorflow_names()
    converted = {}
    for key, value in state.items():
        if key in names:
            value = torch.as_tensor(value)
            value = value.permute(3, 2, 0, 1).contiguous() if value.ndim == 4 else value.flatten()
        converted[names.get(key, key)] = value
    return converted


@register_model(
    task="raw2rgb",
    input_of=of_counts(InputSpec(layout="bayer_packed", min_size=_LEAST)),
    params=13_560,
    paper="Ignatov et al. 2022, ECCVW, arXiv 2211.06770",
    licence="Apache-2.0 (written from a specification)",
    official_weights=(
        "TensorFlow checkpoint MicroISP.ckpt of aiff22/MicroISP, CC BY-NC-SA 4.0, academic research only; import takes"
        " an .npz of its variables"
    ),
    differences=(
        "planes below 79x79 are refused; the official graph returns NaN there",
        "initial weights are PyTorch's default; the official ones are normal with standard deviation 1e-3",
    ),
    global_ops=("attention: gates depend on the average of the whole image",),
    convert_checkpoint=from_tensorflow,
)
def microisp(counts: Counts = "ultraisp") -> nn.Module:
    """MicroISP on packed RAW, 13.6 k parameters: two stages of 4 channels for each colour."""
    return MicroISP()
