"""Re-parameterisation: layers that are trained as several parallel ones and deployed as one convolution.

In evaluation mode a batch norm is linear, and so is a sum of convolutions, so both can be merged into one kernel. Sums
run in float64 and are rounded once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Takes in_channels, out_channels and the kernel's side; returns a convolution that keeps the size.
MakeConv = Callable[[int, int, int], nn.Module]
Network = TypeVar("Network", bound=nn.Module)

# Kernel (rows, columns) of each branch of MobileIE and SYENet, by the side of the merged kernel, in the order in which
# the branches are concatenated. The official "crossh" is vertical, "crossv" horizontal.
_CROSS = {"conv_crossh": (3, 1), "conv_crossv": (1, 3)}
BRANCHES = {
    5: {"conv": (5, 5), "conv1": (1, 1), "conv2": (3, 3), **_CROSS},
    3: {"conv": (3, 3), "conv1": (1, 1), **_CROSS},
    1: {"conv": (1, 1)},
}


def sized_conv(in_channels: int, out_channels: int, size: tuple[int, int]) -> nn.Conv2d:
    """Return a convolution with a kernel of ``size`` (rows, columns) and zero padding that keeps the image's size."""
    return nn.Conv2d(in_channels, out_channels, size, padding=(size[0] // 2, size[1] // 2))


def plain_conv(in_channels: int, out_channels: int, side: int) -> nn.Conv2d:
    """Return a convolution with a square kernel that keeps the size: one layer of a deploy form."""
    return sized_conv(in_channels, out_channels, (side, side))


@torch.no_grad()
def folded(convolution: nn.Module, norm: nn.Module | None = None) -> tuple[Tensor, Tensor]:
    """Return kernel (b, a, rows, columns) and bias (b,), in float64, of a convolution and the batch norm behind it."""
    assert isinstance(convolution, nn.Conv2d)
    kernel = convolution.weight.double()
    bias = kernel.new_zeros(len(kernel)) if convolution.bias is None else convolution.bias.double()
    if norm is None:
        return kernel, bias
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    return kernel * gain[:, None, None, None], (bias - norm.running_mean.double()) * gain + norm.bias.double()


def in_middle(kernel: Tensor, side: int) -> Tensor:
    """Return a kernel (b, a, rows, columns) as the middle of one with zeros around it: (b, a, side, side)."""
    rows, columns = ((side - size) // 2 for size in kernel.shape[-2:])
    return F.pad(kernel, (columns, columns, rows, rows))


@torch.no_grad()
def mixed(parts: Sequence[tuple[Tensor, Tensor]], mixing: nn.Conv2d, side: int, factor: float = 1.0) -> nn.Conv2d:
    """Return the convolution that equals ``factor`` times the 1x1 convolution ``mixing`` of concatenated branches.

    ``parts`` are kernels and biases as from ``folded``; each kernel lies in the middle of one of ``side``. It is equal
    also at the borders, because every branch pads the image with zeros, and biases come after that.
    """
    stack, (matrix, bias) = torch.cat([in_middle(kernel, side) for kernel, _ in parts]), folded(mixing)
    matrix = matrix[:, :, 0, 0]
    merged = plain_conv(stack.shape[1], len(matrix), side).to(mixing.weight)
    kernel = factor * torch.tensordot(matrix, stack, dims=1)
    bias = factor * (matrix @ torch.cat([bias for _, bias in parts]) + bias)
    merged.load_state_dict({"weight": kernel, "bias": bias})
    return merged


def put_into(plain: Network, network: nn.Module, merged: Mapping[str, nn.Module]) -> Network:
    """Return ``plain``, a network in deploy form, with the tensors of ``network``, and those of ``merged`` by name.

    What only the training form has is left out. ``plain`` gets the type, device and mode of ``network``.
    """
    state = network.state_dict()
    state |= {f"{name}.{key}": value for name, one in merged.items() for key, value in one.state_dict().items()}
    plain.to(next(network.parameters())).load_state_dict({key: state[key] for key in plain.state_dict()})
    return plain.train(network.training)


def drop_squares(x: Tensor) -> Tensor:
    """Set x to 0 within 3x3 positions around seeds of probability 0.5 / 9, in all channels, without rescaling."""
    seeds = torch.rand_like(x[:, :1]) < 0.5 / 9
    return x * (1 - F.max_pool2d(seeds.to(x.dtype), 3, stride=1, padding=1))
