"""PyNET: parity with the official network at every level, counts, sizes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from tests.golden_rule import GAINS, load_into, make_input
from zoo import create_model, get_card
from zoo.errors import UserError
from zoo.models.pynet import PyNet, PyNetOutputs
from zoo.raw import apply_model, to_network

DATA = Path(__file__).parent / "data" / "networks"
LEVELS = range(6)
# Instance norms over 4x4 maps amplify rounding: the golden README's tolerances, for every level.
MAX_ERROR, MEAN_ERROR = 6e-4, 6e-5

# MACs of levels 0 to 5 of the specification.
MACS_224 = (342_215_272_448, 342_128_568_320, 126_391_035_904, 40_461_625_344, 15_325_857_792, 7_921_686_528)
MACS_1488 = (
    20_134_829_193_216,
    20_129_727_805_440,
    7_436_435_847_168,
    2_380_629_915_648,
    901_723_428_864,
    466_086_168_576,
)


def on_meta(level: int) -> PyNet:
    with torch.device("meta"):
        model = create_model("pynet", level=level)
    assert isinstance(model, PyNet)
    return model


def at_level(model: PyNet, level: int) -> PyNet:
    """Return a network of another level that shares the weights of ``model``: drawing them again is slow."""
    other = on_meta(level)
    other.load_state_dict(model.state_dict(), assign=True)
    return other.eval()


def image(seed: int, n: int, height: int, width: int) -> Tensor:
    return torch.from_numpy(make_input(seed, (n, 4, height, width)))


def count_macs(model: PyNet, height: int, width: int) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(1, 4, height, width, device="meta"))
    return counter.get_total_flops() // 2


def assert_golden(output: Tensor, golden: dict[str, np.ndarray], level: int) -> None:
    assert tuple(output.shape) == tuple(golden[f"fullshape_level{level}"])
    error = np.abs(output.numpy() - golden[f"level{level}"])
    assert error.max() < MAX_ERROR
    assert error.mean() < MEAN_ERROR


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    # The golden files come from one thread, and small convolutions on busy cores are ten times slower with more.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    return dict(np.load(DATA / "pynet_golden.npz"))


@pytest.fixture(scope="module")
def filled() -> PyNet:
    model = create_model("pynet")
    assert isinstance(model, PyNet)
    load_into(model, GAINS["pynet"])
    return model


@pytest.mark.parametrize("level", LEVELS)
def test_forward_equals_the_official_network(filled: PyNet, golden: dict[str, np.ndarray], level: int) -> None:
    with torch.no_grad():
        output = at_level(filled, level)(torch.from_numpy(make_input(golden["seed"], golden["shape"])))
    assert_golden(output, golden, level)


def test_all_outputs_equal_the_official_network(filled: PyNet, golden: dict[str, np.ndarray]) -> None:
    with torch.no_grad():
        outputs = filled.all_outputs(torch.from_numpy(make_input(golden["seed"], golden["shape"])))
    assert outputs._fields == PyNetOutputs._fields == tuple(f"level{level}" for level in reversed(LEVELS))
    for level in LEVELS:
        assert_golden(getattr(outputs, f"level{level}"), golden, level)


def test_all_outputs_do_not_depend_on_the_level(filled: PyNet) -> None:
    x = image(1, 1, 32, 32)
    with torch.no_grad():
        for ours, theirs in zip(at_level(filled, 3).all_outputs(x), filled.all_outputs(x)):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("level", LEVELS)
def test_keys_are_the_official_ones_at_every_level(level: int) -> None:
    model = on_meta(level)
    expected = json.loads((DATA / "pynet_keys.json").read_text(encoding="utf-8"))
    # An entry with a third element would be a buffer; PyNET has none.
    assert [[key, list(value.shape)] for key, value in model.state_dict().items()] == expected["keys"]
    assert not list(model.buffers())
    assert sum(p.numel() for p in model.parameters()) == get_card("pynet").params == expected["n_parameters"]


@pytest.mark.parametrize("level", LEVELS)
def test_macs_are_those_of_the_specification(level: int) -> None:
    model = on_meta(level)
    assert count_macs(model, 224, 224) == MACS_224[level]
    assert count_macs(model, 1488, 1984) == MACS_1488[level]


def test_flops_of_a_12_mp_image_are_those_of_table_1() -> None:
    assert 42.9e12 < 2 * count_macs(on_meta(0), 1536, 2048) < 43.0e12


def test_batch_of_two_equals_two_singles(filled: PyNet) -> None:
    x = image(2, 2, 48, 80)
    with torch.no_grad():
        batch, singles = filled(x), torch.cat([filled(x[:1]), filled(x[1:])])
    assert batch.shape == (2, 3, 96, 160)
    torch.testing.assert_close(batch, singles, rtol=0, atol=MAX_ERROR)


@pytest.mark.parametrize("level", LEVELS)
def test_adapter_pads_and_crops_to_the_scale_of_the_level(filled: PyNet, level: int) -> None:
    spec = get_card("pynet").input_for({"level": level})
    assert spec.output_scale == 2 / 2**level
    with torch.no_grad():
        output = apply_model(at_level(filled, level), image(3, 1, 32, 40), spec)
    assert output.shape == (1, 3, 64 >> level, round(80 / 2**level))
    assert 0 < output.min() < output.max() < 1


def test_counts_are_divided_by_1020_without_black_level() -> None:
    planes = to_network(torch.full((1, 1, 64, 64), 1023.0), get_card("pynet").input, black=64.0)
    assert planes.unique().item() == pytest.approx(1023 / 1020)


def test_training_mode_gives_the_same_image(filled: PyNet) -> None:
    # Instance norm takes its statistics from the image in both modes.
    x = image(4, 1, 32, 32)
    with torch.no_grad():
        expected = filled(x)
        trained = filled.train()(x)
    filled.eval()
    assert torch.equal(trained, expected)


def test_every_parameter_gets_a_finite_gradient(filled: PyNet) -> None:
    torch.stack([output.sum() for output in filled.all_outputs(image(5, 1, 32, 32))]).sum().backward()
    assert [name for name, p in filled.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    filled.zero_grad(set_to_none=True)


@pytest.mark.parametrize(("height", "width"), [(40, 48), (48, 40), (16, 64), (64, 16), (0, 32)])
def test_sizes_it_cannot_take_are_refused(height: int, width: int) -> None:
    model, x = on_meta(0), torch.empty(1, 4, height, width, device="meta")
    for run in (model, model.all_outputs):
        with pytest.raises(ValueError, match=f"multiples of 16, at least 32; got {height}x{width}"):
            run(x)


@pytest.mark.parametrize("level", [-1, 6])
def test_unknown_level_is_refused(level: int) -> None:
    with pytest.raises(UserError, match=f"pynet has no level {level}; expected 0 .* to 5"):
        create_model("pynet", level=level)
