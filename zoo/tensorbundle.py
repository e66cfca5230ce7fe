"""Read TensorFlow checkpoints, ``NAME.index`` with ``NAME.data-00000-of-00001``, without TensorFlow.

The index is a table of LevelDB: its footer leads to a block of blocks, whose entries lead to blocks of variables. Each
variable's entry is a protocol buffer with type, shape, place in the data file and a checksum. Numbers of these formats
are little-endian. Everything that an index claims is compared with the sizes of both files before memory is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zoo.errors import shortened

INDEX, DATA = ".index", ".data-00000-of-00001"
_DATA = re.compile(r"\.data-\d{5}-of-\d{5}$")
# An index has about 40 bytes for each variable.
_MAX_INDEX, _MAX_NAME = 4 << 20, 1000
# Python needs ten seconds for the checksums of this.
_MAX_DATA = 64 << 20
_MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
_FOOTER, _TRAILER = 48, 5
# TensorFlow's numbers of types.
_TYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8"}


def bundle_of(path: str | Path) -> tuple[Path, Path] | None:
    """Return the two files of the checkpoint that ``path`` names by its prefix or one file; None for other files."""
    name = str(path)
    if name.endswith(INDEX):
        prefix = name.removesuffix(INDEX)
    elif _DATA.search(name):
        prefix = _DATA.sub("", name)
    else:
        prefix = name
        try:
            if Path(name).exists() or not Path(name + INDEX).exists():
                return None
        except (OSError, ValueError):
            return None
    return Path(prefix + INDEX), Path(prefix + DATA)


def read_bundle(index: Path, data: Path) -> dict[str, Tensor]:
    """Return the variables by name, in TensorFlow's layout.

    Raises ValueError for a file of another kind, a damaged one and one with variables that are no plain numbers.
    """
    for file, most in ((index, _MAX_INDEX), (data, _MAX_DATA)):
        if file.stat().st_size > most:
            raise ValueError(f"{file.name} has {file.stat().st_size:,} bytes, at most {most:,} are read; use an .npz")
    entries = dict(_table(index.read_bytes()))
    header = _fields(entries.pop("", b""))
    if header.get(1, [1]) != [1] or header.get(2, [0]) != [0]:
        raise ValueError("it has several data files, or numbers of another byte order; expected one little-endian file")
    content = data.read_bytes() if entries else b""
    left, state = len(content), {}
    for name, entry in entries.items():
        kind, shape, offset, size, crc = _variable(name, entry)
        left -= size
        # Variables do not overlap, so they are not larger than the file.
        if offset + size > len(content) or left < 0:
            raise ValueError(f"{shortened(name)} ends beyond the {len(content):,} bytes of {data.name}")
        part = content[offset : offset + size]
        if crc is not None and _masked_crc(part) != crc:
            raise ValueError(f"the checksum of {shortened(name)} does not match")
        state[name] = torch.from_numpy(np.frombuffer(bytearray(part), kind).reshape(shape))
    return state


def _variable(name: str, entry: bytes) -> tuple[np.dtype, tuple[int, ...], int, int, int | None]:
    """Return type, shape, offset, size in bytes and checksum of a variable."""
    fields = _fields(entry)
    number = _number(fields, 1)
    if number not in _TYPES or fields.get(7):
        what = "is stored in slices" if fields.get(7) else f"has TensorFlow's type {number}"
        raise ValueError(f"{shortened(name)} {what}; expected whole float or integer variables")
    shape = tuple(
        _number(_fields(side), 1) for side in _fields(_bytes(fields, 2)).get(2, []) if isinstance(side, bytes)
    )
    kind, size = np.dtype(_TYPES[number]), _number(fields, 5)
    values = kind.itemsize
    for side in shape:
        values *= side
    if values != size or _number(fields, 3) != 0:
        raise ValueError(f"{shortened(name)} of shape {shape} has {size:,} bytes; expected {values:,} in one file")
    return kind, shape, _number(fields, 4), size, _number(fields, 6) if 6 in fields else None


def _table(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield names and values of a LevelDB table."""
    if len(content) < _FOOTER or content[-8:] != _MAGIC:
        raise ValueError("it is no complete index of a TensorFlow checkpoint")
    footer = content[-_FOOTER:]
    _, at = _varint(footer, 0)
    _, at = _varint(footer, at)
    before = None
    for _, place in _entries(_block(content, footer[at:])):
        for key, value in _entries(_block(content, place)):
            if before is not None and key <= before:
                raise ValueError("its names are not in order")
            before = key
            yield key.decode("utf-8", "backslashreplace"), value


def _block(content: bytes, handle: bytes) -> bytes:
    """Return the block whose offset and size ``handle`` begins with."""
    offset, at = _varint(handle, 0)
    size, _ = _varint(handle, at)
    end = offset + size
    if end + _TRAILER > len(content):
        raise ValueError("a block ends beyond the index")
    if content[end]:
        raise ValueError("a block is compressed; expected plain ones")
    if _masked_crc(content[offset : end + 1]) != int.from_bytes(content[end + 1 : end + _TRAILER], "little"):
        raise ValueError("the checksum of a block does not match")
    return content[offset:end]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of a block; each key repeats the beginning of the one before."""
    restarts = int.from_bytes(block[-4:], "little")
    end, at, key = len(block) - 4 - 4 * restarts, 0, b""
    if end < 0:
        raise ValueError("a block is cut off")
    while at < end:
        shared, at = _varint(block, at)
        new, at = _varint(block, at)
        size, at = _varint(block, at)
        if shared > len(key) or shared + new > _MAX_NAME or at + new + size > end:
            raise ValueError("an entry is damaged")
        key = key[:shared] + block[at : at + new]
        at += new + size
        yield key, block[at - size : at]


def _fields(message: bytes) -> dict[int, list[int | bytes]]:
    """Return the values of a protocol buffer by their numbers."""
    found: dict[int, list[int | bytes]] = {}
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        value: int | bytes
        if tag & 7 == 0:
            value, at = _varint(message, at)
        else:
            size = {1: 8, 5: 4}.get(tag & 7)
            if tag & 7 == 2:
                size, at = _varint(message, at)
            if size is None or at + size > len(message):
                raise ValueError("an entry is damaged")
            value = message[at : at + size]
            at += size
        found.setdefault(tag >> 3, []).append(value)
    return found


def _number(fields: dict[int, list[int | bytes]], number: int) -> int:
    """Return a number of a protocol buffer, 0 where it is left out."""
    value = fields.get(number, [0])[-1]
    return int.from_bytes(value, "little") if isinstance(value, bytes) else value


def _bytes(fields: dict[int, list[int | bytes]], number: int) -> bytes:
    value = fields.get(number, [b""])[-1]
    if not isinstance(value, bytes):
        raise ValueError("an entry is damaged")
    return value


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """Return a number of seven bits per byte, and where it ends."""
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(content):
            raise ValueError("an entry is cut off")
        value |= (content[at] & 127) << shift
        at += 1
        if content[at - 1] < 128:
            return value, at
    raise ValueError("an entry is damaged")


def _crc_table() -> list[int]:
    table = list(range(256))
    for _ in range(8):
        table = [crc >> 1 ^ (0x82F63B78 if crc & 1 else 0) for crc in table]
    return table


_CRC = _crc_table()


def _masked_crc(content: bytes) -> int:
    """Return the CRC-32C of ``content``, masked as LevelDB stores it."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = _CRC[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
