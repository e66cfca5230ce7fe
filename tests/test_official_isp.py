"""Compact ISP networks with official trained weights, on seeded input and on two real pairs; needs ZOO_BENCH_SHARED."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from zoo import create_model, get_card
from zoo.fitting import load_strictly
from zoo.raw import apply_model, to_network
from zoo.weights import read_checkpoint

# Per golden file: its families of weights, with the registered model and the key of their seeded input.
FILES = {
    "lan_trained": {"lan_efficient": "lan", "lan_robust": "lan", "rmfa_tiny": "rmfa"},
    "mobileie_trained": {"mobileie": "mobileie"},
}
WEIGHTS = [
    *(("lan_trained", f"lan_efficient__{name}") for name in ("start", "ultraisp__paired", "ultraisp__paired_noadv")),
    *(("lan_trained", f"lan_efficient__{name}") for name in ("ultraisp__unpaired", "zrr__paired", "zrr__paired_noadv")),
    ("lan_trained", "lan_efficient__zrr__unpaired"),
    *(("lan_trained", f"lan_robust__ultraisp__{name}") for name in ("paired", "paired_noadv", "unpaired")),
    *(("lan_trained", f"rmfa_tiny__ultraisp__{name}") for name in ("paired", "paired_noadv", "unpaired")),
    *(("mobileie_trained", f"mobileie__{name}") for name in ("ultraisp", "zrr")),
]


def shared() -> Path:
    folder = Path(os.environ.get("ZOO_BENCH_SHARED", ""))
    if not os.environ.get("ZOO_BENCH_SHARED") or not (folder / "golden" / "compact_isp").is_dir():
        pytest.skip("no official weights: set ZOO_BENCH_SHARED to the folder that has golden/compact_isp")
    return folder


@pytest.mark.parametrize(("file", "weights"), WEIGHTS)
def test_trained_weights_give_the_official_outputs(file: str, weights: str) -> None:
    folder, name = shared(), weights.partition("__")[0]
    key = FILES[file][name]
    (source,) = (folder / "weights" / "compact_isp").glob(f"{weights}.p*")
    network = create_model(name).eval()
    load_strictly(network, read_checkpoint(source).state, name=name, source=source)
    with np.load(folder / "golden" / "compact_isp" / f"{file}_golden.npz") as golden, torch.no_grad():
        shape = tuple(int(side) for side in golden[f"shape_{key}"])
        x = np.random.RandomState(int(golden[f"seed_{key}"])).rand(*shape).astype(np.float32)
        errors = {"seeded": network(torch.from_numpy(x * np.float32(golden[f"scale_{key}"])))}
        for pair in ("10", "15"):
            raw = np.asarray(Image.open(folder / "data" / "ultraisp_sample" / f"raw_{pair}.png")).astype(np.float32)
            spec = get_card(name).input_for({"counts": "zrr" if "__zrr" in weights else "ultraisp"})
            planes = to_network(torch.from_numpy(raw)[None, None], spec, black=256.0, white=4092.0)
            output = apply_model(network, planes, spec)
            errors[f"pair{pair}"] = output[..., ::5, ::5]
        for part, output in errors.items():
            error = np.abs(output.numpy() - golden[f"{weights}.{part}"])
            largest = 5e-5 if (weights, part) == ("mobileie__zrr", "seeded") else 1e-5
            assert (error.max() < largest, error.mean() < 2e-6) == (True, True), part
