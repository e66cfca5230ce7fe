"""Files with 16 bits a colour, which Pillow does not write."""

from __future__ import annotations

import struct
import zlib

import numpy as np


def png16(array, kind=0):
    """Return a 16-bit RGB PNG, which Pillow does not write, with rows filtered by ``kind``."""
    height, width, _ = array.shape
    rows, before = b"", np.zeros(6 * width, np.uint8)
    for row in array.astype(">u2").reshape(height, -1).view(np.uint8):
        left = np.concatenate([np.zeros(6, np.uint8), row[:-6]])
        rows += bytes([kind]) + (row - {0: 0, 1: left, 2: before}[kind]).astype(np.uint8).tobytes()
        before = row
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)))
    pack = (
        struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in (*chunks, (b"IEND", b""))
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(pack)


def tiff16(array, order="<", planar=1):
    """Return a 16-bit RGB TIFF without compression."""
    height, width, _ = array.shape
    data = array.astype(f"{order}u2")
    data = (data if planar == 1 else data.transpose(2, 0, 1)).tobytes()
    extra = 8 + 2 + 9 * 12 + 4
    strips = 1 if planar == 1 else 3
    tables = struct.pack(f"{order}3H", 16, 16, 16)
    start = extra + len(tables) + 8 * strips
    offsets = [start + index * len(data) // strips for index in range(strips)]
    tables += struct.pack(f"{order}{strips}I", *offsets) + struct.pack(
        f"{order}{strips}I", *[len(data) // strips] * strips
    )
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, extra), (259, 3, 1, 1), (262, 3, 1, 2)]
    first = (offsets[0], len(data)) if strips == 1 else (extra + 6, extra + 6 + 4 * strips)
    entries += [(273, 4, strips, first[0]), (277, 3, 1, 3), (279, 4, strips, first[1]), (284, 3, 1, planar)]
    content = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}IH", 8, len(entries))
    for tag, type, count, value in entries:
        form = "HH" if type == 3 and count == 1 else "I"
        content += struct.pack(f"{order}HHI{form}", tag, type, count, value, *([0] if form == "HH" else []))
    return content + bytes(4) + tables + data
