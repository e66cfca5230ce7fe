"""Describe a network's output for one fixed input by a dozen numbers that can be compared between machines.

The input is uniform noise in the network's range, at least 32x32, from a random stream that numpy promises never to
change. The output (after crop and range, not clipped) is described in float64 by mean, standard deviation, root mean
square, minimum, maximum, and eight projections: the output minus its mean, projected on vectors of fixed signs divided
by the square root of their length. A change of the output by a fraction e of its standard deviation moves a projection
by about the same fraction of it; rounding on another machine or library moves them by 1e-6 to 2e-4. The sha256 of the
output's float32 bytes shows whether it is the same to the last bit.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
import torch
from torch import nn

from benchmark.types import Fingerprint
from zoo.convention import InputSpec
from zoo.raw import apply_model, padded_size

VERSION = 1
LEAST_SIDE = 32
PROJECTIONS = 8


def take_fingerprint(network: nn.Module, spec: InputSpec, *, seed: int = 0) -> Fingerprint:
    """Return the fingerprint of a network in evaluation mode that takes float32 planes on the CPU.

    Random numbers inside the network come from ``seed``; the caller's random state does not change. Raises ValueError
    for an output that is not finite or has the wrong shape, and every exception of the network.
    """
    side = max(spec.min_size, spec.multiple, LEAST_SIDE)
    height, width = padded_size(side, side, spec)
    # RandomState, not Generator, because numpy guarantees that its stream never changes.
    planes = torch.from_numpy(np.random.RandomState(0).random_sample((1, spec.channels, height, width))).float()
    low, high = spec.input_range
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        output = apply_model(network, planes * (high - low) + low, spec).to("cpu", torch.float32).contiguous()
    array = output.numpy()
    if not np.isfinite(array).all():
        raise ValueError("the output has NaN or infinite values")
    return Fingerprint(
        version=VERSION,
        input_shape=[1, spec.channels, height, width],
        output_shape=list(array.shape),
        values=_summary(array.astype(np.float64).ravel()),
        sha256=hashlib.sha256(array.astype("<f4").tobytes()).hexdigest(),
    )


def _summary(flat: np.ndarray) -> dict[str, float]:
    signs = 2.0 * np.random.RandomState(1).randint(0, 2, size=(PROJECTIONS, flat.size)) - 1.0
    values = {
        "mean": float(flat.mean()),
        "std": float(flat.std()),
        "rms": math.sqrt(float((flat * flat).mean())),
        "min": float(flat.min()),
        "max": float(flat.max()),
    }
    projections = signs @ (flat - flat.mean()) / math.sqrt(flat.size)
    return values | {f"projection_{index}": float(value) for index, value in enumerate(projections)}
