"""Weights of small networks that ship with the package, trained on the stand-ins.

There is one file per model, ``<model>.safetensors``, for the options that it names (``dped`` has ``width=6``). The
weights demonstrate the tool; because they were trained on stand-in data, they say nothing about a network's quality on
real data. Two sweeps make them, in which only the learning rate differs between networks, and a rule chooses it on
images that are not tested. In a checkout:

    zoo-bench sweep configs/sweeps/standin_raw2rgb.yaml -o runs/standin_raw2rgb
    zoo-bench sweep configs/sweeps/standin_denoise.yaml -o runs/standin_denoise
    for model in bilinear_colour plainunet_8 unet_w8 hyperunet_8_8_64 dped vdn_w8 hypervdn_8; do
      cp runs/standin_*/points/"$model"*_seed0_*/weights.safetensors zoo/trained/"$model".safetensors
    done

``tests/test_trained.py`` checks that each file is what these sweeps make; then measure the records again.
"""

from __future__ import annotations

from pathlib import Path


def shipped_weights(model: str) -> Path | None:
    """Return the file of a model's shipped weights, if there is one."""
    path = Path(__file__).parent / f"{model}.safetensors"
    return path if path.is_file() else None


def shipped_models() -> list[str]:
    """Return the names of the models whose weights ship, sorted."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.safetensors"))
