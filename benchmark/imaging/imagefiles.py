"""Read pictures and mosaics at their stored depth; a damaged file is refused, never partly read."""

from __future__ import annotations

import contextlib
import ctypes
import io
import warnings
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmark.imaging.containers import read_container
from benchmark.imaging.formats import PICTURES, Container, LayoutError, format_of
from benchmark.imaging.netpbm import read_netpbm
from benchmark.imaging.tiff import describe_tiff
from zoo.errors import UserError, reason_of
from zoo.inputs import refuse_endless

# Files of 100-megapixel cameras are accepted; beyond Pillow's hard limit, 179 megapixels, files are refused.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# Pillow's warnings about a file (for example about odd tags) would be lines without the file's name.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

FORMATS = ("PNG", "JPEG", "TIFF")
# Formats of a user's own pictures if no dataset defines the formats.
MORE_FORMATS = (*FORMATS, "BMP", "PPM", "WEBP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
# Suffixes of pictures that are not read from folders; an error message names the existing ones.
_OTHER_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in (
        *("arw", "cr2", "cr3", "dng", "nef", "orf", "raf", "rw2"),
        *("avif", "bmp", "exr", "gif", "heic", "heif", "j2k", "jp2", "jxl", "pgm", "pnm", "ppm", "webp"),
    )
)
_FAMILIES = {"PBM": "PPM", "PGM": "PPM"}
MOST_PIXELS = 2 * 89_478_485
# The largest plausible number of pixel bytes per file byte: a black PNG has 1000, a noisy one 2.
_BOMB_RATIO, _BOMB_BYTES = 400, 64 << 20
# A JPEG has at least a bit for the mean of each 8x8 block.
_JPEG_PIXELS_A_BYTE = 8 * 64
# First row and column, and steps, of the passes of an interlaced PNG.
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
_PNG_KINDS = {0: "gray", 2: "RGB", 3: "palette", 4: "gray with alpha", 6: "RGB with alpha"}
_KINDS = {
    "1": "gray",
    "L": "gray",
    "I;16": "gray",
    "I;16B": "gray",
    "LA": "gray with alpha",
    "La": "gray with alpha",
    "P": "palette",
    "PA": "palette",
    "RGBA": "RGB with alpha",
    "RGBX": "RGB with alpha",
    "LAB": "Lab",
    "I": "32-bit gray",
    "F": "float gray",
}
# Pillow keeps only the upper byte of 16-bit colours; read in the other byte order, this is the lower byte.
_OTHER_ORDER = {"RGB;16B": "RGB;16L", "RGB;16L": "RGB;16B", "RGB;16N": "RGB;16B"}


@dataclass(frozen=True)
class Picture:
    """A decoded file: the stored ``pixels`` (H, W) or (H, W, C), and the file's information about them.

    ``image`` is Pillow's image, with the upper 8 bits of deeper colours. ``orientation`` is as in EXIF, 1 is upright;
    it is never applied. ``size`` (height, width) is the file's, even if ``pixels`` were requested at an eighth of it.
    ``levels`` are those that a camera's file states, in words.
    """

    pixels: NDArray[Any]
    image: Image.Image
    format: str
    kind: str
    bits: int
    size: tuple[int, int]
    orientation: int = 1
    profile: bytes | None = None
    levels: str = ""

    @property
    def words(self) -> str:
        """A description of the file, such as ``16-bit gray PNG``."""
        depth = f"{self.bits}-bit " if self.bits != 8 and self.kind.startswith(("gray", "RGB")) else ""
        return f"{depth}{self.kind} {self.format}"


def read_rgb(name: str, path: Path, *, formats: tuple[str, ...] = FORMATS) -> NDArray[Any]:
    """Return a picture (H, W, 3) at its stored depth, uint8 or uint16; ``name`` is the dataset, for errors.

    Raises UserError naming the file if it is damaged, of another format, or not RGB: gray, alpha and CMYK are
    never converted. An orientation is never applied: pairs are compared by their stored pixels.
    """
    return read_picture(name, path, formats=formats, kinds=("RGB",)).pixels


def read_picture(
    name: str, path: Path, *, formats: tuple[str, ...] = MORE_FORMATS, kinds: tuple[str, ...] = ("gray", "RGB")
) -> Picture:
    """Return a picture, RGB (H, W, 3) or gray (H, W), at its stored depth; raises the errors of ``read_rgb``."""
    picture = decode(name, path, read_content(name, path), formats)
    if picture.kind not in kinds:
        wanted = f"{' or '.join(kinds)}, no alpha. Convert it."
        wanted = "RGB. Convert it without alpha to RGB." if kinds == ("RGB",) else wanted
        raise UserError(f"{name}: {path} is a {picture.words}; expected {wanted}")
    if picture.bits < 8 or (picture.kind == "RGB" and picture.bits not in (8, 16)):
        raise UserError(f"{name}: {path} is a {picture.words}; expected 8 or 16 bits. Convert it.")
    return picture


def kind_of(path: Path) -> str:
    """Return the kind of a picture by its header alone, such as ``gray`` or ``RGB``; empty if there is none to read."""
    return header_of(path)[0]


def header_of(path: Path) -> tuple[str, tuple[int, int] | None]:
    """Return kind and (height, width) of a picture by its header alone; ``""`` and None if there is none to read."""
    try:
        refuse_endless(path)
        _silence_libtiff()
        with Image.open(path) as image:
            return _KINDS.get(image.mode, image.mode), (image.height, image.width)
    except Exception:
        # As in ``decode``: every exception of a decoder is caused by the file, which is refused when it is read.
        return "", None


def read_content(name: str, path: Path) -> bytes:
    """Return the bytes of a file; raises UserError if it cannot be read, or is a pipe or a device."""
    try:
        refuse_endless(path)
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{name}: {path} cannot be read ({error.strerror or error}). Check the file.") from error


def unread_suffixes(folder: Path, read: Collection[str] = SUFFIXES) -> str:
    """Return a sentence about a folder's pictures in formats that are not read; empty if there are none."""
    found = sorted({path.suffix.lower() for path in folder.iterdir()} & (_OTHER_SUFFIXES - {*read}))
    return f" It holds {', '.join(found)} files, which are not read: convert them to PNG." if found else ""


def decode(name: str, path: Path, content: bytes, formats: tuple[str, ...], *, draft: int | None = None) -> Picture:
    """Return the decoded picture; raises UserError if the file is damaged or of another format.

    A JPEG with at least ``draft`` pixels a side is returned at an eighth of its size: all its data are decoded, but
    only 1/64 is transformed.
    """
    format, wanted = format_of(content), " or ".join(formats)
    if format is None or not content:
        raise UserError(f"{name}: {path} is not a complete {wanted} file. Copy it again.")
    if _FAMILIES.get(format, format) not in formats:
        article = "an" if format[0] in "AEIO" else "a"
        step = "Convert it, to 16-bit PNG if it is deep." if format in PICTURES else "Is it the right file?"
        raise UserError(f"{name}: {path} is not a complete {wanted} file: it is {article} {format}. {step}")
    try:
        if format in ("PBM", "PGM", "PPM"):
            return _from_netpbm(format, content)
        return _from_pillow(read_container(format, content), content, draft)
    except LayoutError as error:
        raise UserError(f"{name}: {path} is {error}.") from None
    except Image.DecompressionBombError:
        raise UserError(f"{name}: {path} has more than 178 megapixels; expected fewer. Cut it into parts.") from None
    except MemoryError:
        raise UserError(f"{name}: {path} takes more memory than there is here. Cut it into parts.") from None
    except Exception as error:
        # Every exception of a decoder is caused by the file, because decoders trust the file's content.
        raise UserError(
            f"{name}: {path} is damaged or cut off ({reason_of(error)}); expected a complete {format} file."
            " Copy it again."
        ) from error


def _from_netpbm(format: str, content: bytes) -> Picture:
    pixels, largest = read_netpbm(content, MOST_PIXELS)
    if format == "PPM" and largest not in (255, 65535):
        raise LayoutError(
            f"a PPM whose largest value is {largest}; expected 255 or 65535."
            f" Save its counts as 16-bit PNG and give --white {largest}"
        )
    image = Image.fromarray(pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8))
    bits = 16 if largest == 65535 else largest.bit_length()
    return Picture(pixels, image, format, "RGB" if pixels.ndim == 3 else "gray", max(bits, 8), pixels.shape[:2])


@cache
def _silence_libtiff() -> None:
    """Stop the libtiff in Pillow's wheels from printing errors on stderr without the file's name."""
    package = Path(Image.__file__).parent
    for file in (*package.parent.glob("[pP]illow.libs/libtiff*"), *package.glob(".dylibs/libtiff*")):
        with contextlib.suppress(OSError, AttributeError):
            library = ctypes.CDLL(str(file))
            library.TIFFSetErrorHandler(None)
            library.TIFFSetWarningHandler(None)


def _from_pillow(container: Container, content: bytes, draft: int | None) -> Picture:
    format = container.format
    if format == "TIFF":
        _silence_libtiff()
    try:
        image = Image.open(io.BytesIO(container.content), formats=(format,))
    except Image.UnidentifiedImageError:
        if format == "TIFF":
            raise LayoutError(
                f"a TIFF of a kind that is not read ({describe_tiff(content)}); expected gray or RGB with 8 or 16 bits."
                " Save it as 16-bit PNG or TIFF"
            ) from None
        raise ValueError("its header is damaged") from None
    size = image.size[1], image.size[0]
    bits = content[24] if format == "PNG" else 1 if image.mode == "1" else container.bits
    # Pillow reports palettes, gray and alpha only as 8 bits, so the true kind is read from a PNG's header.
    kind = _PNG_KINDS.get(content[25], "unknown") if format == "PNG" else _KINDS.get(image.mode, image.mode)
    if format == "PNG" and "transparency" in image.info and kind in ("gray", "RGB"):
        kind += " with a transparent colour"
    if kind in ("gray", "RGB") and container.samples not in (0, 1, 3):
        kind += " with another channel"
    if format == "JPEG" and size[0] * size[1] > _JPEG_PIXELS_A_BYTE * len(content):
        raise EOFError(f"{len(content)} bytes cannot hold {size[0]}x{size[1]} pixels")
    _refuse_bombs(size, len(image.getbands()) * max(bits, 8) // 8, len(content))
    deep = kind == "RGB" and bits == 16
    if deep and format == "TIFF" and not {_raw_mode(tile) for tile in image.tile} <= set(_OTHER_ORDER):
        raise LayoutError("a 16-bit TIFF with separate colour planes; expected interleaved colours. Save it with those")
    if draft is not None and format == "JPEG" and min(size) >= draft:
        image.draft(None, (size[1] // 8, size[0] // 8))
    image.load()
    pixels = np.asarray(image)
    if deep:
        pixels = pixels.astype(np.uint16) << 8 | _lower_bytes(container)
    elif kind == "gray" and bits > 8:
        pixels = pixels.astype(np.uint16)
        pixels = ~pixels if container.inverted else pixels
    if format == "PNG" and not (pixels[-2:].any(axis=tuple(range(1, pixels.ndim))).all()):
        _check_rows(content, container.content, size)
    return Picture(pixels, image, format, kind, bits, size, container.orientation, container.profile)


def _refuse_bombs(size: tuple[int, int], pixel: int, file: int) -> None:
    """Raise for pictures that need far more memory than any photograph with this file size."""
    room = size[0] * size[1] * pixel
    if room > max(_BOMB_BYTES, _BOMB_RATIO * file):
        raise LayoutError(
            f"a picture of {size[0]}x{size[1]} pixels, {room >> 20} MiB, in a file of {file} bytes, as only damaged or"
            " made-up files have; expected a photograph. Copy it again"
        )


def _check_rows(content: bytes, chunks: bytes, size: tuple[int, int]) -> None:
    """Raise EOFError if a PNG's compressed data end before its last row: Pillow makes missing rows black."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[content[25]]
    need = 0
    for top, left, down, right in _ADAM7 if content[28] else ((0, 0, 1, 1),):
        rows, columns = -((top - size[0]) // down), -((left - size[1]) // right)
        need += rows * (1 + (columns * channels * content[24] + 7) // 8) if columns > 0 else 0
    unpack, found, position = zlib.decompressobj(), 0, 8
    while position < len(chunks) and found < need:
        end = position + 8 + int.from_bytes(chunks[position : position + 4], "big")
        if chunks[position + 4 : position + 8] == b"IDAT":
            found += len(unpack.decompress(chunks[position + 8 : end], need - found))
        position = end + 4
    if found < need:
        raise EOFError("its last rows are missing")


def _lower_bytes(container: Container) -> NDArray[np.uint16]:
    image = Image.open(io.BytesIO(container.content), formats=(container.format,))
    tiles: list[Any] = []
    tile: Any
    for tile in image.tile:
        mode = _raw_mode(tile)
        if mode not in _OTHER_ORDER:
            raise LayoutError(f"a picture of 16 bits in a layout ({mode}) that is not read. Save it as 16-bit PNG")
        *place, args = tile
        swapped = _OTHER_ORDER[mode]
        other = (*place, (swapped, *args[1:]) if isinstance(args, tuple) else swapped)
        # A tuple has names from Pillow 11 on, and needs them then.
        tiles.append(tile._make(other) if hasattr(tile, "_make") else other)
    image.tile = tiles
    return np.asarray(image).astype(np.uint16)


def _raw_mode(tile: Any) -> str:
    args = tile[-1]
    return str(args[0] if isinstance(args, tuple) else args)
