"""The directories of TIFF files (EXIF data have the same form), and the TIFF files that are refused."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from benchmark.imaging.formats import Container, LayoutError, several

# Tags of TIFF and EXIF.
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION, _SAMPLES = 256, 257, 258, 259, 262, 274, 277
_STRIP_ROWS, _PLANAR, _TILE_WIDTH, _TILE_HEIGHT, _SAMPLE_FORMAT = 278, 284, 322, 323, 339
_NEW_SUBFILE, _OLD_SUBFILE, _SUB_IFDS, _PROFILE, _DNG = 254, 255, 330, 34675, 50706
_PIECES = ((273, 279), (324, 325))
_NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_WHITE_IS_ZERO, _COLOUR_FILTER, _LINEAR_RAW = 0, 32803, 34892
_PICTURES_LISTED = 10_000


@dataclass(frozen=True)
class _Directory:
    """One directory of a TIFF: by tag its type, its count, and the positions of the values and of the entry."""

    content: bytes
    order: str
    entries: Mapping[int, tuple[int, int, int, int]] = field(default_factory=dict)
    following: int = 0

    def numbers(self, tag: int) -> Sequence[int]:
        """Return the values of an integer tag; empty if it is missing or of another type."""
        type, count, where, _ = self.entries.get(tag, (0, 0, 0, 0))
        if type not in _NUMBERS:
            return ()
        return struct.unpack_from(f"{self.order}{count}{_NUMBERS[type]}", self.content, where)

    def number(self, tag: int, otherwise: int) -> int:
        """Return the first value of a tag, or ``otherwise`` if it has none."""
        return next(iter(self.numbers(tag)), otherwise)

    @property
    def is_picture(self) -> bool:
        """Whether it holds pixels other than a preview stored as a separate JPEG."""
        return _WIDTH in self.entries and any(offsets in self.entries for offsets, _ in _PIECES)

    @property
    def is_reduced(self) -> bool:
        """Whether it is a smaller copy or a mask of another picture."""
        return bool(self.number(_NEW_SUBFILE, 0) & 5) or self.number(_OLD_SUBFILE, 1) == 2

    @property
    def is_mosaic(self) -> bool:
        """Whether it holds the raw values of a camera's sensor."""
        return self.number(_PHOTOMETRIC, 1) in (_COLOUR_FILTER, _LINEAR_RAW)


class _Tiff:
    """The directories of a TIFF or of EXIF data, which have the form of a TIFF."""

    def __init__(self, content: bytes) -> None:
        head = content[:4]
        if head not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            raise ValueError("no TIFF header")
        self.content, self.order, self.big = content, "<" if head[:2] == b"II" else ">", b"+" in head
        self.size, self.pointer = (20, "Q") if self.big else (12, "I")
        (self.first,) = struct.unpack_from(f"{self.order}{self.pointer}", content, 8 if self.big else 4)

    def directory(self, offset: int) -> _Directory:
        """Return the directory at ``offset``; raises struct.error if it is incomplete."""
        (count,) = struct.unpack_from(f"{self.order}{'Q' if self.big else 'H'}", self.content, offset)
        start = offset + (8 if self.big else 2)
        if start + count * self.size > len(self.content):
            raise EOFError("a directory is cut off")
        room = struct.calcsize(self.pointer)
        sizes = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
        entries: dict[int, tuple[int, int, int, int]] = {}
        for where in range(start, start + count * self.size, self.size):
            tag, type, number = struct.unpack_from(f"{self.order}HH{self.pointer}", self.content, where)
            at = where + self.size - room
            if number * sizes.get(type, 1) > room:
                (at,) = struct.unpack_from(f"{self.order}{self.pointer}", self.content, at)
            entries.setdefault(tag, (type, number, at, where))
        (following,) = struct.unpack_from(f"{self.order}{self.pointer}", self.content, start + count * self.size)
        return _Directory(self.content, self.order, entries, following)

    def chain(self) -> Iterator[_Directory]:
        """Yield the directories of the chain; raises ValueError if it forms a loop."""
        seen: set[int] = set()
        offset = self.first
        while offset:
            if offset in seen or len(seen) > _PICTURES_LISTED:
                raise ValueError("its directories run in a circle")
            seen.add(offset)
            directory = self.directory(offset)
            yield directory
            offset = directory.following

    def with_value(self, content: bytearray, directory: _Directory, tag: int, value: int) -> None:
        """Write one short number into ``content`` as the value of an existing tag."""
        entry = directory.entries[tag][3]
        struct.pack_into(f"{self.order}HH{self.pointer}H", content, entry, tag, 3, 1, value)


def exif_orientation(data: bytes) -> int:
    """Return the orientation in EXIF data; 1 if they are damaged or have none."""
    try:
        tiff = _Tiff(data)
        return _upright(tiff.directory(tiff.first))
    except (ValueError, EOFError, struct.error):
        return 1


def _upright(directory: _Directory) -> int:
    orientation = directory.number(_ORIENTATION, 1)
    return orientation if 1 <= orientation <= 8 else 1


def read_tiff(content: bytes) -> Container:
    """Return the structure of a TIFF; raises the errors of ``read_container``."""
    tiff = _Tiff(content)
    pictures = list(tiff.chain())
    if not pictures:
        raise EOFError("there is no directory in it")
    first = pictures[0]
    below = [tiff.directory(offset) for offset in first.numbers(_SUB_IFDS)[:_PICTURES_LISTED]]
    _refuse_other_tiffs(first, [picture for picture in pictures if picture.is_picture], below)
    _check_pieces(first, len(content))
    bits = max(first.numbers(_BITS), default=1)
    # Pillow inverts files of fewer bits, and has no mode for these in the other byte order.
    inverted = bits == 16 and first.number(_PHOTOMETRIC, 1) == _WHITE_IS_ZERO
    orientation, profile = _upright(first), None
    if _PROFILE in first.entries:
        _, size, where, _ = first.entries[_PROFILE]
        profile = content[where : where + size] or None
    changes = {_ORIENTATION: 1} if _ORIENTATION in first.entries else {}
    changes |= {_PHOTOMETRIC: 1} if inverted else {}
    if changes:
        changed = bytearray(content)
        for tag, value in changes.items():
            tiff.with_value(changed, first, tag, value)
        content = bytes(changed)
    return Container("TIFF", content, orientation, profile, bits, first.number(_SAMPLES, 1), inverted)


def _check_pieces(picture: _Directory, end: int) -> None:
    """Raise EOFError for strips or tiles beyond the end of the file, and if there are too few for the picture.

    A decoder leaves missing pieces black.
    """
    height, width, planes = picture.number(_HEIGHT, 0), picture.number(_WIDTH, 0), 1
    if picture.number(_PLANAR, 1) == 2:
        planes = picture.number(_SAMPLES, 1)
    for (offsets, sizes), (rows_tag, columns_tag) in zip(_PIECES, ((_STRIP_ROWS, 0), (_TILE_HEIGHT, _TILE_WIDTH))):
        starts, lengths = picture.numbers(offsets), picture.numbers(sizes)
        if offsets not in picture.entries:
            continue
        if max((start + size for start, size in zip(starts, lengths)), default=0) > end:
            raise EOFError("a strip lies beyond the end of the file")
        rows, columns = max(picture.number(rows_tag, height), 1), max(picture.number(columns_tag, width), 1)
        wanted = -(-height // rows) * -(-width // columns) * planes
        if len(starts) < wanted:
            raise EOFError(f"{len(starts)} of {wanted} strips or tiles are there")
        need = height * ((width * sum(picture.numbers(_BITS) or [1]) + 7) // 8)
        found = end - starts[0] if len(starts) == 1 else sum(lengths or [need])
        if picture.number(_COMPRESSION, 1) == 1 and found < need:
            raise EOFError(f"{found} of {need} bytes of pixels are there")


def _refuse_other_tiffs(first: _Directory, pictures: Sequence[_Directory], below: Sequence[_Directory]) -> None:
    """Raise LayoutError for several pages, floats, signed numbers, and RAW files, whose first picture is a preview."""
    step = "Develop it, or save its mosaic as 16-bit gray PNG"
    if _DNG in first.entries:
        raise LayoutError(f"a DNG, a camera's RAW file; expected a picture. {step}")
    whole = [picture for picture in below if not picture.is_reduced]
    if any(picture.is_mosaic for picture in (*pictures, *below)) or (first.is_reduced and whole):
        raise LayoutError(f"a camera's RAW file (NEF, ARW and others are TIFF files); expected a picture. {step}")
    count = sum(not picture.is_reduced for picture in pictures) + len(whole)
    if count > 1:
        raise LayoutError(several("TIFF", count))
    if pictures and first.is_reduced:
        raise LayoutError("a TIFF whose first picture is a preview; expected one picture. Save it as a file of its own")
    formats = set(first.numbers(_SAMPLE_FORMAT))
    if formats & {2, 3}:
        kind = "floats" if 3 in formats else "signed numbers"
        depth = max(first.numbers(_BITS), default=1)
        raise LayoutError(
            f"a TIFF of {depth}-bit {kind}; expected whole numbers from 0 of 8 or 16 bits. Save it as 16-bit PNG"
        )


def describe_tiff(content: bytes) -> str:
    """Describe bits, channels and colour of a TIFF that no decoder accepts."""
    first = next(_Tiff(content).chain())
    bits = "/".join(map(str, sorted({*first.numbers(_BITS)}) or [1]))
    colours = {0: "gray", 1: "gray", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr", 8: "Lab", 9: "Lab", 10: "Lab"}
    number = first.number(_PHOTOMETRIC, -1)
    return f"{bits} bits, {first.number(_SAMPLES, 1)} channels, {colours.get(number, f'colours of kind {number}')}"
