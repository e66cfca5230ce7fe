"""Rebuild the golden image pairs of data/metrics.json byte for byte (needs numpy and scikit-image).

The recipe is that of the project's golden metric values, restated so that only wanted pairs are made. The
photographs come with scikit-image: astronaut (NASA, public domain), coffee (Rachel Michetti, CC0) and chelsea
(Stéfan van der Walt, CC0), all PNG, so that no JPEG decoder can change them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
from skimage import data

PHOTOGRAPHS = ("astronaut", "coffee", "chelsea")
DISTORTIONS = ("noise05", "shotread", "blur5", "gamma1.2", "wbshift", "shift2px", "isp_like")


def golden_pairs(names: Collection[str]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield (name, target, output), images (H, W, 3) of uint8, for each of ``names``."""
    for side in (448, 256):
        for index, photograph in enumerate(PHOTOGRAPHS):
            prefix = f"{photograph}{side}"
            if any(f"{prefix}/{kind}" in names for kind in DISTORTIONS):
                target = _fit(getattr(data, photograph)(), side)
                for kind, output in _distort(target, 1000 * side + index):
                    if f"{prefix}/{kind}" in names:
                        yield f"{prefix}/{kind}", target, output
    if "edge/identical448" in names:
        astronaut = _fit(data.astronaut(), 448)
        yield "edge/identical448", astronaut, astronaut.copy()
    if "edge/noise176" in names:
        target = _fit(data.astronaut(), 176)
        noise = np.random.RandomState(7).randn(*target.shape)
        yield "edge/noise176", target, _quantize(target / 255.0 + 0.05 * noise)


def _distort(target: np.ndarray, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    # One legacy generator for all kinds: its stream is frozen, and each kind draws after the one before it.
    x = target.astype(np.float64) / 255
    random = np.random.RandomState(seed)
    yield "noise05", _quantize(x + 0.05 * random.randn(*x.shape))
    yield "shotread", _quantize(x + np.sqrt(0.01 * x + 0.0004) * random.randn(*x.shape))
    yield "blur5", _quantize(_blur(x))
    yield "gamma1.2", _quantize(x**1.2)
    yield "wbshift", _quantize(x * np.array([1.10, 1.0, 0.88]))
    yield "shift2px", np.roll(target, (1, 2), axis=(0, 1))
    yield "isp_like", _quantize(_blur(x**1.1) * np.array([1.05, 1.0, 0.94]) + 0.02 * random.randn(*x.shape))


def _quantize(x: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(x, 0, 1) * 255).astype(np.uint8)


def _fit(image: np.ndarray, side: int) -> np.ndarray:
    """Return the middle of an RGB image, padded symmetrically where it is shorter than ``side``."""
    height, width = image.shape[:2]
    image = np.pad(image, ((0, max(0, side - height)), (0, max(0, side - width)), (0, 0)), mode="symmetric")
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return np.ascontiguousarray(image[top : top + side, left : left + side, :3])


def _blur(x: np.ndarray) -> np.ndarray:
    """Return the image under a separable binomial filter 1-4-6-4-1 with a symmetric border."""
    taps = np.array([1, 4, 6, 4, 1]) / 16.0
    padded = np.pad(x, ((2, 2), (2, 2), (0, 0)), mode="symmetric")
    rows = sum(taps[i] * padded[i : i + x.shape[0]] for i in range(5))
    return sum(taps[i] * rows[:, i : i + x.shape[1]] for i in range(5))
