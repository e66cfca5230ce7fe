"""DPED: parity with the official TensorFlow graph, counts, sizes and the TensorFlow names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from tests.golden_rule import GAINS, fill, load_into, make_input
from zoo import create_model, get_card
from zoo.raw import apply_model

DATA = Path(__file__).parent / "data" / "networks"
KEYS = json.loads((DATA / "dped_keys.json").read_text(encoding="utf-8"))
GOLDEN_FAMILY = {"dped": "dped_raw", "dped_rgb": "dped"}
CHANNELS = {"dped": 4, "dped_rgb": 3}
SCALE = {"dped": 2, "dped_rgb": 1}

both = pytest.mark.parametrize("name", ["dped", "dped_rgb"])


def filled(name: str) -> torch.nn.Module:
    return load_into(create_model(name), GAINS[GOLDEN_FAMILY[name]])


def image(name: str, n: int, height: int, width: int) -> Tensor:
    return torch.from_numpy(make_input(7, (n, CHANNELS[name], height, width)))


def official_arrays() -> dict[str, np.ndarray]:
    """Return a stand-in for a TensorFlow checkpoint: seeded arrays of the official names and shapes."""
    rng = np.random.default_rng(0)
    return {
        name: rng.standard_normal(shape).astype(np.float32) * 0.05 for name, shape, _ in KEYS["tensorflow_variables"]
    }


@both
def test_output_equals_the_official_network(name: str) -> None:
    golden = np.load(DATA / f"{GOLDEN_FAMILY[name]}_golden.npz")
    with torch.no_grad():
        output = filled(name)(torch.from_numpy(make_input(golden["seed"], golden["shape"])))
    assert output.shape == tuple(golden["fullshape_out"])
    error = np.abs(output.numpy() - golden["out"])
    assert error.max() < 2e-5
    assert error.mean() < 3e-6


def test_keys_are_those_of_the_table() -> None:
    expected = [(key, tuple(shape)) for key, shape in KEYS["keys"]]
    rgb = create_model("dped_rgb").state_dict()
    assert [(key, tuple(value.shape)) for key, value in rgb.items()] == expected
    raw = {key: tuple(value.shape) for key, value in create_model("dped").state_dict().items()}
    changed = {"conv1.weight": (64, 4, 9, 9), "conv12.weight": (12, 64, 9, 9), "conv12.bias": (12,)}
    assert raw == {**dict(expected), **changed}


@both
def test_params_match_the_card(name: str) -> None:
    params = sum(p.numel() for p in create_model(name).parameters())
    assert params == get_card(name).params == {"dped": 453_324, "dped_rgb": 401_475}[name]


@pytest.mark.parametrize(
    ("name", "size", "macs"),
    [
        ("dped_rgb", (100, 100), 3_997_440_000),
        ("dped_rgb", (1536, 2048), 1_257_485_893_632),
        ("dped_rgb", (2976, 3968), 4_720_484_155_392),
        ("dped", (224, 224), 22_658_678_784),
        ("dped", (1488, 1984), 1_333_162_672_128),
        ("dped", (1536, 2048), 1_420_560_433_152),
    ],
)
def test_macs_match_the_specification(name: str, size: tuple[int, int], macs: int) -> None:
    with torch.device("meta"):
        model, x = create_model(name), torch.empty(1, CHANNELS[name], *size)
    with FlopCounterMode(display=False) as counter:
        model(x)
    assert counter.get_total_flops() == 2 * macs


@both
@pytest.mark.parametrize("size", [(1, 2), (2, 2), (9, 16), (33, 20)])
def test_any_size_keeps_its_scale_and_range(name: str, size: tuple[int, int]) -> None:
    with torch.no_grad():
        output = filled(name)(image(name, 1, *size))
    assert output.shape == (1, 3, SCALE[name] * size[0], SCALE[name] * size[1])
    assert output.min() >= 0.5 - 0.58
    assert output.max() <= 0.5 + 0.58


@both
def test_a_single_pixel_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"more than one pixel .*; got 1x1"):
        create_model(name)(torch.rand(1, CHANNELS[name], 1, 1))


@both
def test_a_batch_equals_its_samples(name: str) -> None:
    model, x = filled(name), image(name, 2, 24, 17)
    with torch.no_grad():
        torch.testing.assert_close(model(x), torch.cat([model(x[:1]), model(x[1:])]), atol=1e-5, rtol=0)


@both
def test_adapter_returns_the_promised_size(name: str) -> None:
    card = get_card(name)
    with torch.no_grad():
        output = apply_model(create_model(name), image(name, 1, 5, 7), card.input_for({}))
    assert output.shape == (1, 3, SCALE[name] * 5, SCALE[name] * 7)


@both
def test_every_parameter_gets_a_gradient(name: str) -> None:
    model = create_model(name)
    model(image(name, 1, 12, 12)).sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        # An instance norm removes the bias before it.
        if key not in {f"conv{layer}.bias" for layer in range(2, 10)}:
            assert parameter.grad.abs().sum() > 0, key


def test_norm_is_that_of_a_flat_image_with_the_official_eps() -> None:
    # var / (var + eps) at var = eps is 1/2: with another eps the scale would be visibly another one.
    norm = create_model("dped_rgb").get_submodule("norm2")
    x = torch.tensor([-1.0, 1.0]).mul(1e-3**0.5).expand(1, 64, 1, 2)
    torch.testing.assert_close(norm(x).abs(), torch.full((1, 64, 1, 2), 0.5**0.5))


@pytest.mark.parametrize("as_tensor", [False, True])
def test_tensorflow_variables_get_our_names_and_layout(as_tensor: bool) -> None:
    arrays = official_arrays()
    convert = get_card("dped_rgb").convert_checkpoint
    assert convert is not None
    state = convert({name: torch.from_numpy(array) if as_tensor else array for name, array in arrays.items()})
    create_model("dped_rgb").load_state_dict(state)
    assert len(state) == 40
    for name, _, key in KEYS["tensorflow_variables"]:
        array = arrays[name]
        expected = np.moveaxis(array, (3, 2), (0, 1)) if array.ndim == 4 else array
        assert torch.equal(state[key], torch.from_numpy(np.ascontiguousarray(expected))), key


def test_imported_tensorflow_weights_give_the_official_output() -> None:
    values = fill({key: tuple(shape) for key, shape in KEYS["keys"]}, GAINS["dped"])
    arrays = {name: values[key] for name, _, key in KEYS["tensorflow_variables"]}
    kernels = {name: array.transpose(2, 3, 1, 0) for name, array in arrays.items() if array.ndim == 4}
    convert = get_card("dped_rgb").convert_checkpoint
    assert convert is not None
    model = create_model("dped_rgb")
    model.load_state_dict(convert({**arrays, **kernels}))
    golden = np.load(DATA / "dped_golden.npz")
    with torch.no_grad():
        output = model(torch.from_numpy(make_input(golden["seed"], golden["shape"])))
    assert np.abs(output.numpy() - golden["out"]).max() < 2e-5


def test_imported_kernels_act_as_in_tensorflow() -> None:
    # conv12 at the centre of an image with one lit pixel, written with TensorFlow's index order.
    arrays = official_arrays()
    convert = get_card("dped_rgb").convert_checkpoint
    assert convert is not None
    model = create_model("dped_rgb")
    model.load_state_dict(convert(dict(arrays)))
    x = torch.zeros(1, 64, 9, 9)
    x[0, 5, 2, 6] = 1.0
    centre = model.get_submodule("conv12")(x)[0, :, 4, 4].detach().numpy()
    np.testing.assert_allclose(centre, arrays["generator/W12"][2, 6, 5] + arrays["generator/b12"], rtol=1e-5)


def test_our_own_keys_pass_the_conversion_unchanged() -> None:
    convert = get_card("dped_rgb").convert_checkpoint
    assert convert is not None
    state = dict(create_model("dped_rgb").state_dict())
    converted = convert(state)
    assert list(converted) == list(state)
    assert all(converted[key] is state[key] for key in state)


def test_unknown_variables_are_kept_for_the_strict_loader() -> None:
    convert = get_card("dped_rgb").convert_checkpoint
    assert convert is not None
    assert set(convert({"generator/W1": np.zeros((9, 9, 3, 64), np.float32), "beta1_power": np.zeros(1)})) == {
        "conv1.weight",
        "beta1_power",
    }


def test_a_narrow_dped_costs_about_as_much_as_unet_w8() -> None:
    costs = []
    for name, options in (("dped", {"width": 6}), ("unet_w8", {})):
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            create_model(name, **options)(torch.zeros(1, 4, 96, 96))
        costs.append(counter.get_total_flops())
    assert 0.8 < costs[0] / costs[1] < 1.25
