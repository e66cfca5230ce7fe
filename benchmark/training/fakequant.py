"""Rounding to 8 bits while a network trains: its convolutions compute with the errors that int8 will have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from zoo.branches import is_mixed

# By the convolution: the axis of its weights that counts output channels.
_AXES: dict[Callable[..., Any], int] = {torch.conv2d: 0, torch.conv_transpose2d: 1}


class FakeInt8(TorchFunctionMode):
    """Within this block convolutions round their weights, inputs and outputs as the int8 files do.

    Weights have one scale for each output channel, activations one scale and one zero point for each tensor, from the
    extremes of the batch. Nothing is kept between steps, and gradients pass the rounding unchanged within the range.
    Convolutions whose filters the network computes are left alone: they stay in float32. Kernels that a training form
    computes from its branches are not: the deploy form stores them.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call ``func``, with rounding if it is a convolution with stored weights."""
        if func not in _AXES or len(args) < 2 or not (isinstance(args[1], nn.Parameter) or is_mixed(args[1])):
            return func(*args, **(kwargs or {}))
        planes, weight, *rest = args
        return _per_tensor(func(_per_tensor(planes), _per_channel(weight, _AXES[func]), *rest, **(kwargs or {})))


def _per_tensor(values: Tensor) -> Tensor:
    low, high = (end.detach() for end in torch.aminmax(values))
    low, high = low.clamp(max=0), high.clamp(min=0)
    scale = ((high - low) / 255).clamp(min=torch.finfo(values.dtype).tiny)
    zero = (-low / scale).round().to(torch.int32)
    return torch.fake_quantize_per_tensor_affine(values, scale, zero, 0, 255)


def _per_channel(weight: Tensor, axis: int) -> Tensor:
    others = [one for one in range(weight.ndim) if one != axis]
    scale = (weight.detach().abs().amax(others) / 127).clamp(min=torch.finfo(weight.dtype).tiny)
    return torch.fake_quantize_per_channel_affine(
        weight, scale, torch.zeros_like(scale, dtype=torch.int32), axis, -127, 127
    )
