"""DnCNN: parity in its three forms, keys, counts, merged batch norms, published files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmark.selection import entry_of
from tests.golden_rule import fill, load_into, make_input
from zoo import UserError, create_model
from zoo.models.dncnn import from_matconvnet

DATA = Path(__file__).parent / "data" / "networks"
SHARED = Path(os.environ.get("ZOO_BENCH_SHARED", ""))
# golden family, model, its options, the output that is the image, largest and mean error
GOLDEN = [
    ("dncnn17", "dncnn_17", {}, "out", 2e-5, 3e-6),
    ("dncnn17_bn", "dncnn_17", {"form": "training"}, "denoised", 2e-5, 3e-6),
    ("dncnn17_kair_bn", "dncnn_17", {"form": "training_kair"}, "out", 1e-5, 2e-6),
]
KEYS = [
    ("dncnn17", "dncnn_17", {}),
    ("dncnn20", "dncnn_20", {}),
    ("dncnn20_color", "dncnn_20_color", {}),
    ("dncnn17_bn", "dncnn_17", {"form": "training"}),
    ("dncnn20_bn", "dncnn_20", {"form": "training"}),
    ("dncnn17_kair_bn", "dncnn_17", {"form": "training_kair"}),
]


def keys_of(family: str) -> list[list]:
    return [entry[:2] for entry in json.loads((DATA / f"{family}_keys.json").read_text())["keys"]]


def run(network: nn.Module, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return network.eval()(torch.from_numpy(x)).numpy()


def assert_near(found: np.ndarray, expected: np.ndarray, largest: float, mean: float) -> None:
    assert found.shape == expected.shape
    error = np.abs(found - expected)
    assert error.max() < largest
    assert error.mean() < mean


@pytest.mark.parametrize(("family", "name", "options", "output", "largest", "mean"), GOLDEN)
def test_outputs_equal_the_official_ones(family, name, options, output, largest, mean) -> None:
    golden = np.load(DATA / f"{family}_golden.npz")
    network = load_into(create_model(name, **options), float(golden["gain"]))
    assert_near(run(network, make_input(golden["seed"], golden["shape"])), golden[output], largest, mean)


@pytest.mark.parametrize(("family", "name", "options"), KEYS)
def test_keys_and_shapes_are_the_official_ones(family: str, name: str, options: dict) -> None:
    with torch.device("meta"):
        state = create_model(name, **options).state_dict()
    assert [[key, list(value.shape)] for key, value in state.items()] == keys_of(family)


@pytest.mark.parametrize(
    ("name", "form", "channels", "per_pixel"),
    [
        ("dncnn_17", "deploy", 1, 554_112),
        ("dncnn_20", "training", 1, 664_704),
        ("dncnn_20_color", "deploy", 3, 667_008),
    ],
)
def test_macs_match_the_specification(name: str, form: str, channels: int, per_pixel: int) -> None:
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        create_model(name, form=form).eval()(torch.empty(1, channels, 256, 256))
    assert counter.get_total_flops() == 2 * 256 * 256 * per_pixel


@pytest.mark.parametrize(("family", "output"), [("dncnn17_bn", "denoised"), ("dncnn17_kair_bn", "out")])
def test_merged_batch_norms_give_the_same_image(zoo_bench, tmp_path, family: str, output: str) -> None:
    golden = np.load(DATA / f"{family}_golden.npz")
    state = {key: torch.from_numpy(value) for key, value in fill(dict(keys_of(family)), float(golden["gain"])).items()}
    # As SaoYan publishes them: a prefix, and no counters of batches.
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "official.pth")
    assert (
        zoo_bench("weights", "import", "dncnn_17", tmp_path / "official.pth", "-o", tmp_path / "w.safetensors").code
        == 0
    )
    merged = entry_of("dncnn_17", tmp_path / "w.safetensors", {}).build()
    assert_near(run(merged, make_input(golden["seed"], golden["shape"])), golden[output], 2e-5, 3e-6)


def test_a_state_without_batch_norms_stays_as_it_is() -> None:
    state = create_model("dncnn_17", width=2).state_dict()
    assert from_matconvnet(state) is state


def test_the_wrong_form_is_refused(tmp_path) -> None:
    torch.save(create_model("dncnn_17").state_dict(), tmp_path / "merged.pth")
    for form in ("training", "training_kair"):
        with pytest.raises(UserError, match=f"holds form=deploy, which cannot be turned back into form={form}; choose"):
            entry_of("dncnn_17", tmp_path / "merged.pth", {"form": form})


OFFICIAL = {
    "kair_dncnn_25": ("dncnn_17", "deploy", "dncnn/dncnn_25.pth"),
    "mat_S15": ("dncnn_17", "deploy", "dncnn_matlab/sigma=15.mat"),
    "mat_S50": ("dncnn_17", "deploy", "dncnn_matlab/sigma=50.mat"),
    "mat_B": ("dncnn_20", "deploy", "dncnn_matlab/GD_Gray_Blind.mat"),
    "mat_CB": ("dncnn_20_color", "deploy", "dncnn_matlab/GD_Color_Blind.mat"),
    "saoyan_S25": ("dncnn_17", "deploy", "dncnn_saoyan/DnCNN-S-25.pth"),
    "saoyan_S50": ("dncnn_17", "training", "dncnn_saoyan/DnCNN-S-50.pth"),
    "saoyan_B": ("dncnn_20", "training", "dncnn_saoyan/DnCNN-B.pth"),
}


@pytest.mark.skipif(not (SHARED / "weights" / "denoisers").is_dir(), reason="needs the official weights")
@pytest.mark.parametrize("label", OFFICIAL)
def test_official_weights_give_the_official_images(label: str) -> None:
    name, form, file = OFFICIAL[label]
    golden = np.load(SHARED / "golden" / "denoisers" / "dncnn_official_golden.npz")
    x = make_input(951, (1, 3 if name == "dncnn_20_color" else 1, 48, 64))
    entry = entry_of(name, SHARED / "weights" / "denoisers" / file, {"form": form})
    assert_near(run(entry.build(), x), golden[f"{label}:seeded"], 1e-5, 2e-6)
