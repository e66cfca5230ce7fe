"""What a picture file's own structure says, before a decoder sees it: format, end, number of pictures, orientation.

Decoders make pixels of whatever there is: of the preview in a camera's RAW file, of the first page of several, of half
a file. So the structure is read here. PNG and JPEG files are handed on without the chunks that make no pixels (texts,
profiles, previews), in which decoders find their own faults; TIFF files with the tag Orientation set to 1, because a
decoder would turn this format and no other.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

# The first bytes of pictures, those that are read and others, and of what people have instead. The first match counts.
_PICTURES: tuple[tuple[bytes, str], ...] = (
    (rb"\x89PNG\r\n\x1a\n", "PNG"),
    (rb"\xff\xd8\xff", "JPEG"),
    (rb"II\*\0.{4}CR", "CR2, a camera's RAW file"),
    (rb"II[*+]\0|MM\0[*+]", "TIFF"),
    (rb"RIFF.{4}WEBP", "WEBP"),
    (rb"P[14]\s", "PBM"),
    (rb"P[25]\s", "PGM"),
    (rb"P[36]\s", "PPM"),
    (rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", "BMP"),
    (rb"GIF8[79]a", "GIF"),
    (rb".{4}ftypcrx ", "CR3, a camera's RAW file"),
    (rb".{4}ftypavi[fs]", "AVIF"),
    (rb".{4}ftyp(hei|hev|mif1|msf1)", "HEIC"),
    (rb"\0\0\0\x0cjP  \r\n|\xff\x4f\xff\x51", "JPEG 2000"),
    (rb"\0\0\0\x0cJXL \r\n|\xff\x0a", "JPEG XL"),
    (rb"IIU\0|IIR[OS]|MMOR|FUJIFILMCCD-RAW|FOVb|\0MRM", "camera's RAW file"),
    (rb"\x76\x2f\x31\x01", "OpenEXR file"),
    (rb"P7\n", "PAM"),
    (rb"P[Ff]\s", "PFM"),
    (rb"8BPS", "Photoshop file"),
)
_OTHERS: tuple[tuple[bytes, str], ...] = (
    (rb"%PDF-", "PDF"),
    (rb"\x93NUMPY", "NumPy array"),
    (rb"\x89HDF\r\n|MATLAB 5\.0|MATLAB 7\.3", "MATLAB or HDF5 file"),
    (rb"PK\x03\x04", "zip archive"),
    (rb"\s*<(?i:!DOCTYPE|html)", "web page"),
    (rb"version https://git-lfs", "pointer of Git LFS, not the file itself"),
)
PICTURES = frozenset(name for _, name in _PICTURES)
_PATTERNS = tuple((re.compile(head, re.DOTALL), name) for head, name in (*_PICTURES, *_OTHERS))
_EXIF_HEAD, _ICC_HEAD = b"Exif\0\0", b"ICC_PROFILE\0"
# In a JPEG's scan, what ends it: a marker that is neither a stuffed byte, a restart nor a fill byte.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_PNG_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_PICTURES_LISTED = 10_000
# Progressive files have about ten; each takes time over the whole picture.
_MOST_SCANS = 100

# Tags of TIFF and EXIF.
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION, _SAMPLES = 256, 257, 258, 259, 262, 274, 277
_STRIP_ROWS, _PLANAR, _TILE_WIDTH, _TILE_HEIGHT, _SAMPLE_FORMAT = 278, 284, 322, 323, 339
_NEW_SUBFILE, _OLD_SUBFILE, _SUB_IFDS, _PROFILE, _DNG = 254, 255, 330, 34675, 50706
_PIECES = ((273, 279), (324, 325))
_NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_WHITE_IS_ZERO, _COLOUR_FILTER, _LINEAR_RAW = 0, 32803, 34892


class LayoutError(Exception):
    """A sound file that is not what is expected; the message says what it is, what is expected and the next step."""


@dataclass(frozen=True)
class Container:
    """A file's structure. ``content``: what a decoder gets; ``orientation``: 1 to 8 as EXIF counts, 1 is upright."""

    format: str
    content: bytes
    orientation: int = 1
    profile: bytes | None = None
    # TIFF: bits of the deepest channel, number of channels, and whether 0 is white in 16-bit files.
    bits: int = 8
    samples: int = 0
    inverted: bool = False


def format_of(content: bytes) -> str | None:
    """Return the name of the format that a file's first bytes are those of, or None."""
    return next((name for pattern, name in _PATTERNS if pattern.match(content[:64])), None)


def read_container(format: str, content: bytes) -> Container:
    """Return the structure of a file of ``format``.

    Raises LayoutError for a file that holds several pictures or another kind, and others (EOFError, ValueError,
    struct.error) for one that is damaged or cut off.
    """
    reader = {"PNG": _read_png, "JPEG": _read_jpeg, "TIFF": _read_tiff, "WEBP": _read_webp}.get(format)
    return reader(content) if reader else Container(format, content)


def _read_png(content: bytes) -> Container:
    kept, orientation, profile, position = [content[:8]], 1, None, 8
    while True:
        head = content[position : position + 8]
        if len(head) < 8:
            raise EOFError("the last chunk is missing")
        kind, end = head[4:], position + 12 + int.from_bytes(head[:4], "big")
        if not kind.isalpha() or (position == 8) != (kind == b"IHDR"):
            raise ValueError("a chunk of no kind, or in a wrong place")
        if end > len(content):
            raise EOFError("a chunk is cut off")
        data = content[position + 8 : end - 4]
        if kind == b"acTL" and int.from_bytes(data[:4], "big") > 1:
            raise LayoutError(_several("PNG", int.from_bytes(data[:4], "big")))
        if kind == b"eXIf":
            orientation = _exif_orientation(data)
        elif kind == b"iCCP":
            profile = _inflated(data.partition(b"\0")[2][1:])
        elif kind in _PNG_KEPT:
            kept.append(content[position:end])
        if kind == b"IEND":
            return Container("PNG", b"".join(kept), orientation, profile)
        position = end


def _inflated(data: bytes) -> bytes | None:
    """Return a compressed profile; None if it is damaged or larger than any profile is."""
    most = 64 << 20
    unpack = zlib.decompressobj()
    try:
        profile = unpack.decompress(data, most)
    except zlib.error:
        return None
    return profile if unpack.eof else None


def _read_jpeg(content: bytes) -> Container:
    """Walk from marker to marker, scans too, to the end marker of the first picture: phones add others behind it."""
    kept, position, orientation, scans = [content[:2]], 2, 1, 0
    profile: dict[int, bytes] = {}
    while True:
        found = _MARKER.search(content, position)
        if found is None:
            raise EOFError("the end marker is missing")
        marker, start = content[found.start() + 1], found.end()
        if marker == 0xD9:
            if not scans:
                raise EOFError("there is no scan in it")
            kept.append(content[position:start])
            parts = [profile[number] for number in sorted(profile)]
            return Container("JPEG", b"".join(kept), orientation, b"".join(parts) or None)
        if marker < 0xC0 or marker == 0xD8:
            raise ValueError("a marker in a wrong place")
        end = start + int.from_bytes(content[start : start + 2], "big")
        if end < start + 2 or end > len(content):
            raise EOFError("a segment is cut off")
        data = content[start + 2 : end]
        scans += marker == 0xDA
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and data[:1] not in (b"\x08", b""):
            raise LayoutError(f"a JPEG of {data[0]} bits a colour; expected 8. Save it as 16-bit PNG")
        if marker == 0xE1 and data.startswith(_EXIF_HEAD):
            orientation = _exif_orientation(data[len(_EXIF_HEAD) :])
        elif marker == 0xE2 and data.startswith(_ICC_HEAD) and len(data) > len(_ICC_HEAD) + 2:
            profile[data[len(_ICC_HEAD)]] = data[len(_ICC_HEAD) + 2 :]
        if scans > _MOST_SCANS:
            raise LayoutError(f"a JPEG of more than {_MOST_SCANS} scans, which only a made-up file has. Save it again")
        # Of what applications add, only the segments of JFIF and Adobe say something about colours.
        if marker in (0xE0, 0xEE) or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            kept.append(content[position:end])
        else:
            kept.append(content[position : found.start()])
        position = end


def _read_webp(content: bytes) -> Container:
    end = 8 + int.from_bytes(content[4:8], "little")
    if end > len(content):
        raise EOFError("its end is missing")
    orientation, profile, frames, position = 1, None, 0, 12
    while position + 8 <= end:
        kind, size = content[position : position + 4], int.from_bytes(content[position + 4 : position + 8], "little")
        data = content[position + 8 : position + 8 + size]
        frames += kind == b"ANMF"
        if kind == b"EXIF":
            orientation = _exif_orientation(data.removeprefix(_EXIF_HEAD))
        elif kind == b"ICCP":
            profile = data
        position += 8 + size + size % 2
    if frames > 1:
        raise LayoutError(_several("WEBP", frames))
    return Container("WEBP", content, orientation, profile)


@dataclass(frozen=True)
class _Directory:
    """One directory of a TIFF: by tag its type, count, and where the values and the entry lie."""

    content: bytes
    order: str
    entries: Mapping[int, tuple[int, int, int, int]] = field(default_factory=dict)
    following: int = 0

    def numbers(self, tag: int) -> Sequence[int]:
        """Return the values of a tag of whole numbers; none if it is not there or of another type."""
        type, count, where, _ = self.entries.get(tag, (0, 0, 0, 0))
        if type not in _NUMBERS:
            return ()
        return struct.unpack_from(f"{self.order}{count}{_NUMBERS[type]}", self.content, where)

    def number(self, tag: int, otherwise: int) -> int:
        """Return the first value of a tag."""
        return next(iter(self.numbers(tag)), otherwise)

    @property
    def is_picture(self) -> bool:
        """Whether there are pixels in it, beyond those of a preview as a JPEG of its own."""
        return _WIDTH in self.entries and any(offsets in self.entries for offsets, _ in _PIECES)

    @property
    def is_reduced(self) -> bool:
        """Whether it is a smaller copy or a mask of another picture."""
        return bool(self.number(_NEW_SUBFILE, 0) & 5) or self.number(_OLD_SUBFILE, 1) == 2

    @property
    def is_mosaic(self) -> bool:
        """Whether it is what a camera's sensor saw."""
        return self.number(_PHOTOMETRIC, 1) in (_COLOUR_FILTER, _LINEAR_RAW)


class _Tiff:
    """The directories of a TIFF, or of EXIF data, which are one."""

    def __init__(self, content: bytes) -> None:
        head = content[:4]
        if head not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            raise ValueError("no TIFF header")
        self.content, self.order, self.big = content, "<" if head[:2] == b"II" else ">", b"+" in head
        self.size, self.pointer = (20, "Q") if self.big else (12, "I")
        (self.first,) = struct.unpack_from(f"{self.order}{self.pointer}", content, 8 if self.big else 4)

    def directory(self, offset: int) -> _Directory:
        """Return the directory at ``offset``; raises struct.error if it is not whole."""
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
        """Yield the directories that follow each other; raises ValueError if they run in a circle."""
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
        """Write one short number as the value of a tag that is there into ``content``."""
        entry = directory.entries[tag][3]
        struct.pack_into(f"{self.order}HH{self.pointer}H", content, entry, tag, 3, 1, value)


def _exif_orientation(data: bytes) -> int:
    try:
        tiff = _Tiff(data)
        return _upright(tiff.directory(tiff.first))
    except (ValueError, EOFError, struct.error):
        return 1


def _upright(directory: _Directory) -> int:
    orientation = directory.number(_ORIENTATION, 1)
    return orientation if 1 <= orientation <= 8 else 1


def _read_tiff(content: bytes) -> Container:
    tiff = _Tiff(content)
    pictures = list(tiff.chain())
    if not pictures:
        raise EOFError("there is no directory in it")
    first = pictures[0]
    below = [tiff.directory(offset) for offset in first.numbers(_SUB_IFDS)[:_PICTURES_LISTED]]
    _refuse_other_tiffs(first, [picture for picture in pictures if picture.is_picture], below)
    _check_pieces(first, len(content))
    bits = max(first.numbers(_BITS), default=1)
    # Pillow inverts the shallower ones, and has no name for these in the other byte order.
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
    """Raise EOFError for strips or tiles beyond the end of the file, and for fewer than the picture takes.

    A decoder leaves black what it finds no piece of.
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
    """Raise LayoutError for RAW files, whose first picture is a preview, several pages, floats and signed numbers."""
    step = "Develop it, or save its mosaic as 16-bit grey PNG"
    if _DNG in first.entries:
        raise LayoutError(f"a DNG, a camera's RAW file; expected a picture. {step}")
    whole = [picture for picture in below if not picture.is_reduced]
    if any(picture.is_mosaic for picture in (*pictures, *below)) or (first.is_reduced and whole):
        raise LayoutError(f"a camera's RAW file (NEF, ARW and others are TIFF files); expected a picture. {step}")
    count = sum(not picture.is_reduced for picture in pictures) + len(whole)
    if count > 1:
        raise LayoutError(_several("TIFF", count))
    if pictures and first.is_reduced:
        raise LayoutError("a TIFF whose first picture is a preview; expected one picture. Save it as a file of its own")
    formats = set(first.numbers(_SAMPLE_FORMAT))
    if formats & {2, 3}:
        kind = "floats" if 3 in formats else "signed numbers"
        depth = max(first.numbers(_BITS), default=1)
        raise LayoutError(
            f"a TIFF of {depth}-bit {kind}; expected whole numbers from 0 of 8 or 16 bits. Save it as 16-bit PNG"
        )


def _several(format: str, count: int) -> str:
    return f"a {format} of {count} pictures; expected one. Save the one that is meant as a file of its own"


def describe_tiff(content: bytes) -> str:
    """Return bits, channels and kind of colour of a TIFF that no decoder takes, in words."""
    first = next(_Tiff(content).chain())
    bits = "/".join(map(str, sorted({*first.numbers(_BITS)}) or [1]))
    colours = {0: "grey", 1: "grey", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr", 8: "Lab", 9: "Lab", 10: "Lab"}
    number = first.number(_PHOTOMETRIC, -1)
    return f"{bits} bits, {first.number(_SAMPLES, 1)} channels, {colours.get(number, f'colours of kind {number}')}"
