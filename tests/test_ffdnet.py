"""FFDNet: parity, its noise level, and MatConvNet's order of axes and sub-pixels, which no PSNR shows."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmark.selection import entry_of
from tests.golden_rule import load_into, make_input
from zoo import UserError, create_model, get_card
from zoo.matconvnet import read_matconvnet
from zoo.raw import to_network

DATA = Path(__file__).parent / "data" / "networks"
SHARED = Path(os.environ.get("ZOO_BENCH_SHARED", ""))
NAMES = ["ffdnet_gray", "ffdnet_color"]


def image(channels: int, *size: int) -> Tensor:
    return torch.from_numpy(make_input(5, (1, channels, *size)))


def told(x: Tensor, sigma: float | Tensor = 25.0) -> Tensor:
    """The image with its map of the noise, from a level of 8-bit values or a map (1, 1, h, w) at half the size."""
    if isinstance(sigma, Tensor):
        level = F.interpolate(sigma, scale_factor=2, mode="nearest")[..., : x.shape[-2], : x.shape[-1]]
    else:
        level = torch.full_like(x[:, :1], sigma / 255)
    return torch.cat([x, level], dim=1)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_and_keys_equal_the_official_ones(name: str) -> None:
    golden = np.load(DATA / f"{name}_golden.npz")
    network = load_into(create_model(name), float(golden["gain"]))
    official = json.loads((DATA / f"{name}_keys.json").read_text())["keys"]
    assert [[key, list(value.shape)] for key, value in network.state_dict().items()] == [key[:2] for key in official]
    with torch.no_grad():
        x = torch.from_numpy(make_input(golden["seed"], golden["shape"]))
        error = np.abs(network(told(x)).numpy() - golden["out"])
    assert error.max() < 2e-5
    assert error.mean() < 3e-6


@pytest.mark.parametrize(
    ("name", "channels", "macs"), [("ffdnet_gray", 1, 7_936_671_744), ("ffdnet_color", 3, 13_943_439_360)]
)
def test_macs_match_the_specification(name: str, channels: int, macs: int) -> None:
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        create_model(name)(torch.empty(1, channels + 1, 256, 256))
    assert counter.get_total_flops() == 2 * macs


def test_the_first_pixel_of_each_cell_gives_the_level_of_the_noise() -> None:
    torch.manual_seed(0)
    network, x = create_model("ffdnet_color", width=4).eval(), image(3, 7, 9)
    noisy = told(x, 30.0)
    noisy[:, -1, 1::2] = noisy[:, -1, :, 1::2] = 0.9
    with torch.no_grad():
        assert torch.equal(network(noisy), network(told(x, 30.0)))
        assert not torch.equal(network(told(x, 15.0)), network(told(x, 30.0)))


def test_weights_for_8_bit_input_get_it() -> None:
    card = get_card("ffdnet_gray")
    noisy = torch.tensor([[[[-0.2, 0.1234, 1.3]]]])
    assert torch.equal(to_network(noisy, card.input, sigma=25.0)[:, :1], noisy)
    clipped = to_network(noisy, card.input_for({"clip": True}), sigma=25.0)
    torch.testing.assert_close(clipped, told(torch.tensor([[[[0.0, 31 / 255, 1.0]]]])))


def test_odd_sides_repeat_the_last_row_and_column() -> None:
    network, x = create_model("ffdnet_gray", width=4).eval(), image(1, 5, 7)
    with torch.no_grad():
        padded = network(told(F.pad(x, (0, 1, 0, 1), mode="replicate")))
        assert torch.equal(network(told(x)), padded[..., :5, :7])


def write_matconvnet(file: Path, kernels: list[np.ndarray], biases: list[np.ndarray]) -> None:
    """Write kernels (height, width, in, out), MATLAB's axes, as MATLAB v7.3 does: HDF5, all axes reversed."""
    with h5py.File(file, "w") as content:

        def layer(kind: str, arrays: list[np.ndarray]) -> h5py.Reference:
            group = content.create_group(f"#refs#/{len(content.require_group('#refs#'))}")
            group["type"] = np.array([[ord(letter)] for letter in kind], np.uint16)
            parts = [
                content["#refs#"].create_dataset(f"{group.name[7:]}p{i}", data=a.T).ref for i, a in enumerate(arrays)
            ]
            if arrays:
                group.create_dataset("weights", data=np.array([parts], h5py.ref_dtype).T, dtype=h5py.ref_dtype)
            else:
                group["weights"] = np.zeros(2, np.uint64)
            return group.ref

        layers = [layer("SubP", []), layer("concat", [])]
        for kernel, bias in zip(kernels, biases):
            # MATLAB has no trailing axes of length 1.
            layers += [
                layer("conv", [kernel[..., 0] if kernel.shape[3] == 1 else kernel, bias[:, None]]),
                layer("relu", []),
            ]
        content.create_dataset("net/layers", data=np.array([layers], h5py.ref_dtype).T, dtype=h5py.ref_dtype)


def matlab(x: np.ndarray, sigma: float, kernels: list[np.ndarray], biases: list[np.ndarray]) -> np.ndarray:
    """FFDNet on (height, width, channels), of even sides, literally as MATLAB numbers its elements: columns first."""
    height, width, channels = x.shape
    planes = [x[row::2, column::2, c] for c in range(channels) for column in (0, 1) for row in (0, 1)]
    maps = np.stack([*planes, np.full((height // 2, width // 2), sigma)], axis=-1)
    for index, (kernel, bias) in enumerate(zip(kernels, biases)):
        padded = np.pad(maps, ((1, 1), (1, 1), (0, 0)))
        maps = bias + sum(
            padded[r : r + height // 2, q : q + width // 2] @ kernel[r, q].astype(np.float64)
            for r in range(3)
            for q in range(3)
        )
        maps = maps if index == len(kernels) - 1 else np.maximum(maps, 0)
    out = np.empty_like(x)
    cells = [(c, column, row) for c in range(channels) for column in (0, 1) for row in (0, 1)]
    for plane, (c, column, row) in enumerate(cells):
        out[row::2, column::2, c] = maps[..., plane]
    return out


@pytest.mark.parametrize(("name", "channels", "depth"), [("ffdnet_gray", 1, 15), ("ffdnet_color", 3, 12)])
def test_a_matconvnet_file_runs_as_in_matlab_and_any_wrong_order_differs(tmp_path, name, channels, depth) -> None:
    draw, width = np.random.RandomState(3), 5
    sizes = [4 * channels + 1, *[width] * (depth - 1), 4 * channels]
    kernels = [
        (draw.standard_normal((3, 3, a, b)) * np.sqrt(2 / (9 * a))).astype(np.float32) for a, b in pairwise(sizes)
    ]
    biases = [(0.1 * draw.standard_normal(b)).astype(np.float32) for b in sizes[1:]]
    write_matconvnet(tmp_path / "net.mat", kernels, biases)
    x = draw.rand(10, 14, channels)
    expected = matlab(x, 40 / 255, kernels, biases)
    planes = torch.from_numpy(x.transpose(2, 0, 1)[None]).float()
    network = entry_of(name, tmp_path / "net.mat", {"width": width}).build()

    def error() -> float:
        with torch.no_grad():
            return float(np.abs(network(told(planes, 40.0))[0].numpy().transpose(1, 2, 0) - expected).max())

    assert error() < 1e-5
    right = {key: value.clone() for key, value in network.state_dict().items()}
    read = read_matconvnet(tmp_path / "net.mat")
    rows_first = {f"model.{2 * int(key.split('.')[1])}.{key.split('.')[2]}": value for key, value in read.items()}
    for state, turned in ((rows_first, False), (right, True), (rows_first, True)):
        network.load_state_dict({k: v.transpose(2, 3) if turned and v.ndim == 4 else v for k, v in state.items()})
        assert error() > 0.01


@pytest.mark.parametrize("content", ["empty", "other", "soft"])
def test_other_matlab_files_are_one_clear_line(tmp_path, content: str) -> None:
    file = tmp_path / "net.mat"
    if content == "empty":
        file.write_bytes(b"MATLAB 5.0 MAT-file")
    else:
        with h5py.File(file, "w") as made:
            made["x"] = 1
            if content == "soft":
                made["net"] = h5py.ExternalLink("elsewhere.mat", "/net")
    with pytest.raises(UserError, match=r"net\.mat is not a network of MatConvNet, MATLAB v7\.3 \("):
        entry_of("ffdnet_gray", file, {})


@pytest.mark.skipif(not (SHARED / "weights" / "denoisers").is_dir(), reason="needs the official weights")
@pytest.mark.parametrize("label", ["gray", "clip_gray", "color", "clip_color"])
def test_official_weights_give_the_official_images(label: str) -> None:
    golden = np.load(SHARED / "golden" / "denoisers" / "ffdnet_official_golden.npz")
    name = f"ffdnet_{label.removeprefix('clip_')}"
    file = SHARED / "weights" / "denoisers" / "ffdnet" / f"FFDNet_{label.replace('clip', 'Clip')}.mat"
    network = entry_of(name, file, {}).build()
    x = torch.from_numpy(make_input(1051, (1, 3 if "color" in label else 1, 47, 61)))
    noise = torch.from_numpy(golden[f"sigma255map:{label}"]).float().reshape(1, 1, 24, 31) / 255
    with torch.no_grad():
        for output, kind in ((network(told(x, 30.0)), "seeded"), (network(told(x, noise)), "map")):
            error = np.abs(output.numpy() - golden[f"{label}:{kind}"])
            assert error.max() < 1e-5
            assert error.mean() < 2e-6
