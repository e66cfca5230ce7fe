"""The rounding of int8 while a network trains: the values, the gradients, and what is left alone."""

from __future__ import annotations

import torch
from torch import nn

from benchmark.training.fakequant import FakeInt8
from zoo.hyper import HyperConv2d
from zoo.models.mobileie import BranchedConv


def rounded(values: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """Return the nearest of 256 levels that hold ``low``, ``high`` and zero."""
    scale = (high - low) / 255
    zero = torch.round(-low / scale)
    return ((torch.round(values / scale) + zero).clamp(0, 255) - zero) * scale


def test_a_convolution_rounds_weights_by_channel_and_activations_by_tensor() -> None:
    torch.manual_seed(0)
    layer, planes = nn.Conv2d(3, 4, 3), torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        layer.weight[0] *= 1000
        scale = layer.weight.abs().amax((1, 2, 3), keepdim=True) / 127
        weight = torch.round(layer.weight / scale) * scale
        exact = nn.functional.conv2d(rounded(planes, planes.min(), planes.max()), weight, layer.bias)
        with FakeInt8():
            output = layer(planes)
    step = (exact.max() - exact.min()) / 255
    torch.testing.assert_close(output, rounded(exact, exact.min(), exact.max()), rtol=0, atol=1.01 * float(step))
    assert len(output.unique()) <= 256


def test_gradients_reach_weights_and_dead_inputs_give_no_nan() -> None:
    layer = nn.ConvTranspose2d(2, 3, 2, stride=2)
    with FakeInt8():
        output = layer(torch.zeros(1, 2, 4, 4)) + layer(torch.ones(1, 2, 4, 4))
    output.sum().backward()
    assert torch.isfinite(output).all()
    assert layer.weight.grad.abs().sum() > 0


def test_the_kernel_that_branches_make_is_rounded_as_the_deploy_form_is() -> None:
    torch.manual_seed(0)
    block, planes = BranchedConv(3, 4, 3).train(), torch.rand(2, 3, 32, 32)
    with torch.no_grad(), FakeInt8():
        output = block(planes)
    assert len(output.unique()) <= 256


def test_computed_filters_are_left_alone() -> None:
    torch.manual_seed(0)
    layer, planes = HyperConv2d(3, 4, embedding_channels=3, hidden=5, pool=1), torch.rand(1, 3, 32, 32)
    with torch.no_grad(), FakeInt8():
        output = layer(planes, planes)
    # A rounded output would have 256 values.
    assert len(output.unique()) > 1000
