"""SPADE against the official network's outputs, keys and counts, and what the bare module promises."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from tests.golden_rule import load_into, make_input
from zoo import create_model, get_card
from zoo.models.spade import SPADEGenerator, SpectralConv2d, convert_checkpoint
from zoo.raw import apply_model

DATA = Path(__file__).parent / "data" / "networks"


@pytest.fixture(scope="module")
def golden() -> Any:
    with np.load(DATA / "spade_golden.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def net(golden: Any) -> Any:
    return load_into(create_model("spade"), float(golden["gain"]))


def _on_meta(map_channels: int = 4) -> SPADEGenerator:
    with torch.device("meta"):
        return SPADEGenerator(64, map_channels=map_channels).eval()


def _planes(n: int, height: int, width: int) -> Tensor:
    return torch.from_numpy(make_input(7, (n, 4, height, width)))


def test_output_equals_the_official_one(net: Any, golden: Any) -> None:
    with torch.no_grad():
        ours = net(torch.from_numpy(make_input(golden["seed"], golden["shape"]))).numpy()
    assert ours.shape == tuple(golden["fullshape_out"])
    error = np.abs(ours - golden["out"])
    assert error.max() < 5e-5
    assert error.mean() < 1e-5


def test_keys_shapes_and_buffers_are_the_official_ones() -> None:
    net = _on_meta()
    buffers = {name for name, _ in net.named_buffers()}
    ours = [(name, list(value.shape), name in buffers) for name, value in net.state_dict().items()]
    official = json.loads((DATA / "spade_keys.json").read_text())["keys"]
    assert ours == [(name, shape, bool(kind)) for name, shape, *kind in official]


def test_label_maps_give_the_shapes_of_the_official_coco_network() -> None:
    shapes = {name: list(value.shape) for name, value in _on_meta(184).state_dict().items()}
    changed = json.loads((DATA / "spade_keys.json").read_text())["coco_shapes"]
    assert all(shapes[name] == shape for name, shape in changed)
    raw = {name: list(value.shape) for name, value in _on_meta().state_dict().items()}
    assert {name for name in shapes if shapes[name] != raw[name]} == {name for name, _ in changed}


@pytest.mark.parametrize(
    ("map_channels", "height", "width", "params", "macs"),
    [
        (4, 224, 224, 92_089_539, 418_488_111_104),
        (4, 1488, 1984, 92_089_539, 24_622_473_965_568),
        (4, 1536, 2048, 92_089_539, 26_236_642_394_112),
        (184, 128, 128, 97_480_899, 191_140_069_376),
        (184, 256, 256, 97_480_899, 764_560_277_504),
        (36, 128, 256, 93_048_003, 292_672_897_024),
    ],
)
def test_counts_are_the_official_ones(map_channels: int, height: int, width: int, params: int, macs: int) -> None:
    net = _on_meta(map_channels)
    assert sum(p.numel() for p in net.parameters()) == params
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.empty(1, map_channels, height, width, device="meta"))
    assert counter.get_total_flops() == 2 * macs


def test_card_states_params_and_ranges() -> None:
    card = get_card("spade")
    assert card.params == sum(p.numel() for p in _on_meta().parameters())
    assert (card.input.multiple, card.input.min_size, card.input.output_scale) == (16, 16, 2.0)
    assert (card.input.input_range, card.input.output_range) == ((0.0, 1.0), (-1.0, 1.0))


def test_adapter_pads_crops_and_maps_to_0_1(net: Any) -> None:
    x = _planes(1, 27, 30)
    with torch.no_grad():
        mapped = apply_model(net, x, get_card("spade").input)
        bare = net(torch.nn.functional.pad(x, (0, 2, 0, 5), mode="reflect"))
    torch.testing.assert_close(mapped, (bare[..., :54, :60] + 1) / 2)
    assert bare.min() < 0
    assert mapped.min() >= 0


def test_batch_equals_singles(net: Any) -> None:
    x = _planes(2, 32, 16)
    with torch.no_grad():
        torch.testing.assert_close(net(x), torch.cat([net(x[:1]), net(x[1:])]), rtol=0, atol=2e-5)


@pytest.mark.parametrize("size", [(16, 16), (16, 48), (48, 32)])
def test_other_sizes_run(net: Any, size: tuple[int, int]) -> None:
    with torch.no_grad():
        out = net(_planes(1, *size))
    assert out.shape == (1, 3, 2 * size[0], 2 * size[1])
    assert out.abs().max() <= 1


@pytest.mark.parametrize("size", [(24, 32), (32, 24), (8, 8), (0, 16)])
def test_other_multiples_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"multiples of 16, at least 16; got {size[0]}x{size[1]}"):
        _on_meta()(torch.empty(1, 4, *size, device="meta"))


def test_every_parameter_gets_a_gradient(net: Any) -> None:
    net.zero_grad(set_to_none=True)
    net(_planes(1, 16, 16)).sum().backward()
    gradients = {name: p.grad for name, p in net.named_parameters()}
    net.zero_grad(set_to_none=True)
    assert [name for name, gradient in gradients.items() if gradient is None] == []
    assert all(bool(gradient.isfinite().all()) for gradient in gradients.values() if gradient is not None)


def test_fresh_network_is_finite_in_evaluation() -> None:
    net = create_model("spade", width=4).eval()
    with torch.no_grad():
        assert net(_planes(1, 16, 16)).isfinite().all()
    assert all(layer.bias is None or not layer.bias.any() for layer in net.modules() if hasattr(layer, "bias"))


def test_network_is_copied_after_it_ran() -> None:
    net = create_model("spade", width=2)
    net(_planes(2, 16, 16)).sum().backward()
    x = _planes(1, 16, 16)
    torch.testing.assert_close(copy.deepcopy(net).eval()(x), net.eval()(x), rtol=0, atol=0)


def test_evaluation_leaves_the_singular_vectors() -> None:
    conv = SpectralConv2d(3, 5, 3).eval()
    before = copy.deepcopy(conv.state_dict())
    conv(torch.rand(1, 3, 4, 4))
    assert all(torch.equal(before[name], value) for name, value in conv.state_dict().items())


def test_evaluation_divides_by_the_stored_vectors() -> None:
    torch.manual_seed(0)
    conv = SpectralConv2d(3, 5, 3).eval()
    conv.weight_u.copy_(torch.linspace(0.1, 1, 5))
    conv.weight_v.copy_(torch.linspace(1, 2, 27))
    sigma = conv.weight_u @ conv.weight_orig.reshape(5, 27) @ conv.weight_v
    x = torch.rand(1, 3, 4, 4)
    expected = torch.nn.functional.conv2d(x, conv.weight_orig, padding=1) / sigma
    torch.testing.assert_close(conv(x), expected)


def test_training_takes_one_power_iteration_per_pass() -> None:
    conv = SpectralConv2d(3, 5, 3)
    matrix, u = conv.weight_orig.detach().reshape(5, 27), conv.weight_u.clone()
    for _ in range(2):
        conv(torch.rand(1, 3, 4, 4))
        v = matrix.T @ u / (matrix.T @ u).norm()
        u = matrix @ v / (matrix @ v).norm()
        torch.testing.assert_close(conv.weight_v, v)
        torch.testing.assert_close(conv.weight_u, u)


def test_two_training_passes_before_one_backward_pass() -> None:
    conv = SpectralConv2d(3, 5, 3)
    (conv(torch.rand(1, 3, 4, 4)) + conv(torch.rand(1, 3, 4, 4))).sum().backward()
    assert conv.weight_orig.grad is not None


def test_files_without_singular_vectors_are_completed() -> None:
    net = create_model("spade", width=2).eval()
    state = net.state_dict()
    old = {}
    for name, value in state.items():
        if not name.endswith("weight_v"):
            old[name] = value
        else:
            stem = name.removesuffix("_v")
            old[stem] = state[f"{stem}_orig"] / (
                state[f"{stem}_u"] @ state[f"{stem}_orig"].flatten(1) @ state[f"{stem}_v"]
            )
    restored = create_model("spade", width=2).eval()
    restored.load_state_dict(convert_checkpoint(old))
    x = _planes(1, 16, 16)
    torch.testing.assert_close(restored(x), net(x))


def test_current_files_are_left_as_they_are() -> None:
    state = create_model("spade", width=2).state_dict()
    converted = convert_checkpoint(state)
    assert list(converted) == list(state)
    assert all(converted[name] is state[name] for name in state)
