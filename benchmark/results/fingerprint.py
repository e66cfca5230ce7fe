"""What a network computes, in a dozen numbers: its output for one fixed input, comparable between machines.

The input are uniform planes in the network's range, at least 32x32, from a stream of random numbers that numpy promises
never to change. The output (after crop and range, not clipped) is summed up in float64: mean, standard deviation, root
mean square, least and largest value, and eight projections of what is left without the mean on vectors of fixed signs
over the square root of their length. A change of the output by a share e of its standard deviation moves a projection
by about e of it; another machine's or library's rounding moves them by 1e-6 to 2e-4. The sha256 of the output's float32
bytes says whether it is the same to the last bit.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
import torch
from torch import nn

from benchmark.types import Fingerprint
from zoo.card import InputSpec
from zoo.raw import apply_model, padded_size

VERSION = 1
LEAST_SIDE = 32
PROJECTIONS = 8


def take_fingerprint(network: nn.Module, spec: InputSpec, *, seed: int = 0) -> Fingerprint:
    """Return the fingerprint of a network in evaluation mode that takes float32 planes on the CPU.

    Draws inside the network come from ``seed``; the caller's random state does not change. Raises ValueError for an
    output that is not finite or has the wrong shape, and whatever the network raises.
    """
    side = max(spec.min_size, spec.multiple, LEAST_SIDE)
    height, width = padded_size(side, side, spec)
    # RandomState, not Generator: its stream is frozen.
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
