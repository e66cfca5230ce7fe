"""How the images of each dataset are compared: the steps from a network's output to its score."""

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
# Outputs are not rounded, because 8 bits would remove the extra precision of 16-bit pictures.
PAIRS = EvaluationProtocol(
    name="pairs",
    version=1,
    text="output clamped to [0, 1], not rounded; target at its own 8 or 16 bits; one score per image, then the mean",
    clamp=True,
    round_uint8=False,
    metrics=("psnr[rgb]", "ssim[gaussian11,rgb]"),
)
# The metrics of gray images, where a protocol names those of colour ones.
GRAY_METRICS = ("psnr[gray]", "ssim[gaussian11,gray]")
# 8-bit values / 255 in float32 differ from those in float64 by less than this; 16-bit values are 1.5e-5 apart.
_FLOAT32_ROUNDING = 1e-7
PROTOCOLS = {protocol.name: protocol for protocol in (ZRR, SIDD, PAIRS)}
# Where images of a task have no dataset, they are compared so; gray ones by GRAY_METRICS.
OF_TASK = {"raw2rgb": ZRR, "denoise_rgb": SIDD, "denoise_gray": PAIRS, "enhance_rgb": PAIRS}


def get_protocol(name: str) -> EvaluationProtocol:
    """Return the protocol called ``name``; raises UserError with the nearest names."""
    if name not in PROTOCOLS:
        raise UserError(f"no protocol called '{name}'{nearest(name, PROTOCOLS)}")
    return PROTOCOLS[name]


def prepare_pair(
    output: NDArray[Any], target: NDArray[Any], protocol: EvaluationProtocol
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return an output and its target (H, W, 3), float32 or float64, as the protocol compares them.

    If the protocol rounds, an output becomes k / 255 in float64 for the nearest whole k; of two equally near, it is
    the even one. This is decided in float64, because a float32 product may lie on the other side of a half. A target of
    8 bits is treated alike, so that identical pictures have identical numbers. A target of more bits is not changed.
    """
    if protocol.clamp:
        output = output.clip(0.0, 1.0)
    if protocol.round_uint8:
        output, grid = _on_grid(output), _on_grid(target)
        target = grid if np.abs(grid - target).max(initial=0.0) < _FLOAT32_ROUNDING else target
    return output, target


def _on_grid(image: NDArray[Any]) -> NDArray[np.float64]:
    grid: NDArray[np.float64] = np.rint(image.astype(np.float64) * 255.0) / 255.0
    return grid
