"""HyperVDN: the printed counts that the reconstruction rests on, and what every network must do."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from tests.golden_rule import make_input
from zoo import create_model, get_card
from zoo.layers import VariationalDenoiser
from zoo.models.hypervdn import SelfHyperConv2d
from zoo.raw import apply_model

large = pytest.mark.parametrize("width", [21, 32])


class ConvBytes(TorchDispatchMode):
    """Sum the output bytes of every convolution, transposed and functional ones included."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.convolution.default:
            self.total += output.numel() * output.element_size()
        return output


def denoiser(name: str) -> VariationalDenoiser:
    model = create_model(name)
    assert isinstance(model, VariationalDenoiser)
    return model


def image(n: int, height: int, width: int) -> Tensor:
    return torch.from_numpy(make_input(9, (n, 3, height, width)))


def hidden_convs(width: int) -> list[tuple[int, int, int]]:
    """Return (in, out, reduction) of the 16 hidden convolutions, D-net first, written out by hand."""
    c = width
    down = [(1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 4, 4), (4, 4, 4), (4, 8, 8), (8, 8, 8)]
    up = [(8, 4, 4), (4, 4, 4), (4, 2, 2), (2, 2, 2), (2, 1, 1), (1, 1, 1)]
    noise = [(1, 1, 1)] * 3
    return [(c * a, c * b, reduction) for a, b, reduction in down + up + noise]


def expected_params(width: int) -> int:
    total = 2 * (27 * width + width) + 2 * (54 * width + 6)  # first and last convolution of both nets
    for a, b in ((8, 4), (4, 2), (2, 1)):
        total += 4 * a * b * width * width + b * width
    for c_in, c_out, _ in hidden_convs(width):
        total += 9 * (c_in * 32 + 32 * 64 + 64 * 128) + 32 + 64 + 128
        total += 3200 * 64 + 64 + 64 * 64 + 64 + 65 * 9 * c_in * c_out
    return total


def expected_macs(width: int, height: int, length: int, *, transposed: int) -> int:
    """Return both nets' MACs, counting each transposed convolution ``transposed`` times."""
    pixels = height * length
    total = 2 * 81 * width * pixels
    for a, b, reduction in ((8, 4, 8), (4, 2, 4), (2, 1, 2)):
        total += transposed * 4 * a * b * width * width * pixels // reduction**2
    for c_in, c_out, reduction in hidden_convs(width):
        at = pixels // reduction**2
        total += 9 * at * c_in * c_out
        total += 9 * (at // 4 * c_in * 32 + at // 16 * 32 * 64 + at // 64 * 64 * 128)
        total += 3200 * 64 + 64 * 64 + 64 * 9 * c_in * c_out
    return total


@large
def test_params_match_the_closed_form_and_the_card(width: int) -> None:
    with torch.device("meta"):
        params = sum(p.numel() for p in create_model(f"hypervdn_{width}").parameters())
    assert params == expected_params(width) == get_card(f"hypervdn_{width}").params
    assert round(params / 1e6, 2) == {21: 54.97, 32: 121.04}[width]


@large
def test_sixteen_convolutions_are_hyper(width: int) -> None:
    with torch.device("meta"):
        model = denoiser(f"hypervdn_{width}")
    shapes = [m.conv.filter_shape[1::-1] for m in model.modules() if isinstance(m, SelfHyperConv2d)]
    assert shapes == [(c_in, c_out) for c_in, c_out, _ in hidden_convs(width)]


@large
def test_flops_match_the_printed_ones_in_their_convention(width: int) -> None:
    height, length = 3072, 4096
    with torch.device("meta"):
        model, x = denoiser(f"hypervdn_{width}"), torch.empty(1, 3, height, length)
    with FlopCounterMode(display=False) as counter:
        model.all_outputs(x)
    assert counter.get_total_flops() == 2 * expected_macs(width, height, length, transposed=1)
    # The early ptflops counted a transposed convolution, stride 2, on its output pixels.
    printed = expected_macs(width, height, length, transposed=4) / 1e12
    assert round(printed, 2) == {21: 1.46, 32: 2.92}[width]


@large
def test_conv_output_bytes_match_the_printed_ones(width: int) -> None:
    with torch.device("meta"):
        model, x = denoiser(f"hypervdn_{width}"), torch.empty(1, 3, 1024, 1024)
    with ConvBytes() as counter:
        model(x)
    assert round(counter.total / 2**30, 2) == {21: 1.00, 32: 1.38}[width]


def test_small_member_is_small_and_keeps_the_layout() -> None:
    model = denoiser("hypervdn_8")
    params = sum(p.numel() for p in model.parameters())
    assert params == get_card("hypervdn_8").params
    assert 4 * params < 2.9e6
    assert sum(isinstance(m, SelfHyperConv2d) for m in model.modules()) == 16


def test_options_reach_the_filter_networks() -> None:
    model = create_model("hypervdn_8", embedding_channels="4,6", pool="3", hidden="7")
    hyper = next(m for m in model.modules() if isinstance(m, SelfHyperConv2d))
    assert hyper.embed(torch.zeros(1, 8, 16, 16)).shape == (1, 6, 4, 4)
    assert hyper.conv.mlp[0].weight.shape == (7, 6 * 3 * 3)


def test_untrained_full_network_is_finite_and_well_scaled() -> None:
    torch.manual_seed(0)
    model = denoiser("hypervdn_21").eval()
    with torch.no_grad():
        maps = model.all_outputs(image(1, 64, 64))
        black = model(torch.zeros(1, 3, 16, 16))
    for output in maps:
        assert output.isfinite().all()
        assert 0.05 < output.std() < 5
    assert black.isfinite().all()


@pytest.mark.parametrize("seed", range(20))
def test_untrained_small_network_has_no_dead_layer(seed: int) -> None:
    torch.manual_seed(seed)
    model = denoiser("hypervdn_8").eval()
    stds: list[float] = []
    for module in model.modules():
        if isinstance(module, SelfHyperConv2d):
            module.register_forward_hook(lambda _m, _x, output: stds.append(float(output.std())))
    with torch.no_grad():
        model.all_outputs(image(1, 32, 32))
    assert len(stds) == 16
    assert 0.01 < min(stds) <= max(stds) < 20


def test_filters_depend_on_the_image() -> None:
    torch.manual_seed(0)
    layer = SelfHyperConv2d(3, 4, embedding_channels=(4, 8, 16), hidden=5, pool=2)
    embeddings = layer.embed(torch.stack([torch.rand(3, 32, 32), 0.1 * torch.rand(3, 32, 32)]))
    first, second = layer.conv.predict_filters(embeddings)
    assert not torch.allclose(first, second, atol=1e-3)


def test_a_batch_equals_its_samples() -> None:
    torch.manual_seed(0)
    model, x = denoiser("hypervdn_8").eval(), image(3, 40, 24)
    with torch.no_grad():
        batch = model.all_outputs(x)
        singles = [model.all_outputs(x[i : i + 1]) for i in range(3)]
        images = torch.cat([model(x[i : i + 1]) for i in range(3)])
        torch.testing.assert_close(model(x), images, atol=1e-5, rtol=1e-5)
    for index in range(2):
        expected = torch.cat([single[index] for single in singles])
        torch.testing.assert_close(batch[index], expected, atol=1e-5, rtol=1e-5)


def test_forward_is_the_input_minus_the_residual() -> None:
    model, x = denoiser("hypervdn_8").eval(), image(1, 16, 16)
    with torch.no_grad():
        assert torch.equal(model(x), x - model.all_outputs(x).phi_z[:, :3])
        assert torch.equal(model.noise_parameters(x), model.all_outputs(x).phi_sigma)


@pytest.mark.parametrize("size", [(8, 8), (8, 72), (256, 40)])
def test_multiples_of_eight_keep_their_size(size: tuple[int, int]) -> None:
    # Below 264 the deepest embedding is smaller than the 5x5 pool, whose cells then repeat.
    model = create_model("hypervdn_8", pool=5).eval()
    with torch.no_grad():
        assert model(image(1, *size)).shape == (1, 3, *size)


@pytest.mark.parametrize("size", [(12, 16), (16, 20), (4, 8)])
def test_other_sizes_are_refused_with_what_is_needed(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"multiples of 8; got {size[0]}x{size[1]}"):
        create_model("hypervdn_8")(torch.zeros(1, 3, *size))


def test_adapter_takes_other_sizes() -> None:
    with torch.no_grad():
        output = apply_model(create_model("hypervdn_8"), image(1, 13, 18), get_card("hypervdn_8").input)
    assert output.shape == (1, 3, 13, 18)


def test_every_parameter_gets_a_gradient() -> None:
    torch.manual_seed(0)
    model = denoiser("hypervdn_8")
    maps = model.all_outputs(image(1, 32, 32))
    (maps.phi_z.sum() + maps.phi_sigma.sum()).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().sum() > 0, key
