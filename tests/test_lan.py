"""LAN against the official networks' outputs, keys and counts, and by hand on one kernel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.golden_rule import fill, load_into, make_input
from zoo import create_model, get_card
from zoo.raw import to_network

DATA = Path(__file__).parent / "data" / "networks"

both = pytest.mark.parametrize("name", ["lan_efficient", "lan_robust"])


def golden(name: str) -> Any:
    with np.load(DATA / f"{name}_golden.npz") as arrays:
        return dict(arrays)


def official_keys(name: str) -> list[Any]:
    return json.loads((DATA / f"{name}_keys.json").read_text(encoding="utf-8"))["keys"]


@both
def test_output_is_the_official_one(name: str) -> None:
    expected = golden(name)
    network = load_into(create_model(name), float(expected["gain"]))
    with torch.no_grad():
        output = network(torch.from_numpy(make_input(expected["seed"], expected["shape"]))).numpy()
    error = np.abs(output - expected["out"])
    assert output.shape == tuple(expected["fullshape_out"])
    assert (error.max() < 1e-5, error.mean() < 1e-6) == (True, True)


@both
def test_keys_and_shapes_are_the_official_ones(name: str) -> None:
    assert [[key, list(value.shape)] for key, value in create_model(name).state_dict().items()] == official_keys(name)


@both
def test_golden_output_through_the_import_path(name: str, zoo_bench, tmp_path) -> None:
    expected = golden(name)
    shapes = {key: tuple(shape) for key, shape in official_keys(name)}
    state = {key: torch.from_numpy(value) for key, value in fill(shapes, float(expected["gain"])).items()}
    torch.save(state, tmp_path / "official.pth")
    imported = tmp_path / "w.safetensors"
    assert zoo_bench("weights", "import", name, tmp_path / "official.pth", "-o", imported).code == 0
    np.save(tmp_path / "x.npy", make_input(expected["seed"], expected["shape"]))
    for tile in ("off", "17x30"):
        flags = ("--weights", imported, "--tile", tile, "-o", tmp_path / tile)
        assert zoo_bench("infer", name, tmp_path / "x.npy", *flags).code == 0
        assert np.abs(np.load(tmp_path / tile / "x.npy") - expected["out"]).max() < 1e-5


@pytest.mark.parametrize(
    ("name", "params", "per_plane_pixel"), [("lan_efficient", 3_060, 3_024), ("lan_robust", 1_616, 1_584)]
)
@pytest.mark.parametrize("size", [(224, 224), (1536, 2048), (7, 5)])
def test_counts_are_those_of_the_specification(
    name: str, params: int, per_plane_pixel: int, size: tuple[int, int]
) -> None:
    with torch.device("meta"):
        network, x = create_model(name), torch.empty(1, 4, *size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(x)
    assert counter.get_total_flops() == 2 * per_plane_pixel * size[0] * size[1]
    assert get_card(name).params == params == sum(p.numel() for p in network.parameters())


@both
def test_the_reach_is_three_packed_pixels(name: str) -> None:
    network = create_model(name).double()
    for parameter in network.parameters():
        # Positive values keep every ReLU open.
        parameter.data.abs_()
    x = torch.rand(1, 4, 11, 13, dtype=torch.float64, requires_grad=True)
    network(x)[0, :, 10:12, 12:14].sum().backward()
    assert x.grad is not None
    touched = x.grad.abs().sum((0, 1)).nonzero()
    assert touched.amin(0).tolist() == [2, 3]
    assert touched.amax(0).tolist() == [8, 9]


@both
def test_centre_taps_alone_give_the_closed_form(name: str) -> None:
    network = create_model(name)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for convolution, factor in ((network.conv1, 1.0), (network.conv2, 2.0), (network.conv3, 0.5)):
            convolution.weight[0, 0, 1, 1] = factor
        # Channel 11 is blue at the offset (1, 1) of a cell; a negative value stops at the last ReLU.
        network.conv3.bias[11] = 0.25
        network.conv3.bias[10] = -0.25
        x = torch.randn(2, 4, 3, 5)
        output = network(x)
    torch.testing.assert_close(output[:, 0, ::2, ::2], torch.tanh(x[:, 0]).clamp(min=0))
    assert torch.equal(output[:, 2, 1::2, 1::2], torch.full((2, 3, 5), 0.25))
    output[:, 0, ::2, ::2] = output[:, 2, 1::2, 1::2] = 0
    assert not output.any()


@both
def test_each_plane_has_its_official_level(name: str) -> None:
    spec = get_card(name).input_for({"counts": "zrr"})
    assert spec.planes == ((1, 1), (0, 1), (0, 0), (1, 0))
    levels = np.array([[58.0, 60.0], [61.0, 62.0]])
    black = torch.from_numpy(levels).float()[None, None]
    assert to_network(black, spec).flatten().tolist() == [0.0] * 4
    assert to_network(torch.full((1, 1, 2, 2), 1023.0), spec).flatten().tolist() == [1.0] * 4
    # Files of UltraISP go in as they are: 10-bit counts times 4, with the same levels.
    stored = to_network(4 * black, get_card(name).input, black=256.0, white=4092.0)
    expected = [3 * level / (1023 - level) for level in (62, 60, 58, 61)]
    torch.testing.assert_close(stored.flatten(), torch.tensor(expected))
