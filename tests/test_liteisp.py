"""LiteISPNet: parity with the official network, keys, counts, wavelets, coordinates and levels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmark.costs.profiling import profile
from tests.golden_rule import GAINS, load_into, make_input
from zoo import create_model, get_card
from zoo.models.liteisp import ChannelAttention, InverseWavelet, Wavelet, coordinates
from zoo.raw import apply_model, to_network

DATA = Path(__file__).parent / "data" / "networks"
KEYS = json.loads((DATA / "liteisp_keys.json").read_text(encoding="utf-8"))["keys"]


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return load_into(create_model("liteisp"), GAINS["liteisp"], model="liteisp")


def planes(n: int, height: int, width: int) -> Tensor:
    return torch.from_numpy(make_input(7, (n, 4, height, width)))


def test_published_checkpoints_through_import_and_infer_give_the_official_output(zoo_bench, tmp_path, network) -> None:
    golden = np.load(DATA / "liteisp_golden.npz")
    torch.save({"state_dict": network.state_dict()}, tmp_path / "LiteISPNet_model_80.pth")
    np.save(tmp_path / "planes.npy", make_input(golden["seed"], golden["shape"]))
    imported = tmp_path / "w.safetensors"
    outcome = zoo_bench("weights", "import", "liteisp", tmp_path / "LiteISPNet_model_80.pth", "-o", imported)
    assert outcome.code == 0, outcome.err
    flags = ("--weights", imported, "-o", tmp_path / "out")
    assert zoo_bench("infer", "liteisp", tmp_path / "planes.npy", *flags).code == 0
    output = np.load(tmp_path / "out" / "planes.npy")
    assert output.shape == tuple(golden["fullshape_out"])
    error = np.abs(output - golden["out"])
    assert error.max() < 1e-5
    assert error.mean() < 2e-6


def test_keys_shapes_and_constants_are_the_official_ones(network: nn.Module) -> None:
    constants = {key for key, _ in network.named_buffers()}
    ours = {key: (list(value.shape), key in constants) for key, value in network.state_dict().items()}
    assert ours == {key: (shape, bool(kind)) for key, shape, *kind in KEYS}
    assert len(ours) == 302
    assert sum(value.numel() for value in network.state_dict().values()) == 9_047_815


@pytest.mark.parametrize(
    ("size", "macs"),
    [((224, 224), 73_173_909_568), ((1488, 1984), 4_305_311_531_072), ((1536, 2048), 4_587_553_595_456)],
)
def test_macs_and_parameters_equal_the_specification(size: tuple[int, int], macs: int) -> None:
    document = profile("liteisp", size=size)
    assert (document["macs"], document["params"]) == (macs, 9_039_623)


def test_bands_of_one_cell_are_interleaved_by_channel() -> None:
    cells = torch.tensor([[[1.0, 2.0], [4.0, 8.0]], [[10.0, 20.0], [40.0, 80.0]]])[None]
    # Sum, top minus bottom, left minus right, main minus other diagonal; each halved; all of one channel first.
    expected = [7.5, -4.5, -2.5, 1.5]
    assert Wavelet(2)(cells).flatten().tolist() == [*expected, *(10 * band for band in expected)]


def test_the_inverse_wavelet_inverts() -> None:
    x = planes(2, 6, 10)
    torch.testing.assert_close(InverseWavelet(4)(Wavelet(4)(x)), x)


def test_coordinates_are_pixel_centres_x_before_y() -> None:
    x, y = coordinates(torch.empty(2, 4, 2, 4))[1]
    assert x.tolist() == [[-0.75, -0.25, 0.25, 0.75]] * 2
    assert y.tolist() == [[-0.5] * 4, [0.5] * 4]


def test_sixteen_channels_share_a_gate_rounded_down() -> None:
    widths = [ChannelAttention(channels).conv_du[0].weight.shape[0] for channels in (64, 66, 128)]  # type: ignore[union-attr]
    assert widths == [4, 4, 8]


def test_counts_are_scaled_between_63_and_1020_in_the_planes_of_pynet() -> None:
    mosaic = torch.tensor([[63.0, 1020.0], [541.5, 0.0]])[None, None]
    scaled = to_network(mosaic, get_card("liteisp").input).flatten().tolist()
    assert scaled == pytest.approx([-63 / 957, 1.0, 0.0, 0.5])


@torch.no_grad()
def test_values_below_the_black_level_count_as_black(network: nn.Module) -> None:
    x = planes(1, 8, 16)
    x[:, :, ::2] = 0
    dark = x.clone()
    dark[:, :, ::2] = -0.05
    assert torch.equal(network(dark), network(x))


@torch.no_grad()
@pytest.mark.parametrize("size", [(8, 8), (13, 21)])
def test_other_sizes_and_batches(network: nn.Module, size: tuple[int, int]) -> None:
    x, spec = planes(2, *size), get_card("liteisp").input
    output = apply_model(network, x, spec)
    assert output.shape == (2, 3, 2 * size[0], 2 * size[1])
    singles = torch.cat([apply_model(network, one[None], spec) for one in x])
    torch.testing.assert_close(output, singles, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(12, 16), (16, 12), (0, 8)])
def test_other_multiples_are_refused(network: nn.Module, size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"multiples of 8; got {size[0]}x{size[1]}"):
        network(torch.empty(1, 4, *size))
