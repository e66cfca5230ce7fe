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


def dng(counts, cfa="RGGB", black=256, white=4092):
    """Return a DNG of 16-bit counts (H, W) without compression."""
    height, width = counts.shape
    pixels = counts.astype("<u2").tobytes()
    values = [
        *[(254, 4, (0,)), (256, 4, (width,)), (257, 4, (height,)), (258, 3, (16,)), (259, 3, (1,)), (262, 3, (32803,))],
        *[(271, 2, b"Some\0"), (272, 2, b"Sensor\0"), (273, 4, (8,)), (277, 3, (1,)), (278, 4, (height,))],
        *[(279, 4, (len(pixels),)), (33421, 3, (2, 2)), (33422, 1, bytes("RGB".index(colour) for colour in cfa))],
        *[(50706, 1, bytes((1, 4, 0, 0))), (50708, 2, b"Some Sensor\0"), (50714, 4, (black,)), (50717, 4, (white,))],
        *[(50721, 10, (1, 1, *(0, 1) * 3) * 2 + (1, 1)), (50778, 3, (21,))],
    ]
    entries, further = b"", b""
    place = 8 + len(pixels) + 2 + 12 * len(values) + 4
    for tag, kind, one in values:
        content = one if isinstance(one, bytes) else struct.pack(f"<{len(one)}{'H' if kind == 3 else 'I'}", *one)
        entries += struct.pack("<HHI", tag, kind, len(one) // (2 if kind == 10 else 1))
        if len(content) > 4:
            content, further = struct.pack("<I", place + len(further)), further + content + bytes(len(content) % 2)
        entries += content.ljust(4, b"\0")
    return (
        b"II*\0"
        + struct.pack("<I", 8 + len(pixels))
        + pixels
        + struct.pack("<H", len(values))
        + entries
        + bytes(4)
        + further
    )
