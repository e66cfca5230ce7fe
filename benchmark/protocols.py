"""How the images of each dataset are compared: what is done to a network's output before it is scored."""

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
# 8-bit values / 255 in float32 lie this near to those in float64; the values of 16 bits are 1.5e-5 apart.
_FLOAT32_ROUNDING = 1e-7
PROTOCOLS = {protocol.name: protocol for protocol in (ZRR, SIDD)}


def get_protocol(name: str) -> EvaluationProtocol:
    """Return the protocol called ``name``; raises UserError with the nearest names."""
    if name not in PROTOCOLS:
        raise UserError(f"no protocol called '{name}'{nearest(name, PROTOCOLS)}")
    return PROTOCOLS[name]


def prepare_pair(
    output: NDArray[Any], target: NDArray[Any], protocol: EvaluationProtocol
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return an output and its target (H, W, 3), float32 or float64, as the protocol compares them.

    Under one that rounds, an output is k / 255 in float64 for the nearest whole k, the even one of two that are equally
    near; decided in float64, because a float32 product may lie on the other side of a half. So is a target of 8 bits:
    the same value is then the same number, and identical pictures are identical. A deeper target stays as it is.
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
