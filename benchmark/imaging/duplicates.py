"""Near-duplicates between two sets of images: the same scene in train and in test, re-encoded, brighter or rescaled.

Two images are near-duplicates if their 63-bit perceptual hashes differ in at most ``MAX_BITS`` bits and their 16x16
thumbnails correlate by at least ``MIN_CORRELATION``. Each bit of the hash says whether one of the 63 lowest frequencies
of the logarithm of brightness is above their median. It uses block means, so mosaics and photographs give the same. It
does not find mirrored or rotated copies, and it ignores images without contrast (a clear sky), which all look alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_BITS = 12
MIN_CORRELATION = 0.98
_LEAST_CONTRAST = 0.05
_SIDE, _LOW = 32, 8

# The first rows of the matrix of the cosine transform.
_COSINES = np.cos(np.pi * np.outer(np.arange(_LOW), 2 * np.arange(_SIDE) + 1) / (2 * _SIDE))
_BITS = np.array([bin(value).count("1") for value in range(1 << 16)], np.uint8)


def perceptual_hash(gray: NDArray[Any]) -> tuple[int, NDArray[np.int8]] | None:
    """Return hash and thumbnail (256,) of non-negative block means (32, 32) of brightness; None if they are flat."""
    light = np.log(np.maximum(gray.astype(np.float64), 0.5))
    light -= light.mean()
    deviation = float(light.std())
    if deviation < _LEAST_CONTRAST:
        return None
    low = (_COSINES @ light @ _COSINES.T).ravel()[1:]
    bits = low > np.median(low)
    thumbnail = light.reshape(16, 2, 16, 2).mean(axis=(1, 3)).ravel() * (32 / deviation)
    return int(np.packbits(np.append(bits, False)).view(">u8")[0]), np.rint(thumbnail).clip(-127, 127).astype(np.int8)


def hash_picture(pixels: NDArray[np.uint8]) -> tuple[int, NDArray[np.int8]] | None:
    """Return the hash and thumbnail of a whole picture (H, W, 3); None if it is flat."""
    small = Image.fromarray(pixels).convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    return perceptual_hash(np.asarray(small))


@dataclass
class ImageHashes:
    """The hashes and thumbnails of one set of images; each image takes 264 bytes."""

    names: list[str] = field(default_factory=list)
    hashes: list[int] = field(default_factory=list)
    thumbnails: bytearray = field(default_factory=bytearray)

    def add(self, name: str, hash: int, thumbnail: bytes) -> None:
        """Add one image."""
        self.names.append(name)
        self.hashes.append(hash)
        self.thumbnails += thumbnail

    def arrays(self) -> tuple[NDArray[np.uint64], NDArray[np.int8]]:
        """Return the hashes (N,) and thumbnails (N, 256)."""
        return np.array(self.hashes, np.uint64), np.frombuffer(bytes(self.thumbnails), np.int8).reshape(-1, 256)


def near_duplicates(first: ImageHashes, second: ImageHashes) -> Iterator[tuple[str, str, int, float]]:
    """Yield (name in first, name in second, differing bits, correlation) of the nearest image to each of ``second``."""
    if not first.names or not second.names:
        return
    hashes, pixels = first.arrays()
    for name, hash, thumbnail in zip(second.names, *second.arrays()):
        distance = _BITS[(hashes ^ hash).view(np.uint16).reshape(-1, 4)].sum(axis=1)
        near = np.flatnonzero(distance <= MAX_BITS)
        if not len(near):
            continue
        likeness = _unit(pixels[near]) @ _unit(thumbnail)
        best = int(np.argmax(likeness))
        if likeness[best] >= MIN_CORRELATION:
            yield first.names[near[best]], name, int(distance[near[best]]), float(likeness[best])


def _unit(pixels: NDArray[np.int8]) -> NDArray[np.float64]:
    """Return thumbnails (..., 256) scaled to unit length."""
    vectors = pixels.astype(np.float64)
    unit: NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return unit
