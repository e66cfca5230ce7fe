"""How each dataset's images are compared; what stands between a network's output and a score."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.types import EvaluationProtocol
from zoo.errors import UserError, nearest

ZRR = EvaluationProtocol(
    name="zrr",
    version=1,
    text="output clamped to [0, 1], not rounded; target JPEG / 255; one score per image, then the mean over images",
    clamp=True,
    round_uint8=False,
    metrics=("psnr[rgb]", "ssim[gaussian11,rgb]", "msssim[perchannel]"),
)
SIDD = EvaluationProtocol(
    name="sidd",
    version=1,
    text="output clamped to [0, 1] and rounded to 8 bits; one score per block or image, then the mean over them",
    clamp=True,
    round_uint8=True,
    metrics=("psnr[rgb]", "ssim[gaussian11,rgb]", "ssim[matlab3d,rgb]"),
)
PROTOCOLS = {protocol.name: protocol for protocol in (ZRR, SIDD)}


def get_protocol(name: str) -> EvaluationProtocol:
    """Return the protocol called ``name``; raises UserError with the nearest names."""
    if name not in PROTOCOLS:
        raise UserError(f"no protocol called '{name}'{nearest(name, PROTOCOLS)}")
    return PROTOCOLS[name]


def prepare_output(image: NDArray[Any], protocol: EvaluationProtocol) -> NDArray[Any]:
    """Return an output (H, W, 3), float32 or float64, as the protocol compares it."""
    if protocol.clamp:
        image = image.clip(0.0, 1.0)
    if protocol.round_uint8:
        image = np.rint(image * 255.0) / 255.0
    return image
