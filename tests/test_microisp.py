"""MicroISP: parity with the official TensorFlow graph, counts, sizes, attention and the TensorFlow names."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from benchmark.costs.profiling import profile
from tests.golden_rule import GAINS, fill, load_into, make_input
from zoo import UserError, create_model, get_card
from zoo.models.microisp import Attention, tensorflow_names
from zoo.raw import apply_model, to_network
from zoo.weights import official_state, read_checkpoint

DATA = Path(__file__).parent / "data" / "networks"
KEYS = json.loads((DATA / "microisp_keys.json").read_text(encoding="utf-8"))


def filled() -> nn.Module:
    return load_into(create_model("microisp"), GAINS["microisp"])


def planes(n: int, height: int, width: int) -> Tensor:
    return torch.from_numpy(make_input(7, (n, 4, height, width)))


def variables(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return values under our keys as TensorFlow stores them."""
    stored = {}
    for name, shape, key in KEYS["tensorflow_variables"]:
        value = values[key]
        stored[name] = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.reshape(shape)
        assert list(stored[name].shape) == list(shape)
    return stored


def by_rule() -> dict[str, np.ndarray]:
    return fill({key: tuple(shape) for key, shape in KEYS["keys"]}, GAINS["microisp"])


def test_output_equals_the_official_network() -> None:
    golden = np.load(DATA / "microisp_golden.npz")
    with torch.no_grad():
        output = filled()(torch.from_numpy(make_input(golden["seed"], golden["shape"])))
    assert output.shape == tuple(golden["fullshape_out"])
    error = np.abs(output.numpy() - golden["out"])
    assert error.max() < 5e-6
    assert error.mean() < 5e-7


def test_keys_and_names_are_those_of_the_table() -> None:
    state = {key: list(value.shape) for key, value in create_model("microisp").state_dict().items()}
    assert state == {key: shape for key, shape, *_ in KEYS["keys"]}
    assert tensorflow_names() == {name: key for name, _, key in KEYS["tensorflow_variables"]}


def test_tensorflow_variables_through_import_and_infer_give_the_official_output(zoo_bench, tmp_path) -> None:
    np.savez(tmp_path / "official.npz", **variables(by_rule()))
    golden = np.load(DATA / "microisp_golden.npz")
    np.save(tmp_path / "planes.npy", make_input(golden["seed"], golden["shape"]))
    imported = tmp_path / "w.safetensors"
    outcome = zoo_bench("weights", "import", "microisp", tmp_path / "official.npz", "-o", imported)
    assert outcome.code == 0, outcome.err
    flags = ("--weights", imported, "-o", tmp_path / "out")
    assert zoo_bench("infer", "microisp", tmp_path / "planes.npy", *flags).code == 0
    assert np.abs(np.load(tmp_path / "out" / "planes.npy") - golden["out"]).max() < 5e-6


def test_our_own_keys_pass_the_conversion_unchanged() -> None:
    convert = get_card("microisp").convert_checkpoint
    assert convert is not None
    state = dict(create_model("microisp").state_dict())
    converted = convert(state)
    assert list(converted) == list(state)
    assert all(converted[key] is state[key] for key in state)


@pytest.mark.parametrize(
    ("size", "macs"), [((224, 224), 349_094_400), ((1536, 2048), 21_885_132_672), ((1500, 2000), 20_871_492_096)]
)
def test_macs_and_parameters_equal_the_specification(size: tuple[int, int], macs: int) -> None:
    document = profile("microisp", size=size)
    assert (document["macs"], document["params"]) == (macs, 13_560)


@pytest.mark.parametrize("size", [(79, 79), (79, 130), (101, 83)])
def test_any_size_from_79_on_keeps_its_scale_and_range(size: tuple[int, int]) -> None:
    with torch.no_grad():
        output = apply_model(filled(), planes(2, *size), get_card("microisp").input)
    assert output.shape == (2, 3, 2 * size[0], 2 * size[1])
    assert output.min() >= 0.5 - 0.58
    assert output.max() <= 0.5 + 0.58


@pytest.mark.parametrize("size", [(78, 200), (200, 78)])
def test_smaller_planes_are_refused(size: tuple[int, int]) -> None:
    height, width = size
    with pytest.raises(ValueError, match=f"at least 79x79; got {height}x{width}"):
        create_model("microisp")(planes(1, *size))
    with pytest.raises(UserError, match="at least 79x79"):
        apply_model(create_model("microisp"), planes(1, *size), get_card("microisp").input)


def test_attention_looks_at_the_first_position_of_each_window_and_drops_the_rest() -> None:
    torch.manual_seed(1)
    attention, x = Attention(), torch.rand(1, 4, 90, 82, requires_grad=True)
    attention(x).sum().backward()
    assert x.grad is not None
    rows = x.grad.abs().amax(dim=(0, 1, 3)).nonzero().flatten().tolist()
    columns = x.grad.abs().amax(dim=(0, 1, 2)).nonzero().flatten().tolist()
    # 90 -> 30 -> 10 -> 3 -> 1: only the first 27 positions of every third row count.
    assert rows == columns == list(range(0, 81, 3))


@torch.no_grad()
def test_colours_never_mix() -> None:
    network = filled()
    before = network(planes(1, 79, 80))
    network.get_parameter("stages.0.1.conv.0.bias").add_(1.0)
    changed = (network(planes(1, 79, 80)) - before).abs().amax(dim=(0, 2, 3))
    assert changed[1] > 1e-4
    assert (changed[0], changed[2]) == (0, 0)


@pytest.fixture
def shared() -> Path:
    folder = os.environ.get("ZOO_BENCH_SHARED", "")
    if not folder or not Path(folder, "weights", "compact_isp").is_dir():
        pytest.skip("no official weights: set ZOO_BENCH_SHARED to the folder that has weights/compact_isp")
    return Path(folder)


def test_official_weights_give_the_official_pictures(shared: Path) -> None:
    card, network = get_card("microisp"), create_model("microisp").eval()
    file = shared / "weights" / "compact_isp" / "microisp__ultraisp_tf_variables.npz"
    network.load_state_dict(official_state(card, read_checkpoint(file)))
    golden = np.load(shared / "golden" / "compact_isp" / "microisp_trained_golden.npz")
    seeded = make_input(golden["seed_microisp"], golden["shape_microisp"])
    inputs = {"seeded": torch.from_numpy(seeded)}
    for pair in (10, 15):
        mosaic = np.array(Image.open(shared / "data" / "ultraisp_sample" / f"raw_{pair}.png")).astype(np.float32)
        # The counts stay multiplied by 4, as the files hold them and as the network was trained.
        inputs[f"pair{pair}"] = to_network(torch.from_numpy(mosaic)[None, None], card.input, black=256.0, white=4092.0)
    psnr = {}
    for name, x in inputs.items():
        with torch.no_grad():
            output = network(x).numpy()
        stride = int(golden[f"stride_microisp__ultraisp.{name}"])
        error = np.abs(output[..., ::stride, ::stride] - golden[f"microisp__ultraisp.{name}"])
        assert (error.max() < 1e-5, error.mean() < 2e-6) == (True, True), name
        if name != "seeded":
            target = np.array(Image.open(shared / "data" / "ultraisp_sample" / f"rgb_{name[4:]}.png")) / 255
            difference = np.clip(output[0].transpose(1, 2, 0), 0, 1) - target
            psnr[name] = -10 * np.log10(np.mean(difference**2))
    assert psnr == pytest.approx({"pair10": 18.76, "pair15": 29.10}, abs=0.01)
