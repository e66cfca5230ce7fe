"""Formats of picture files by their first bytes, and the facts about a file before it is decoded."""

from __future__ import annotations

import re
from dataclasses import dataclass

# First bytes of picture formats (readable or not), then of other files that users pass. The first match is used.
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


class LayoutError(Exception):
    """An undamaged file of an unexpected kind; the message says what it is, what is expected and the next step."""


@dataclass(frozen=True)
class Container:
    """A file's structure. ``content``: the bytes for the decoder; ``orientation``: 1 to 8 as in EXIF, 1 is upright."""

    format: str
    content: bytes
    orientation: int = 1
    profile: bytes | None = None
    # For TIFF: bits of the deepest channel, number of channels, and whether 0 is white in 16-bit files.
    bits: int = 8
    samples: int = 0
    inverted: bool = False


def format_of(content: bytes) -> str | None:
    """Return the name of the format of a file with these first bytes, or None."""
    return next((name for pattern, name in _PATTERNS if pattern.match(content[:64])), None)


def several(format: str, count: int) -> str:
    """Return the message about a file of more than one picture."""
    return f"a {format} of {count} pictures; expected one. Save the one that is meant as a file of its own"
