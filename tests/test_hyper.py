"""The HyperConvolution against the paper's equations."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.counting.trace import trace
from zoo import create_model
from zoo.hyper import HyperConv2d, conv2d_per_sample, linear_of_one, normalize_filters


def slow_hyperconv(layer: HyperConv2d, x: Tensor, embedding: Tensor) -> Tensor:
    """The block as the text defines it, one multiplication at a time."""
    first, _, second, _, third = layer.mlp
    outputs = []
    for sample, code in zip(x, embedding):
        pooled = F.adaptive_max_pool2d(code[None], layer.pool).flatten()
        hidden = F.gelu(second(F.gelu(first(pooled))))
        bank = third(hidden).reshape(layer.filter_shape)
        c_out, c_in, k, _ = bank.shape
        n = c_in * k * k
        height, width = sample.shape[-2:]
        result = torch.zeros(c_out, height, width)
        for o in range(c_out):
            filters = bank[o] / bank[o].abs().sum() * 2 * math.sqrt(n / math.pi)
            for row in range(height):
                for column in range(width):
                    for i in range(c_in):
                        for dy in range(k):
                            for dx in range(k):
                                y, z = row + dy - 1, column + dx - 1
                                if 0 <= y < height and 0 <= z < width:
                                    result[o, row, column] += filters[i, dy, dx] * sample[i, y, z]
        outputs.append(result)
    return torch.stack(outputs)


@pytest.mark.parametrize("batch", [1, 3])
def test_hyperconv_equals_a_slow_loop(batch: int) -> None:
    torch.manual_seed(batch)
    layer = HyperConv2d(2, 3, embedding_channels=4, hidden=5)
    x, embedding = torch.randn(batch, 2, 4, 5), torch.randn(batch, 4, 7, 6)
    with torch.no_grad():
        torch.testing.assert_close(layer(x, embedding), slow_hyperconv(layer, x, embedding), rtol=1e-4, atol=1e-5)


def test_each_sample_has_filters_of_its_own() -> None:
    torch.manual_seed(0)
    layer = HyperConv2d(4, 8, embedding_channels=4, hidden=16)
    filters = layer.predict_filters(torch.randn(2, 4, 8, 8))
    assert (filters[0] - filters[1]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("c_in", "constant"), [(3, 5.8632), (4, 6.7703), (8, 9.5746), (16, 13.5406), (32, 19.1492), (64, 27.0811)]
)
def test_filters_have_the_l1_norm_of_the_paper(c_in: int, constant: float) -> None:
    filters = normalize_filters(torch.randn(2, 5, c_in, 3, 3))
    torch.testing.assert_close(filters.abs().sum(dim=(-3, -2, -1)), torch.full((2, 5), constant), rtol=1e-4, atol=0)


def test_normal_filters_get_the_variance_of_he() -> None:
    torch.manual_seed(0)
    filters = normalize_filters(7.0 * torch.randn(1, 512, 32, 3, 3))
    assert filters.std().item() == pytest.approx(math.sqrt(2 / 288), rel=0.01)


def test_filters_of_zero_stay_finite() -> None:
    assert torch.equal(normalize_filters(torch.zeros(1, 2, 3, 3, 3)), torch.zeros(1, 2, 3, 3, 3))


def test_activations_keep_their_size_through_20_layers() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 32, 24, 24)
    embedding = torch.randn(1, 8, 8, 8)
    rms = []
    with torch.no_grad():
        for _ in range(20):
            x = HyperConv2d(32, 32, embedding_channels=8, hidden=32)(x, embedding)
            rms.append(x.square().mean().sqrt().item())
            x = F.relu(x)
    # Zero padding costs a little per layer; without the constant of Eq. 5 the last value is near 1e-25.
    assert all(0.15 < value < 4.0 for value in rms), rms


@pytest.mark.parametrize(("width", "literal", "offset"), [(8, 1e-21, 1e12), (64, 1e-29, 1e21)])
def test_what_the_cards_say_of_other_normalisations(width: int, literal: float, offset: float) -> None:
    torch.manual_seed(0)
    ends = []
    for mean, norm in ((0.0, lambda bank: bank / bank.abs().sum((1, 2, 3), keepdim=True)), (0.5, normalize_filters)):
        x = torch.randn(1, width, 48, 48)
        for _ in range(20):
            x = F.relu(F.conv2d(x, norm(torch.randn(width, width, 3, 3) + mean), padding=1))
        ends.append(x.double().square().mean().sqrt().item())
    assert literal / 100 < ends[0] < literal * 100
    assert offset / 100 < ends[1] < offset * 100


def test_a_single_sample_takes_the_plain_convolution() -> None:
    filters = torch.randn(1, 5, 3, 3, 3)
    x = torch.randn(1, 3, 8, 8)
    torch.testing.assert_close(conv2d_per_sample(x, filters), F.conv2d(x, filters[0], padding=1), rtol=0, atol=0)


@pytest.mark.parametrize("outputs", [1, 7, 64, 67, 189, 1152])
def test_blocks_of_a_linear_layer_give_what_the_layer_gives(outputs: int) -> None:
    torch.manual_seed(outputs)
    layer, code = nn.Linear(40, outputs).double(), torch.randn(1, 40, dtype=torch.float64)
    torch.testing.assert_close(linear_of_one(layer, code), layer(code), rtol=1e-12, atol=1e-12)


def test_filters_are_the_same_with_and_without_a_graph_of_gradients() -> None:
    torch.manual_seed(0)
    layer, embedding = HyperConv2d(3, 7, embedding_channels=4, hidden=32), torch.randn(1, 4, 9, 9)
    filters = layer.predict_filters(embedding)
    with torch.inference_mode():
        found = layer.predict_filters(embedding)
    assert filters.grad_fn is not None
    torch.testing.assert_close(found, filters.detach(), rtol=0, atol=1e-6 * filters.abs().max().item())


def test_many_samples_in_channels_last_are_convolved_as_in_the_plain_format() -> None:
    torch.manual_seed(0)
    x, filters = torch.randn(3, 5, 9, 8), torch.randn(3, 6, 5, 3, 3)
    weights = torch.randn(3, 6, 9, 8)
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        planes = x.clone(memory_format=layout).requires_grad_()
        bank = filters.clone().requires_grad_()
        output = conv2d_per_sample(planes, bank)
        assert output.is_contiguous(memory_format=layout)
        found.append([output.detach(), *torch.autograd.grad((output * weights).sum(), (planes, bank))])
    for plain, other in zip(*found):
        torch.testing.assert_close(other, plain, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 96)])
def test_a_plain_convolution_costs_two_flops_per_parameter_and_pixel(height: int, width: int) -> None:
    """Eq. 1: FLOPs / parameters of a convolution is 2 H W, whatever its width."""
    for c_in, c_out in ((4, 8), (16, 16)):
        conv = nn.Conv2d(c_in, c_out, 3, padding=1, bias=False)
        result = trace(conv, torch.zeros(1, c_in, height, width))
        assert 2 * result.macs / conv.weight.numel() == 2 * height * width


def test_the_mlp_of_a_hyperconv_costs_two_flops_per_parameter() -> None:
    """Eq. 2: parameters of the MLP cost 2 FLOPs each, whatever the image's size."""
    layer = HyperConv2d(8, 8, embedding_channels=16, hidden=64)
    weights = sum(module.weight.numel() for module in layer.mlp if isinstance(module, nn.Linear))
    for size in (32, 128):
        x = torch.zeros(1, 8, size, size)
        result = trace(layer, x, forward=lambda planes: layer(planes, torch.zeros(1, 16, 8, 8)))
        convolution = 8 * 8 * 9 * size * size
        assert 2 * (result.macs - convolution) / weights == 2


def gelu(x: Tensor) -> Tensor:
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def hard_sigmoid(x: Tensor) -> Tensor:
    return (x / 6 + 0.5).clamp(0, 1)


@pytest.mark.parametrize("name", ["hyperunet_8_8_64", "plainunet_8"])
def test_each_activation_of_the_unet_stands_in_its_place(name: str) -> None:
    """The table of the paper's layers: hard-sigmoid after the two convolutions at full size, GELU after the others."""
    torch.manual_seed(0)
    net = create_model(name).double().eval()
    planes = 3 * torch.randn(1, 4, 32, 40, dtype=torch.float64)

    def convolved(layer: str, x: Tensor) -> Tensor:
        conv = getattr(net, layer)
        if isinstance(conv, nn.Conv2d):
            return conv(x)
        level = {"enc1": 1, "enc2": 2}.get(layer, 0)
        code = F.avg_pool2d(planes, 2**level)
        for embedding in getattr(net, f"embed{level}"):
            if isinstance(embedding, nn.Conv2d):
                code = F.max_pool2d(gelu(embedding(code)), 2)
        return conv(x, code)

    def doubled(x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="bilinear")

    with torch.no_grad():
        skip0 = hard_sigmoid(convolved("enc0b", hard_sigmoid(convolved("enc0a", planes))))
        skip1 = gelu(convolved("enc1", F.max_pool2d(skip0, 2)))
        deepest = gelu(convolved("enc2", F.max_pool2d(skip1, 2)))
        joined = gelu(convolved("up1", doubled(deepest)) + skip1)
        joined = gelu(convolved("up0", doubled(joined)) + skip0)
        expected = F.pixel_shuffle(convolved("out", joined), 2)
        torch.testing.assert_close(net(planes), expected, rtol=1e-9, atol=1e-9)
