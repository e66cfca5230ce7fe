"""VDN: parity with the official network, counts, sizes, and the two nets' separate methods."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from tests.golden_rule import GAINS, load_into, make_input
from zoo import create_model, get_card
from zoo.layers import VariationalDenoiser
from zoo.raw import apply_model

DATA = Path(__file__).parent / "data" / "networks"
GOLDEN = np.load(DATA / "vdn_golden.npz")


class ConvBytes(TorchDispatchMode):
    """Sum the output bytes of every convolution, transposed ones included."""

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


@pytest.fixture(scope="module")
def golden_vdn() -> VariationalDenoiser:
    return load_into(denoiser("vdn"), GAINS["vdn"])


def image(n: int, height: int, width: int) -> Tensor:
    return torch.from_numpy(make_input(9, (n, 3, height, width)))


def test_parameter_maps_equal_the_official_network(golden_vdn: VariationalDenoiser) -> None:
    x = torch.from_numpy(make_input(GOLDEN["seed"], GOLDEN["shape"]))
    with torch.no_grad():
        maps = golden_vdn.all_outputs(x)
    for output, name in ((maps.phi_z, "phi_Z"), (maps.phi_sigma, "phi_sigma")):
        assert output.shape == tuple(GOLDEN[f"fullshape_{name}"])
        error = np.abs(output.numpy() - GOLDEN[name])
        assert error.max() < 5e-5
        assert error.mean() < 1e-5


def test_forward_is_the_input_minus_the_residual_unclipped(golden_vdn: VariationalDenoiser) -> None:
    x = torch.from_numpy(make_input(GOLDEN["seed"], GOLDEN["shape"]))
    with torch.no_grad():
        output = golden_vdn(x)
    expected = x - torch.from_numpy(GOLDEN["phi_Z"][:, :3])
    torch.testing.assert_close(output, expected, atol=5e-5, rtol=0)
    assert output.min() < 0
    assert output.max() > 1


def test_keys_are_the_official_ones() -> None:
    keys = json.loads((DATA / "vdn_keys.json").read_text(encoding="utf-8"))
    with torch.device("meta"):
        state = create_model("vdn").state_dict()
    assert [[key, list(value.shape)] for key, value in state.items()] == keys["keys"]


@pytest.mark.parametrize("name", ["vdn", "vdn_w8"])
def test_params_match_the_card(name: str) -> None:
    with torch.device("meta"):
        params = sum(p.numel() for p in create_model(name).parameters())
    assert params == get_card(name).params


def test_params_of_both_nets_match_the_specification() -> None:
    with torch.device("meta"):
        model = denoiser("vdn")
    assert sum(p.numel() for p in model.DNet.parameters()) == 7_700_742
    assert sum(p.numel() for p in model.SNet.parameters()) == 116_038
    assert 4 * 123_668 < 3e6, "the small member ships its weights"


@pytest.mark.parametrize(
    ("size", "both", "denoising"),
    [
        ((224, 224), 34_122_891_264, 28_313_714_688),
        ((256, 256), 44_568_674_304, 36_981_178_368),
        ((1024, 1024), 713_098_788_864, 591_698_853_888),
        ((1488, 1984), 2_007_679_500_288, 1_665_886_519_296),
        ((3072, 4096), 8_557_185_466_368, 7_100_386_246_656),
    ],
)
def test_macs_match_the_specification(size: tuple[int, int], both: int, denoising: int) -> None:
    with torch.device("meta"):
        model, x = denoiser("vdn"), torch.empty(1, 3, *size)
    with FlopCounterMode(display=False) as counter:
        model(x)
    assert counter.get_total_flops() == 2 * denoising
    with FlopCounterMode(display=False) as counter:
        model.all_outputs(x)
    assert counter.get_total_flops() == 2 * both


def test_conv_output_bytes_are_those_of_table_2() -> None:
    with torch.device("meta"):
        model, x = denoiser("vdn"), torch.empty(1, 3, 1024, 1024)
    with ConvBytes() as counter:
        model(x)
    assert round(counter.total / 2**30, 2) == 2.27


def test_noise_net_alone_gives_the_same_map_at_any_size() -> None:
    model = denoiser("vdn_w8").eval()
    with torch.no_grad():
        x = image(1, 16, 16)
        assert torch.equal(model.noise_parameters(x), model.all_outputs(x).phi_sigma)
        assert model.noise_parameters(image(1, 5, 9)).shape == (1, 6, 5, 9)


@pytest.mark.parametrize("size", [(8, 8), (8, 24), (40, 16)])
def test_multiples_of_eight_keep_their_size(size: tuple[int, int]) -> None:
    model = denoiser("vdn_w8").eval()
    with torch.no_grad():
        assert model(image(2, *size)).shape == (2, 3, *size)


@pytest.mark.parametrize("size", [(12, 16), (16, 20), (4, 8), (0, 8)])
def test_other_sizes_are_refused_with_what_is_needed(size: tuple[int, int]) -> None:
    model = denoiser("vdn_w8")
    with pytest.raises(ValueError, match=f"multiples of 8; got {size[0]}x{size[1]}"):
        model(torch.zeros(1, 3, *size))
    with pytest.raises(ValueError, match="multiples of 8"):
        model.all_outputs(torch.zeros(1, 3, *size))


def test_adapter_pads_by_reflection_and_crops() -> None:
    model, card, x = denoiser("vdn_w8").eval(), get_card("vdn_w8"), image(1, 13, 18)
    padded = torch.nn.functional.pad(x, (0, 6, 0, 3), mode="reflect")
    with torch.no_grad():
        assert torch.equal(apply_model(model, x, card.input), model(padded)[..., :13, :18])


def test_a_batch_equals_its_samples(golden_vdn: VariationalDenoiser) -> None:
    x = image(2, 24, 16)
    with torch.no_grad():
        batch = golden_vdn.all_outputs(x)
        singles = [golden_vdn.all_outputs(x[i : i + 1]) for i in range(2)]
    for index in range(2):
        expected = torch.cat([single[index] for single in singles])
        torch.testing.assert_close(batch[index], expected, atol=1e-4, rtol=0)


def test_every_parameter_gets_a_gradient() -> None:
    model = denoiser("vdn_w8")
    maps = model.all_outputs(image(1, 16, 16))
    (maps.phi_z.sum() + maps.phi_sigma.sum()).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().sum() > 0, key


def test_width_sets_each_net_by_its_own_option() -> None:
    model = create_model("vdn", width="16")
    assert isinstance(model, VariationalDenoiser)
    assert model.DNet.last.weight.shape == (6, 16, 3, 3)
    assert model.SNet.conv_last.weight.shape == (6, 64, 3, 3)
