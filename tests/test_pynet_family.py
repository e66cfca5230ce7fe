"""PyNET and PyNET-CA: parity with the official networks at every level, counts, sizes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from tests.golden_rule import GAINS, load_into, make_input
from zoo import create_model, get_card
from zoo.errors import UserError
from zoo.models.pynet import PyNet
from zoo.models.pynet_ca import PyNetCA
from zoo.pyramid import LevelOutputs
from zoo.raw import apply_model, to_network

DATA = Path(__file__).parent / "data" / "networks"
LEVELS = range(6)
Network = PyNet | PyNetCA


@dataclass(frozen=True)
class Family:
    """What is known of a family: tolerances of its golden file, MACs of levels 0 to 5, FLOPs [T] at 12 MP."""

    name: str
    network: type[Network]
    fields: tuple[str, ...]
    max_error: float
    mean_error: float
    macs_224: tuple[int, ...]
    macs_1488: tuple[int, ...]
    tflops: tuple[float, float]


PYNET = Family(
    "pynet",
    PyNet,
    LevelOutputs._fields,
    # Instance norms over 4x4 maps amplify rounding: the golden README's tolerances, for every level.
    max_error=6e-4,
    mean_error=6e-5,
    macs_224=(342_215_272_448, 342_128_568_320, 126_391_035_904, 40_461_625_344, 15_325_857_792, 7_921_686_528),
    macs_1488=(
        20_134_829_193_216,
        20_129_727_805_440,
        7_436_435_847_168,
        2_380_629_915_648,
        901_723_428_864,
        466_086_168_576,
    ),
    tflops=(42.9, 43.0),
)
PYNET_CA = Family(
    "pynet_ca",
    PyNetCA,
    LevelOutputs._fields,
    # The golden README's tolerances of level 0, for every level.
    max_error=2e-4,
    mean_error=3e-5,
    macs_224=(358_052_937_728, 341_166_497_792, 124_525_742_080, 38_607_030_272, 13_476_386_816, 6_074_269_696),
    macs_1488=(
        21_066_467_655_680,
        20_072_925_143_040,
        7_326_493_673_472,
        2_271_325_276_160,
        792_737_331_200,
        357_258_833_920,
    ),
    tflops=(44.8, 45.0),
)


@pytest.fixture(scope="module", params=[PYNET, PYNET_CA], ids=lambda family: family.name)
def family(request: pytest.FixtureRequest) -> Family:
    return request.param


def on_meta(family: Family, level: int) -> Network:
    with torch.device("meta"):
        model = create_model(family.name, level=level)
    assert isinstance(model, family.network)
    return model


def at_level(family: Family, model: Network, level: int) -> Network:
    """Return a network of another level that shares the weights of ``model``: drawing them again is slow."""
    other = on_meta(family, level)
    other.load_state_dict(model.state_dict(), assign=True)
    return other.eval()


def image(seed: int, n: int, height: int, width: int) -> Tensor:
    return torch.from_numpy(make_input(seed, (n, 4, height, width)))


def count_macs(model: Network, height: int, width: int) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(1, 4, height, width, device="meta"))
    return counter.get_total_flops() // 2


def assert_golden(family: Family, output: Tensor, golden: dict[str, np.ndarray], level: int) -> None:
    assert tuple(output.shape) == tuple(golden[f"fullshape_level{level}"])
    error = np.abs(output.numpy() - golden[f"level{level}"])
    assert error.max() < family.max_error
    assert error.mean() < family.mean_error


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    # The golden files come from one thread, and small convolutions on busy cores are ten times slower with more.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def golden(family: Family) -> dict[str, np.ndarray]:
    return dict(np.load(DATA / f"{family.name}_golden.npz"))


@pytest.fixture(scope="module")
def filled(family: Family) -> Network:
    model = create_model(family.name)
    assert isinstance(model, family.network)
    load_into(model, GAINS[family.name])
    return model


@pytest.mark.parametrize("level", LEVELS)
def test_forward_equals_the_official_network(
    family: Family, filled: Network, golden: dict[str, np.ndarray], level: int
) -> None:
    with torch.no_grad():
        output = at_level(family, filled, level)(torch.from_numpy(make_input(golden["seed"], golden["shape"])))
    assert_golden(family, output, golden, level)


def test_all_outputs_equal_the_official_network(family: Family, filled: Network, golden: dict[str, np.ndarray]) -> None:
    with torch.no_grad():
        outputs = filled.all_outputs(torch.from_numpy(make_input(golden["seed"], golden["shape"])))
    assert outputs._fields == family.fields == tuple(f"level{level}" for level in reversed(LEVELS))
    for level in LEVELS:
        assert_golden(family, getattr(outputs, f"level{level}"), golden, level)


def test_all_outputs_do_not_depend_on_the_level(family: Family, filled: Network) -> None:
    x = image(1, 1, 32, 32)
    with torch.no_grad():
        for ours, theirs in zip(at_level(family, filled, 3).all_outputs(x), filled.all_outputs(x)):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("level", LEVELS)
def test_keys_are_the_official_ones_at_every_level(family: Family, level: int) -> None:
    model = on_meta(family, level)
    expected = json.loads((DATA / f"{family.name}_keys.json").read_text(encoding="utf-8"))
    # An entry with a third element would be a buffer; they have none.
    assert [[key, list(value.shape)] for key, value in model.state_dict().items()] == expected["keys"]
    assert not list(model.buffers())
    assert sum(p.numel() for p in model.parameters()) == get_card(family.name).params == expected["n_parameters"]


@pytest.mark.parametrize("level", LEVELS)
def test_macs_are_those_of_the_specification(family: Family, level: int) -> None:
    model = on_meta(family, level)
    assert count_macs(model, 224, 224) == family.macs_224[level]
    assert count_macs(model, 1488, 1984) == family.macs_1488[level]


def test_flops_of_a_12_mp_image_are_those_of_table_1(family: Family) -> None:
    low, high = family.tflops
    assert low * 1e12 < 2 * count_macs(on_meta(family, 0), 1536, 2048) < high * 1e12


def test_batch_of_two_equals_two_singles(family: Family, filled: Network) -> None:
    x = image(2, 2, 48, 80)
    with torch.no_grad():
        batch, singles = filled(x), torch.cat([filled(x[:1]), filled(x[1:])])
    assert batch.shape == (2, 3, 96, 160)
    torch.testing.assert_close(batch, singles, rtol=0, atol=family.max_error)


@pytest.mark.parametrize("level", LEVELS)
def test_adapter_pads_and_crops_to_the_scale_of_the_level(family: Family, filled: Network, level: int) -> None:
    spec = get_card(family.name).input_for({"level": level})
    assert spec.output_scale == 2 / 2**level
    with torch.no_grad():
        output = apply_model(at_level(family, filled, level), image(3, 1, 32, 40), spec)
    assert output.shape == (1, 3, 64 >> level, round(80 / 2**level))
    assert 0 < output.min() < output.max() < 1


def test_pynet_divides_counts_by_1020_without_black_level() -> None:
    planes = to_network(torch.full((1, 1, 64, 64), 1023.0), get_card("pynet").input, black=64.0)
    assert planes.unique().item() == pytest.approx(1023 / 1020)


def test_pynet_ca_is_mapped_to_and_from_its_range() -> None:
    spec = get_card("pynet_ca").input_for({"level": 5})
    model = create_model("pynet_ca", level=5).eval()
    planes = to_network(torch.tensor([0.0, 1023.0]).repeat(1, 1, 64, 32), spec, black=64.0)
    assert planes.unique().tolist() == [-1, 1]
    with torch.no_grad():
        output = apply_model(model, planes, spec)
        assert torch.equal(output, (model(planes) + 1) / 2)


def test_training_mode_gives_the_same_image(family: Family, filled: Network) -> None:
    # Instance norm takes its statistics from the image in both modes.
    x = image(4, 1, 32, 32)
    with torch.no_grad():
        expected = filled(x)
        trained = filled.train()(x)
    filled.eval()
    assert torch.equal(trained, expected)


def test_every_parameter_gets_a_finite_gradient(family: Family, filled: Network) -> None:
    torch.stack([output.sum() for output in filled.all_outputs(image(5, 1, 32, 32))]).sum().backward()
    assert [name for name, p in filled.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    filled.zero_grad(set_to_none=True)


@pytest.mark.parametrize(("height", "width"), [(40, 48), (48, 40), (16, 64), (64, 16), (0, 32)])
def test_sizes_it_cannot_take_are_refused(family: Family, height: int, width: int) -> None:
    model, x = on_meta(family, 0), torch.empty(1, 4, height, width, device="meta")
    for run in (model, model.all_outputs):
        with pytest.raises(ValueError, match=f"multiples of 16, at least 32; got {height}x{width}"):
            run(x)


@pytest.mark.parametrize("level", [-1, 6])
def test_unknown_level_is_refused(family: Family, level: int) -> None:
    with pytest.raises(UserError, match=f"{family.name} has no level {level}; expected 0 .* to 5"):
        create_model(family.name, level=level)
