"""Parallel convolutions trained as one against the same branches run one by one."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.models.mobileie import BranchedConv, MobileIETraining
from zoo.models.syenet import SYENetTrain, Unit

blocks = pytest.mark.parametrize("block", [BranchedConv, Unit])
sides = pytest.mark.parametrize("side", [1, 3, 5])


def one_by_one(block: nn.Module, x: Tensor) -> Tensor:
    """The block's output in training mode, from its parts alone."""
    parts = dict(block.named_children())
    plain = [name for name in parts if not name.endswith("_bn") and name != "conv_out"]
    outputs = [parts[name](x) for name in plain]
    # MobileIE normalises the plain outputs, SYENet those of other convolutions.
    sources: Any = [x] * len(plain) if isinstance(block, Unit) else outputs
    outputs = [*outputs, *(parts[f"{name}_bn"](source) for name, source in zip(plain, sources))]
    return parts["conv_out"](torch.cat(outputs, 1))


def filled(block: nn.Module) -> nn.Module:
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.3, 2)
            nn.init.normal_(module.bias)
    return block.train()


def smooth(*shape: int) -> Tensor:
    """An image whose neighbouring pixels are alike, far from 0."""
    batch, channels, height, width = shape
    coarse = torch.rand(batch, channels, -(-height // 4) + 1, -(-width // 4) + 1, dtype=torch.float64)
    return 5 + F.interpolate(coarse, size=(height, width), mode="bicubic")


def worst(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


def run(function: Any, block: nn.Module, x: Tensor) -> tuple[Tensor, list[Tensor], dict[str, Tensor]]:
    x = x.clone().requires_grad_()
    output = function(block, x)
    target = torch.linspace(0, 1, output.numel(), dtype=output.dtype).reshape(output.shape).sin()
    (output - target).square().sum().backward()
    gradients = [x.grad, *(one.grad for one in block.parameters())]
    assert all(one is not None for one in gradients)
    return output.detach(), gradients, dict(block.named_buffers())  # type: ignore[return-value]


@blocks
@sides
@pytest.mark.parametrize("size", [(7, 11), (2, 1), (1, 1)])
def test_output_gradients_and_statistics_are_equal(block: Any, side: int, size: tuple[int, int]) -> None:
    torch.manual_seed(side)
    ours = filled(block(3, 2, side)).double()
    theirs = copy.deepcopy(ours)
    for _ in range(2):
        x = smooth(3, 3, *size)
        ours.zero_grad()
        theirs.zero_grad()
        output, gradients, buffers = run(lambda block, x: block(x), ours, x)
        expected, slopes, statistics = run(one_by_one, theirs, x)
    assert worst(output, expected) < 1e-9
    largest = max(float(slope.abs().max()) for slope in slopes)
    assert all((gradient - slope).abs().max() < 1e-9 * largest for gradient, slope in zip(gradients, slopes))
    assert buffers.keys() == statistics.keys()
    assert all(torch.allclose(buffers[name], statistics[name], rtol=1e-9) for name in buffers)


@blocks
def test_float32_is_near_float64_on_images_with_little_contrast(block: Any) -> None:
    torch.manual_seed(0)
    single = filled(block(4, 12, 5))
    double = copy.deepcopy(single).double()
    x = smooth(2, 4, 48, 48)
    output, *_ = run(lambda block, x: block(x), single, x.float())
    expected, *_ = run(one_by_one, double, x)
    assert worst(output, expected) < 1e-3
    assert all(torch.isfinite(value).all() for value in single.state_dict().values())


@blocks
def test_frozen_statistics_stay(block: Any) -> None:
    torch.manual_seed(0)
    ours = filled(block(3, 2, 3)).double()
    for module in ours.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    theirs = copy.deepcopy(ours)
    x = smooth(2, 3, 6, 5)
    output, _, buffers = run(lambda block, x: block(x), ours, x)
    expected, _, statistics = run(one_by_one, theirs, x)
    assert worst(output, expected) < 1e-9
    assert all(torch.equal(buffers[name], statistics[name]) for name in buffers)


@pytest.mark.parametrize("network", [MobileIETraining, SYENetTrain])
def test_a_network_in_training_runs_in_bfloat16_too(network: Any) -> None:
    torch.manual_seed(0)
    ours = network().train()
    x = smooth(2, 4, 16, 16).float() / 30
    with torch.autocast("cpu", torch.bfloat16):
        loss = ours(x).float().square().mean()
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(one.grad).all() for one in ours.parameters() if one.grad is not None)


@blocks
def test_a_second_derivative_is_refused_and_not_wrong(block: Any) -> None:
    x = smooth(2, 3, 6, 5).requires_grad_()
    (slope,) = torch.autograd.grad(filled(block(3, 2, 3)).double()(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.square().sum().backward()


@pytest.mark.parametrize("network", [MobileIETraining, SYENetTrain])
def test_one_image_is_refused_where_a_gate_is_normalised(network: Any) -> None:
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        network().train()(torch.rand(1, 4, 8, 8))
