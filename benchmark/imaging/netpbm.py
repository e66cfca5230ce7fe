"""Netpbm pictures (PGM, PPM) at their own depth: Pillow cuts 16-bit colours to 8 bits and scales other depths."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.imaging.formats import LayoutError

# The numbers in the header, between white space and comments.
_FIELD = re.compile(rb"(?:\s|#[^\n]*\n)+(\d{1,9})")
_CHANNELS = {b"P2": 1, b"P3": 3, b"P5": 1, b"P6": 3}


def read_netpbm(content: bytes, most_pixels: int) -> tuple[NDArray[Any], int]:
    """Return the stored counts (H, W) or (H, W, 3), uint8 or uint16, and the largest allowed value.

    Raises EOFError for a file that is cut off, ValueError for a damaged file and LayoutError for a bitmap, several
    pictures or more than ``most_pixels`` pixels.
    """
    kind = content[:2]
    if kind not in _CHANNELS:
        raise LayoutError("a PBM, 1-bit black and white; expected gray or RGB of 8 or 16 bits. Save it as PNG")
    numbers, position = [], 2
    for _ in range(3):
        found = _FIELD.match(content, position)
        if found is None:
            raise EOFError("its header is cut off or damaged")
        numbers.append(int(found[1]))
        position = found.end()
    width, height, largest = numbers
    if not width or not height or not 0 < largest < 1 << 16:
        raise ValueError(f"its header says {width}x{height} pixels of at most {largest}")
    if width * height > most_pixels:
        raise LayoutError(f"a picture of {width}x{height} pixels; expected fewer than {most_pixels}. Cut it into parts")
    count = width * height * _CHANNELS[kind]
    counts = _from_text(content[position:], count) if kind in (b"P2", b"P3") else None
    if counts is None:
        # One white-space character, then the values.
        dtype = np.dtype(np.uint8) if largest < 256 else np.dtype(">u2")
        end = position + 1 + count * dtype.itemsize
        if end > len(content):
            raise EOFError("its end is missing")
        if re.match(rb"P[1-7]\s", content[end : end + 3]):
            raise LayoutError("a file of several pictures; expected one. Save the one that is meant by itself")
        counts = np.frombuffer(content, dtype, count, position + 1)
    if counts.min() < 0 or counts.max() > largest:
        raise ValueError(f"values of {counts.min()} to {counts.max()} where its header says {largest}")
    shape = (height, width, 3) if _CHANNELS[kind] == 3 else (height, width)
    return counts.astype(np.uint8 if largest < 256 else np.uint16).reshape(shape), largest


def _from_text(text: bytes, count: int) -> NDArray[Any]:
    words = re.sub(rb"#[^\n]*", b"", text).split()
    if len(words) < count:
        raise EOFError("its end is missing")
    return np.array([int(word) for word in words[:count]], np.int64)
