"""UNet against the golden output and the official key list."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from tests.golden_rule import GAINS, load_into, make_input
from zoo import create_model

DATA = Path(__file__).parent / "data" / "networks"


def test_unet_equals_the_golden_output() -> None:
    golden = np.load(DATA / "unet_golden.npz")
    model = load_into(create_model("unet"), GAINS["unet"])
    with torch.inference_mode():
        output = model(torch.from_numpy(make_input(golden["seed"], golden["shape"]))).numpy()
    difference = np.abs(output - golden["out"])
    assert difference.max() < 1e-5
    assert difference.mean() < 2e-6


def test_unet_has_the_official_keys() -> None:
    expected = {key: tuple(shape) for key, shape, *_ in json.loads((DATA / "unet_keys.json").read_text())["keys"]}
    state = create_model("unet").state_dict()
    assert {key: tuple(value.shape) for key, value in state.items()} == expected
