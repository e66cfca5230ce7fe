"""Weights of small networks that ship with the package, trained on the stand-ins by the recipes named in the files.

There is one file per model, ``<model>.safetensors``, for the model's default options. The weights demonstrate the tool;
because they were trained on stand-in data, they say nothing about a network's quality on real data.
"""

from __future__ import annotations

from pathlib import Path


def shipped_weights(model: str) -> Path | None:
    """Return the file of a model's shipped weights, if there is one."""
    path = Path(__file__).parent / f"{model}.safetensors"
    return path if path.is_file() else None
