"""Training of parallel convolutions, with and without batch norm, that a 1x1 convolution mixes, at the cost of one.

All of it is linear but for the statistics of the batch, and these follow from the mean and the covariance of the
input's patches: an output w of a convolution has the mean w m and the variance w C w. So the kernels are mixed instead
of the images, none of the many channels is computed, and gradients flow through m and C. For MobileIE at 4x96x96 this
takes a quarter of the time. Output and statistics are those of the branches up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def trained_as_one(
    x: Tensor, branches: Sequence[tuple[nn.Module, nn.Module | None]], mixing: nn.Conv2d, side: int
) -> Tensor:
    """Return ``mixing`` of the concatenated branches of ``x`` (N, a, H, W), in training mode: (N, b, H, W).

    A branch is a convolution that keeps the image's size, with a bias and a kernel of at most ``side``, and the batch
    norm behind it or None, whose running statistics are updated. Raises ValueError for a single position.
    """
    mean, covariance, count = _patches(x, side)
    if count < 2:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {list(x.shape)}")
    kernels, biases = [], []
    for convolution, norm in branches:
        assert isinstance(convolution, nn.Conv2d)
        kernel, bias = _flat(convolution.weight, side), convolution.bias
        assert bias is not None
        if norm is not None:
            kernel, bias = _normalised(kernel, bias, norm, mean, covariance, count)
        kernels.append(kernel)
        biases.append(bias)
    matrix = mixing.weight[:, :, 0, 0]
    kernel = (matrix @ torch.cat(kernels)).unflatten(1, (-1, side, side))
    bias = matrix @ torch.cat(biases)
    return F.conv2d(x, kernel, bias if mixing.bias is None else bias + mixing.bias, padding=side // 2)


def _flat(kernel: Tensor, side: int) -> Tensor:
    """Return a kernel (b, a, rows, columns) as the middle of one of ``side``: (b, a side side)."""
    rows, columns = ((side - size) // 2 for size in kernel.shape[-2:])
    return F.pad(kernel, (columns, columns, rows, rows)).flatten(1)


def _patches(x: Tensor, side: int) -> tuple[Tensor, Tensor, int]:
    """Return the mean (D,) and covariance (D, D) of the patches of ``x`` padded with zeros, and how many there are.

    D is the number of values of a patch, in the order of a kernel. It runs in float32 at least.
    """
    with _in_full_precision(x.device):
        x = x if x.dtype == torch.float64 else x.float()
        height, width = x.shape[-2:]
        padded = F.pad(x, [side // 2] * 4)
        shifted = [
            padded[:, :, row : row + height, column : column + width].transpose(0, 1).flatten(1)
            for row in range(side)
            for column in range(side)
        ]
        patches = torch.stack(shifted, dim=1).flatten(0, 1)
        count = patches.shape[1]
        mean = patches.mean(1)
        centred = patches - mean[:, None].detach()
        # The gradient of a symmetric product is twice that of one factor, as long as what comes in is symmetric too.
        half = centred @ centred.detach().T / count
        return mean, 2 * half - half.detach(), count


def _in_full_precision(device: torch.device) -> AbstractContextManager[Any]:
    # The meta device, on which the memory for training is counted, has no autocast.
    return torch.autocast(device.type, enabled=False) if torch.amp.is_autocast_available(device.type) else nullcontext()


def _normalised(
    kernel: Tensor, bias: Tensor, norm: nn.Module, mean: Tensor, covariance: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Return kernel (b, D) and bias (b,) with the batch norm behind them, whose running statistics are updated."""
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.momentum is not None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    with _in_full_precision(kernel.device):
        wide = kernel.to(covariance.dtype)
        if norm.training:
            centre = wide @ mean + bias
            variance = ((wide @ covariance) * wide).sum(1).clamp_min(0)
            with torch.no_grad():
                norm.num_batches_tracked += 1
                norm.running_mean.lerp_(centre.to(norm.running_mean), norm.momentum)
                norm.running_var.lerp_((variance * (count / (count - 1))).to(norm.running_var), norm.momentum)
        else:
            centre, variance = norm.running_mean, norm.running_var
        gain = norm.weight / torch.sqrt(variance + norm.eps)
        return (wide * gain[:, None]).to(kernel.dtype), ((bias - centre) * gain + norm.bias).to(bias.dtype)
