"""SYENet for ISP, in its training form and in the small form that it is deployed in.

Paper: W. Gou et al., "SYENet: A Simple Yet Effective Network for Multiple Low-Level Vision Tasks with Real-time
Performance on Mobile Device", ICCV 2023, arXiv 2308.08137. Written from a layer-by-layer specification for this
project (Apache-2.0). The official code (sanechips-multimedia/syenet) is Apache-2.0 and publishes no weights. The
attributes have the names of its checkpoints' keys.

Two branches are multiplied instead of activated, in the head and in the body; one gate per channel comes from the
mean of the whole image. In the training form each convolution is a unit of parallel convolutions, half of them with
a batch norm, which a 1x1 convolution mixes, and the products have a factor of 0.1. In evaluation mode a unit is
linear, so ``deployed`` turns the trained tensors into those of the deploy form, which computes the same, also at
the borders: every branch pads the image with zeros, and biases come after that.

Differences: ``forward`` returns the image only; the outputs of the official warm-up epochs come from
``all_outputs``, without the random zeros in their input. The image is not clipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.card import register_model
from zoo.convention import READING_PLANES, Counts, InputSpec, of_counts

_WIDTH = 12
_FACTOR = 0.1  # of the products, in the training form only
_EPS = 1e-5
# The branches of a unit by the size of its kernel, in the order in which they are concatenated: first without, then
# with batch norm. The names "crossh" and "crossv" are the official ones, for 3 rows and for 3 columns.
_BRANCHES = {
    5: {"conv": (5, 5), "conv1": (1, 1), "conv2": (3, 3), "conv_crossh": (3, 1), "conv_crossv": (1, 3)},
    3: {"conv": (3, 3), "conv1": (1, 1), "conv_crossh": (3, 1), "conv_crossv": (1, 3)},
    1: {"conv": (1, 1)},
}

# Takes (in_channels, out_channels, kernel); returns a convolution of stride 1 that keeps the size.
MakeConv = Callable[[int, int, int], nn.Module]


class SYENetOutputs(NamedTuple):
    """Everything that the training form computes."""

    out: Tensor  # (N, 3, 2H, 2W), the result
    warm_rgb: Tensor  # (N, 3, 2H, 2W), without the attention, for the warm-up
    warm_raw: Tensor  # (N, 4, H, W), the packed input again, for the warm-up


def _plain(in_channels: int, out_channels: int, kernel: int) -> nn.Module:
    return _conv(in_channels, out_channels, (kernel, kernel))


def _conv(in_channels: int, out_channels: int, size: tuple[int, int]) -> nn.Module:
    return nn.Conv2d(in_channels, out_channels, size, padding=(size[0] // 2, size[1] // 2))


class Unit(nn.Module):
    """Parallel convolutions with and without batch norm, concatenated and mixed: (N, a, H, W) -> (N, b, H, W)."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.branches = tuple(_BRANCHES[kernel])
        wide = 4 * out_channels
        for name, size in _BRANCHES[kernel].items():
            self.add_module(name, _conv(in_channels, wide, size))
            norm = nn.BatchNorm2d(wide, eps=_EPS)
            self.add_module(f"{name}_bn", nn.Sequential(_conv(in_channels, wide, size), norm))
        self.conv_out = nn.Conv2d(2 * len(self.branches) * wide, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Run all branches on the same input and mix them."""
        names = (*self.branches, *(f"{name}_bn" for name in self.branches))
        return self.conv_out(torch.cat([self.get_submodule(name)(x) for name in names], dim=1))


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

    def __init__(self, conv: MakeConv = _plain, factor: float = 1.0) -> None:
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

    def all_outputs(self, x: Tensor) -> SYENetOutputs:
        """Return the image with the two outputs of the warm-up; x as in ``forward``."""
        y = self.body(self.head(x))
        return SYENetOutputs(self.tail(y * self.att(y)), self.tail(y), self.tail_warm(y))


def deployed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the deploy form's tensors, which compute what the training form with ``state`` does in evaluation mode.

    Sums run in float64 and are rounded once, to the types of ``state``. The head of the warm-up is left out, and may be
    missing. Tensors under any other keys are returned unchanged, so that the strict loader names what does not fit.
    """
    with torch.device("meta"):
        trained, small = SYENetTrain().state_dict(), SYENet().state_dict()
    needed = {key for key in trained if not key.startswith("tail_warm.") and not key.endswith("num_batches_tracked")}
    if not needed <= state.keys() <= trained.keys() or any(state[key].shape != trained[key].shape for key in needed):
        return dict(state)
    result = {}
    for key, like in small.items():
        name, _, leaf = key.rpartition(".")
        if f"{name}.conv_out.weight" not in state:
            result[key] = state[key]
        elif leaf == "weight":
            factor = _FACTOR if name in ("head.block2", "body.block2") else 1.0
            kernel, bias = _merged(state, name, like.shape[-1])
            kind = state[f"{name}.conv.weight"].dtype
            result |= {key: (factor * kernel).to(kind), f"{name}.bias": (factor * bias).to(kind)}
    return result


def _merged(state: Mapping[str, Tensor], unit: str, size: int) -> tuple[Tensor, Tensor]:
    """Return kernel (b, a, size, size) and bias (b,) of the one convolution that a unit computes, in float64."""
    kernels, biases = [], []
    for suffix in ("", "_bn"):
        for name in _BRANCHES[size]:
            branch = f"{unit}.{name}{suffix}"
            layer = f"{branch}.0" if suffix else branch
            kernel, bias = state[f"{layer}.weight"].double(), state[f"{layer}.bias"].double()
            if suffix:
                scale, shift, mean, var = (
                    state[f"{branch}.1.{leaf}"].double() for leaf in ("weight", "bias", "running_mean", "running_var")
                )
                gain = scale / (var + _EPS).sqrt()
                kernel, bias = kernel * gain[:, None, None, None], (bias - mean) * gain + shift
            rows, columns = ((size - side) // 2 for side in kernel.shape[-2:])
            kernels.append(F.pad(kernel, (columns, columns, rows, rows)))
            biases.append(bias)
    mix = state[f"{unit}.conv_out.weight"].double().flatten(1)
    bias = mix @ torch.cat(biases) + state[f"{unit}.conv_out.bias"].double()
    return torch.einsum("os,sikl->oikl", mix, torch.cat(kernels)), bias


# The top left pixel of the official mosaics is red.
_INPUT = of_counts(InputSpec(layout="bayer_packed", planes=READING_PLANES, divisor=4095.0))
_PAPER = "Gou et al. 2023, ICCV, arXiv 2308.08137"
_LICENCE = "Apache-2.0 (written from a specification)"
_GLOBAL = ("attention: gates depend on the average of the whole image",)
_DIFFERENCES = ("the image is not clipped; the official program clips it and truncates to 8 bits where it saves",)


@register_model(
    task="raw2rgb",
    input_of=_INPUT,
    params=5_640,
    paper=_PAPER,
    licence=_LICENCE,
    differences=_DIFFERENCES,
    global_ops=_GLOBAL,
    convert_checkpoint=deployed,
)
def syenet(counts: Counts = "ultraisp") -> nn.Module:
    """SYENet for ISP in its deploy form, 5.6 k parameters; import also takes checkpoints of the training form."""
    return SYENet()


@register_model(
    task="raw2rgb",
    input_of=_INPUT,
    params=108_715,
    paper=_PAPER,
    licence=_LICENCE,
    differences=(
        *_DIFFERENCES,
        "forward returns the image only; those of the warm-up come from all_outputs, without random zeros in the input",
    ),
    global_ops=_GLOBAL,
)
def syenet_train(counts: Counts = "ultraisp") -> nn.Module:
    """SYENet for ISP in its training form, 0.11 M parameters; ``deployed`` makes the deploy form of it."""
    return SYENetTrain()
