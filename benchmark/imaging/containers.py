"""Read a picture file's structure before it is decoded: format, end, number of pictures, orientation.

Decoders return pixels even for the preview in a camera's RAW file, the first of several pages, or half a file. So the
structure is read here. PNG and JPEG files are passed on without the chunks that contain no pixels (texts, profiles,
previews), because decoders may fail on these; in TIFF files the tag Orientation is set to 1, because a decoder would
apply it in this format and in no other.
"""

from __future__ import annotations

import re
import zlib

from benchmark.imaging.formats import Container, LayoutError, several
from benchmark.imaging.tiff import exif_orientation, read_tiff

_EXIF_HEAD, _ICC_HEAD = b"Exif\0\0", b"ICC_PROFILE\0"
# The end of a JPEG's scan: a marker that is neither a stuffed byte, a restart nor a fill byte.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_PNG_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
# Progressive files have about ten scans; each takes time for the whole picture.
_MOST_SCANS = 100


def read_container(format: str, content: bytes) -> Container:
    """Return the structure of a file of ``format``.

    Raises LayoutError for a file that holds several pictures or another kind, and others (EOFError, ValueError,
    struct.error) for one that is damaged or cut off.
    """
    reader = {"PNG": _read_png, "JPEG": _read_jpeg, "TIFF": read_tiff, "WEBP": _read_webp}.get(format)
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
            raise LayoutError(several("PNG", int.from_bytes(data[:4], "big")))
        if kind == b"eXIf":
            orientation = exif_orientation(data)
        elif kind == b"iCCP":
            profile = _inflated(data.partition(b"\0")[2][1:])
        elif kind in _PNG_KEPT:
            kept.append(content[position:end])
        if kind == b"IEND":
            return Container("PNG", b"".join(kept), orientation, profile)
        position = end


def _inflated(data: bytes) -> bytes | None:
    """Return a decompressed profile; None if it is damaged or larger than any real profile."""
    most = 64 << 20
    unpack = zlib.decompressobj()
    try:
        profile = unpack.decompress(data, most)
    except zlib.error:
        return None
    return profile if unpack.eof else None


def _read_jpeg(content: bytes) -> Container:
    """Follow the markers and scans to the end marker of the first picture; phones add other pictures after it."""
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
            orientation = exif_orientation(data[len(_EXIF_HEAD) :])
        elif marker == 0xE2 and data.startswith(_ICC_HEAD) and len(data) > len(_ICC_HEAD) + 2:
            profile[data[len(_ICC_HEAD)]] = data[len(_ICC_HEAD) + 2 :]
        if scans > _MOST_SCANS:
            raise LayoutError(f"a JPEG of more than {_MOST_SCANS} scans, which only a made-up file has. Save it again")
        # Of the application segments, only those of JFIF and Adobe contain information about colours.
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
            orientation = exif_orientation(data.removeprefix(_EXIF_HEAD))
        elif kind == b"ICCP":
            profile = data
        position += 8 + size + size % 2
    if frames > 1:
        raise LayoutError(several("WEBP", frames))
    return Container("WEBP", content, orientation, profile)
