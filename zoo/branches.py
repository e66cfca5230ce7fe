"""Training of parallel convolutions, with and without batch norm, that a 1x1 convolution mixes, without their channels.

All of it is linear but for the statistics of the batch, and these follow from the mean m and the covariance C of the
input's patches: an output w of a convolution has the mean w m and the variance w C w. So the kernels are mixed instead
of the images, none of the many channels is computed, and gradients flow through m and C. For MobileIE at 4x96x96 this
takes a quarter of the time. Output and statistics are those of the branches up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from zoo.merging import in_middle

# Marks a kernel that was computed from branches.
_MIXED = "_mixed_of_branches"


def trained_as_one(
    x: Tensor, branches: Sequence[tuple[nn.Module, nn.Module | None]], mixing: nn.Conv2d, side: int
) -> Tensor:
    """Return ``mixing`` of the concatenated branches of ``x`` (N, a, H, W), in training mode: (N, b, H, W).

    A branch is a convolution that keeps the image's size, with a bias and a kernel of at most ``side``, and the batch
    norm behind it or None, whose running statistics are updated. Raises ValueError for a single position.
    """
    patches = _statistics(x, side)
    if patches.number < 2:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {list(x.shape)}")
    kernels, biases = [], []
    for convolution, norm in branches:
        assert isinstance(convolution, nn.Conv2d)
        kernel, bias = in_middle(convolution.weight, side).flatten(1), convolution.bias
        assert bias is not None
        if norm is not None:
            kernel, bias = _normalised(kernel, bias, norm, patches)
        kernels.append(kernel)
        biases.append(bias)
    matrix = mixing.weight[:, :, 0, 0]
    kernel = (matrix @ torch.cat(kernels)).unflatten(1, (-1, side, side))
    bias = matrix @ torch.cat(biases)
    setattr(kernel, _MIXED, True)
    return F.conv2d(x, kernel, bias if mixing.bias is None else bias + mixing.bias, padding=side // 2)


def is_mixed(kernel: object) -> bool:
    """Return whether ``trained_as_one`` computed a kernel, which the deploy form therefore stores."""
    return getattr(kernel, _MIXED, False)


class _Patches(NamedTuple):
    """Mean (D,) and covariance (D, D) of patches, each of D values in the order of a kernel's, and their number."""

    mean: Tensor
    covariance: Tensor
    number: int


def _statistics(x: Tensor, side: int) -> _Patches:
    """Return those of the patches of ``x`` (N, a, H, W), padded with zeros; at least in float32."""
    with _in_full_precision(x.device):
        x = x if x.dtype == torch.float64 else x.float()
        # Nothing changes if a channel is shifted first, but the difference of large numbers is not lost then.
        middle = x.mean((0, 2, 3)).detach()
        moments = _Moments.apply(F.pad(x, [side // 2] * 4) - middle[:, None, None], side)
        mean = moments[:-1, -1]
        covariance = moments[:-1, :-1] - torch.outer(mean, mean)
        return _Patches(mean + middle.repeat_interleave(side**2), covariance, len(x) * x[0, 0].numel())


class _Moments(torch.autograd.Function):
    """Second moments (D + 1, D + 1) of an image's patches, whose last row and column are the first moments."""

    @staticmethod
    def forward(ctx: Any, padded: Tensor, side: int) -> Tensor:
        """Map a padded image (N, a, rows, columns) to the moments of all its patches of ``side``."""
        number, channels, rows, columns = padded.shape
        ctx.side, height, width = side, rows - side + 1, columns - side + 1
        patches = padded.new_empty(number, channels * side**2 + 1, height * width)
        patches[:, -1] = 1
        for (row, column), plane in _windows(patches, padded.shape, side):
            plane.copy_(padded[:, :, row : row + height, column : column + width])
        ctx.save_for_backward(patches)
        ctx.shape = padded.shape
        return torch.bmm(patches, patches.mT).sum(0) / (number * height * width)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of the padded image."""
        (patches,) = ctx.saved_tensors
        slope = torch.matmul((gradient + gradient.mT) / (len(patches) * patches.shape[2]), patches)
        result = patches.new_zeros(ctx.shape)
        height, width = (size - ctx.side + 1 for size in ctx.shape[2:])
        for (row, column), plane in _windows(slope, ctx.shape, ctx.side):
            result[:, :, row : row + height, column : column + width] += plane
        return result, None


def _windows(patches: Tensor, shape: Sequence[int], side: int) -> list[tuple[tuple[int, int], Tensor]]:
    """Return each place in a patch with the view (N, a, height, width) of its values in ``patches`` (N, D + 1, ...)."""
    number, channels, rows, columns = shape
    values = patches[:, :-1].view(number, channels, side, side, rows - side + 1, columns - side + 1)
    return [((row, column), values[:, :, row, column]) for row in range(side) for column in range(side)]


def _normalised(kernel: Tensor, bias: Tensor, norm: nn.Module, patches: _Patches) -> tuple[Tensor, Tensor]:
    """Return kernel (b, D) and bias (b,) with the batch norm behind them, whose running statistics are updated."""
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.momentum is not None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    with _in_full_precision(kernel.device):
        wide = kernel.to(patches.covariance.dtype)
        if norm.training:
            centre = wide @ patches.mean + bias
            variance = ((wide @ patches.covariance) * wide).sum(1).clamp_min(0)
            with torch.no_grad():
                norm.num_batches_tracked += 1
                unbiased = variance * (patches.number / (patches.number - 1))
                norm.running_mean.lerp_(centre.to(norm.running_mean), norm.momentum)
                norm.running_var.lerp_(unbiased.to(norm.running_var), norm.momentum)
        else:
            centre, variance = norm.running_mean, norm.running_var
        gain = norm.weight / torch.sqrt(variance + norm.eps)
        return (wide * gain[:, None]).to(kernel.dtype), ((bias - centre) * gain + norm.bias).to(bias.dtype)


def _in_full_precision(device: torch.device) -> AbstractContextManager[Any]:
    # The meta device, on which the memory for training is counted, has no autocast.
    return torch.autocast(device.type, enabled=False) if torch.amp.is_autocast_available(device.type) else nullcontext()
