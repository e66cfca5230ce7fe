"""Read networks that MatConvNet saved (MATLAB v7.3 files, which are HDF5), as those of DnCNN and FFDNet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

PREFIX = "matconvnet"
# Weights hardly compress: a dataset that unpacks to many times its file holds no network.
_DENSE, _SMALL = 100, 64 << 20


def read_matconvnet(file: Path) -> dict[str, Tensor]:
    """Return the kernels and biases of a chain of convolutions as ``matconvnet.J.weight`` and ``.bias``, J from 0.

    Kernels are (out, in, height, width), as PyTorch has them; HDF5 shows MATLAB's axes in reverse, so width would
    stand before height. Raises OSError, LookupError or ValueError for a file of another content.
    """
    import h5py  # importing it takes 0.2 s, and few files are of this kind

    state = {}
    with h5py.File(file, "r") as content:
        if not all(isinstance(content.get(name, getlink=True), h5py.HardLink) for name in ("net", "net/layers")):
            raise LookupError("it has no net.layers of MatConvNet")
        limit = max(_DENSE * file.stat().st_size, _SMALL)
        layers = [content[reference] for reference in content["net/layers"][()].flat]
        for index, layer in enumerate(layer for layer in layers if _type_of(layer) == "conv"):
            kernel, bias = (_array(content[reference], limit) for reference in layer["weights"][()].flat)
            # MATLAB drops an axis of one output channel.
            kernel = kernel[(None,) * (4 - kernel.ndim)].transpose(2, 3)
            state[f"{PREFIX}.{index}.weight"] = kernel.contiguous()
            state[f"{PREFIX}.{index}.bias"] = bias.flatten()
    return state


def _type_of(layer: Any) -> str:
    return bytes(layer["type"][()].astype("uint8").flatten()).decode("latin-1")


def _array(dataset: Any, limit: int) -> Tensor:
    if dataset.nbytes > limit:
        raise ValueError(f"a kernel unpacks to {dataset.nbytes:,} bytes")
    return torch.from_numpy(dataset[()])
