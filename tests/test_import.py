"""Official checkpoints, in their published wrappings, through `weights import` and `infer`, to the golden outputs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from tests.golden_rule import GAINS, fill, make_input
from zoo import create_model
from zoo.weights import read_checkpoint

DATA = Path(__file__).parent / "data" / "networks"


def prefixed(state: dict) -> dict:
    return {f"module.{key}": value for key, value in state.items()}


# model, golden family, its key list, output for `forward`, how the published file is wrapped, max and mean abs error
CASES = [
    ("pynet", "pynet", "pynet", "level0", prefixed, 6e-4, 6e-5),
    (
        "pynet_ca",
        "pynet_ca",
        "pynet_ca",
        "level0",
        lambda state: {"model": state, "epoch": 3, "psnr": np.float64(21.2), "optim": {"state": {}}},
        2e-4,
        3e-5,
    ),
    ("awnet_4ch", "awnet", "awnet", "out", lambda state: {"model_state": prefixed(state), "lr": 1e-4}, 5e-6, 1e-6),
    ("spade", "spade", "spade", "out", lambda state: state, 5e-5, 1e-5),
    ("unet", "unet", "unet", "out", lambda state: state, 1e-5, 2e-6),
    ("dped_rgb", "dped", "dped", "out", lambda state: state, 2e-5, 3e-6),
    ("dped", "dped_raw", None, "out", lambda state: state, 2e-5, 3e-6),
]


def official_state(family: str, keys: str | None, model: str) -> dict[str, torch.Tensor]:
    """The weights by rule under the official names and shapes; counters as torch writes them."""
    if keys is None:
        shapes = {key: tuple(value.shape) for key, value in create_model(model).state_dict().items()}
    else:
        shapes = {key: tuple(shape) for key, shape, *_ in json.loads((DATA / f"{keys}_keys.json").read_text())["keys"]}
    state = {key: torch.from_numpy(value) for key, value in fill(shapes, GAINS[family]).items()}
    return state | {key: torch.tensor(0) for key in shapes if key.endswith("num_batches_tracked")}


@pytest.mark.thorough
def test_golden_outputs_through_the_import_path(zoo_bench, tmp_path) -> None:
    for model, family, keys, output, wrap, most, mean in CASES:
        golden = np.load(DATA / f"{family}_golden.npz")
        torch.save(wrap(official_state(family, keys, model)), tmp_path / "official.pth")
        imported = tmp_path / f"{model}.safetensors"
        assert zoo_bench("weights", "import", model, tmp_path / "official.pth", "-o", imported).code == 0
        np.save(tmp_path / f"{model}.npy", make_input(golden["seed"], golden["shape"]))
        outcome = zoo_bench("infer", model, tmp_path / f"{model}.npy", "--weights", imported, "-o", tmp_path / "out")
        assert outcome.code == 0
        difference = np.abs(np.load(tmp_path / "out" / f"{model}.npy") - golden[output])
        assert (difference.max() < most, difference.mean() < mean) == (True, True), model
        imported.unlink()


def test_vdn_returns_the_input_minus_the_residual(zoo_bench, tmp_path) -> None:
    golden = np.load(DATA / "vdn_golden.npz")
    torch.save({"model_state_dict": prefixed(official_state("vdn", "vdn", "vdn")), "epoch": 7}, tmp_path / "model_7")
    noisy = make_input(golden["seed"], golden["shape"])
    np.save(tmp_path / "noisy.npy", noisy)
    flags = ("--weights", tmp_path / "model_7", "-o", tmp_path / "out")
    assert zoo_bench("infer", "vdn", tmp_path / "noisy.npy", *flags).code == 0
    difference = np.abs(np.load(tmp_path / "out" / "noisy.npy") - (noisy - golden["phi_Z"][:, :3]))
    assert difference.max() < 5e-5


def test_tensorflow_variables_are_imported_from_npz(zoo_bench, tmp_path) -> None:
    keys = json.loads((DATA / "dped_keys.json").read_text())
    state = official_state("dped", "dped", "dped_rgb")
    variables = {}
    for name, shape, key in keys["tensorflow_variables"]:
        value = state[key].numpy()
        variables[name] = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value
        assert list(variables[name].shape) == list(shape)
    np.savez(tmp_path / "iphone.npz", **variables)
    outcome = zoo_bench("weights", "import", "dped_rgb", tmp_path / "iphone.npz", "-o", tmp_path / "w.safetensors")
    assert outcome.code == 0, outcome.err
    imported = read_checkpoint(tmp_path / "w.safetensors").state
    assert all(torch.equal(imported[key], value) for key, value in state.items())


def test_metadata_says_where_the_weights_come_from(zoo_bench, tmp_path) -> None:
    torch.save(create_model("unet", width=8).state_dict(), tmp_path / "w.pth")
    flags = ("-o", tmp_path / "w.safetensors", "--set", "width=8")
    assert "weights-file" in zoo_bench("weights", "import", "unet", tmp_path / "w.pth", *flags).out
    with safe_open(tmp_path / "w.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert metadata["model"] == "unet"
    assert json.loads(metadata["options"]) == {"width": 8}
    assert metadata["evidence"] == "weights-file"
    assert metadata["source_sha256"] == read_checkpoint(tmp_path / "w.pth").digest
    again = zoo_bench("weights", "import", "unet", tmp_path / "w.safetensors", "-o", tmp_path / "again.safetensors")
    assert again.code == 0
    assert read_checkpoint(tmp_path / "again.safetensors").metadata == metadata


@pytest.mark.parametrize(
    ("model", "content", "message"),
    [
        ("unet", lambda: create_model("unet_w8").state_dict(), "It looks like a checkpoint of unet_w8"),
        ("pynet", lambda: create_model("unet_w8").state_dict(), "missing (conv_l1_d1.conv_3a.conv2d.weight"),
        ("unet_w8", lambda: {"epoch": 3}, "expected a state_dict"),
        ("dped_rgb", lambda: create_model("unet_w8").state_dict(), "dped_rgb"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(zoo_bench, tmp_path, model: str, content, message: str) -> None:
    torch.save(content(), tmp_path / "w.pth")
    outcome = zoo_bench("weights", "import", model, tmp_path / "w.pth", "-o", tmp_path / "w.safetensors")
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert not (tmp_path / "w.safetensors").exists()
