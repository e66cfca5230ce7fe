"""RMFA-tiny against the official network's outputs, keys and counts, and its input planes by hand."""

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
from zoo.models.rmfa import ChannelAttention, ToneMapping
from zoo.raw import to_network

DATA = Path(__file__).parent / "data" / "networks"
KEYS = json.loads((DATA / "rmfa_tiny_keys.json").read_text(encoding="utf-8"))["keys"]


@pytest.fixture(scope="module")
def golden() -> Any:
    with np.load(DATA / "rmfa_tiny_golden.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def network(golden: Any) -> Any:
    return load_into(create_model("rmfa_tiny"), float(golden["gain"]))


def test_output_is_the_official_one(network: Any, golden: Any) -> None:
    with torch.no_grad():
        output = network(torch.from_numpy(make_input(golden["seed"], golden["shape"]))).numpy()
    error = np.abs(output - golden["out"])
    assert output.shape == tuple(golden["fullshape_out"])
    assert (error.max() < 3e-6, error.mean() < 5e-7) == (True, True)


def test_keys_and_shapes_are_the_official_ones() -> None:
    assert [[key, list(value.shape)] for key, value in create_model("rmfa_tiny").state_dict().items()] == KEYS


def test_official_weights_go_through_the_import_path(zoo_bench, tmp_path, network: Any, golden: Any) -> None:
    values = fill({key: tuple(shape) for key, shape in KEYS}, float(golden["gain"]))
    torch.save({key: torch.from_numpy(value) for key, value in values.items()}, tmp_path / "official.pth")
    imported = tmp_path / "w.safetensors"
    assert zoo_bench("weights", "import", "rmfa_tiny", tmp_path / "official.pth", "-o", imported).code == 0
    planes = make_input(3, (1, 3, 20, 29))
    np.save(tmp_path / "x.npy", planes)
    assert zoo_bench("infer", "rmfa_tiny", tmp_path / "x.npy", "--weights", imported, "-o", tmp_path / "o").code == 0
    with torch.no_grad():
        expected = network(torch.from_numpy(planes)).numpy()
    assert np.abs(np.load(tmp_path / "o" / "x.npy") - expected).max() < 1e-6


@pytest.mark.parametrize(("size", "macs"), [((448, 448), 3_385_475_200), ((3072, 4096), 212_248_559_744)])
def test_counts_are_those_of_the_specification(size: tuple[int, int], macs: int) -> None:
    with torch.device("meta"):
        network, x = create_model("rmfa_tiny"), torch.empty(1, 3, *size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(x)
    assert counter.get_total_flops() == 2 * macs
    assert sum(p.numel() for p in network.parameters()) == 29_223


def test_a_mosaic_becomes_three_planes_with_ones_between_the_samples() -> None:
    counts = torch.tensor([[63.0, 1086.0, 40.0, 4092.0], [2109.0, 63.0 + 1023 / 2, 63.0, 574.5]])[None, None]
    planes = to_network(counts, get_card("rmfa_tiny").input, black=256.0, white=4092.0)[0]
    high = (4092 - 63) / 1023  # bright samples are not clipped
    expected = [
        [[0.0, 1, 0.0, 1], [1, 1, 1, 1]],
        [[1, 1.0, 1, high], [2.0, 1, 0.0, 1]],
        [[1, 1, 1, 1], [1, 0.5, 1, 0.5]],
    ]
    torch.testing.assert_close(planes, torch.tensor(expected))


def test_the_illumination_of_a_flat_image_is_subtracted() -> None:
    tone = ToneMapping(16)
    with torch.no_grad():
        for level in (tone.level1[1], tone.level2[1], tone.level3[0]):
            level.weight.zero_()
        tone.level1[1].bias.fill_(0.25)
        tone.level3[0].bias.fill_(0.5)
        torch.testing.assert_close(tone(torch.full((1, 16, 9, 8), 0.1)), torch.full((1, 16, 9, 8), 0.1 - 0.75))


def test_both_pools_share_the_layers_of_the_channel_attention() -> None:
    attention = ChannelAttention(16)
    with torch.no_grad():
        attention.fc[0].weight.fill_(1 / 16)
        attention.fc[2].weight.fill_(1.0)
        x = torch.zeros(1, 16, 2, 2)
        x[..., 0, 0] = 4.0
        # The average is 1 and the maximum 4, in each channel.
        torch.testing.assert_close(attention(x), x * torch.sigmoid(torch.tensor(5.0)))


@pytest.mark.parametrize("size", [(4, 4), (5, 8), (9, 13), (24, 17)])
def test_colour_planes_of_4k_and_4k_plus_1_keep_their_size(network: Any, size: tuple[int, int]) -> None:
    with torch.no_grad():
        assert network(torch.rand(2, 3, *size)).shape == (2, 3, *size)


@pytest.mark.parametrize("size", [(6, 8), (8, 7), (1, 8), (0, 4)])
def test_other_colour_planes_are_refused(network: Any, size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"multiples of 4, or one more, at least 4; got {size[0]}x{size[1]}"):
        network(torch.zeros(1, 3, *size))
