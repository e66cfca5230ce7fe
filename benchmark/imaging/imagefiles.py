"""Pictures and mosaics from files, at the depth that they are stored in; what is damaged is never half read."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from zoo.errors import UserError
from zoo.inputs import refuse_endless

# A camera of 100 megapixels is no attack; beyond Pillow's hard limit, 179 megapixels, files are refused.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

FORMATS = ("PNG", "JPEG", "TIFF")
# What a user's own pictures may be where no dataset says what its files are.
MORE_FORMATS = (*FORMATS, "BMP", "PPM", "WEBP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
# Everything that Pillow raises for a file that is cut off or damaged.
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, TypeError, EOFError, struct.error, zlib.error)
_PNG_END, _JPEG_END = b"IEND\xaeB`\x82", b"\xff\xd9"
_TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_KINDS = {
    "1": "1-bit grey",
    "L": "grey",
    "I;16": "16-bit grey",
    "I;16B": "16-bit grey",
    "LA": "grey with alpha",
    "P": "palette",
    "RGBA": "RGB with alpha",
}
_GREY = {"L": np.uint8, "I;16": np.uint16, "I;16B": np.uint16}
# Pillow keeps the upper byte of 16-bit colours; read in the other byte order, the upper byte is the lower one.
_OTHER_ORDER = {"RGB;16B": "RGB;16L", "RGB;16L": "RGB;16B", "RGB;16N": "RGB;16B"}


def read_rgb(name: str, path: Path, *, formats: tuple[str, ...] = FORMATS) -> NDArray[Any]:
    """Return a picture (H, W, 3) as uint8 or uint16, as it is stored; ``name`` is the dataset, for errors.

    Raises UserError naming the file if it is damaged, of another format, or not RGB: grey, alpha and CMYK are
    never converted. An orientation in the EXIF data is not applied: pairs are compared as their pixels stand.
    """
    content = read_content(name, path)
    image = decode(name, path, content, formats)
    if image.mode != "RGB" or "transparency" in image.info:
        kind = kind_of(image)
        raise UserError(f"{name}: {path} is a {kind}; expected RGB. Convert it without alpha to RGB.")
    return rgb_pixels(name, path, content, formats, image)


def read_picture(name: str, path: Path, *, formats: tuple[str, ...] = MORE_FORMATS) -> NDArray[Any]:
    """Return a picture (H, W, 3) as ``read_rgb`` does, or a grey one (H, W), uint8 or uint16 as it is stored."""
    content = read_content(name, path)
    image = decode(name, path, content, formats)
    if image.mode in _GREY:
        return np.asarray(image).astype(_GREY[image.mode], copy=False)
    if image.mode != "RGB" or "transparency" in image.info:
        raise UserError(f"{name}: {path} is a {kind_of(image)}; expected grey or RGB with 8 or 16 bits. Convert it.")
    return rgb_pixels(name, path, content, formats, image)


def to_unit_range(pixels: NDArray[Any]) -> NDArray[np.float64]:
    """Return 8-bit values / 255 and 16-bit values / 65535."""
    return pixels.astype(np.float64) / np.iinfo(pixels.dtype).max


def kind_of(image: ImageFile.ImageFile) -> str:
    """Return what an image is, in words, such as ``grey PNG``."""
    transparent = image.mode == "RGB" and "transparency" in image.info
    kind = "RGB with a transparent colour" if transparent else _KINDS.get(image.mode, image.mode)
    return f"{kind} {image.format}"


def rgb_pixels(
    name: str, path: Path, content: bytes, formats: tuple[str, ...], image: ImageFile.ImageFile
) -> NDArray[Any]:
    """Return the pixels of a decoded image of mode RGB, uint8 or uint16: Pillow itself keeps the upper bytes only."""
    bits = bits_of(image, content)
    if bits == 8:
        return np.asarray(image)
    if bits != 16:
        raise UserError(f"{name}: {path} has {bits} bits a colour; expected 8 or 16.")
    return np.asarray(image).astype(np.uint16) << 8 | _lower_bytes(name, path, content, formats)


def read_content(name: str, path: Path) -> bytes:
    """Return the bytes of a file; raises UserError if it cannot be read."""
    try:
        refuse_endless(path)
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{name}: {path} cannot be read ({error.strerror or error}). Check the file.") from error


def printable(path: Path | str) -> str:
    """Return a path as text: bytes that are no UTF-8 as ``\\xff``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def size_of(image: NDArray[Any]) -> str:
    """Return ``HxW``."""
    return f"{image.shape[0]}x{image.shape[1]}"


def decode(name: str, path: Path, content: bytes, formats: tuple[str, ...]) -> ImageFile.ImageFile:
    """Return the decoded image; raises UserError if the file is damaged or of another format."""
    try:
        image = Image.open(io.BytesIO(content), formats=formats)
        _check_layout(image)
        check_end(image, content)
        image.load()
    except UnidentifiedImageError:
        if content[:4] in _TIFF_HEADS and "TIFF" in formats:
            raise UserError(
                f"{name}: {path} is a TIFF of a kind that is not read (floats, 32 bits, or a damaged head);"
                " expected integers of 8 or 16 bits. Save it as 16-bit PNG or TIFF."
            ) from None
        raise UserError(f"{name}: {path} is not a complete {' or '.join(formats)} file. Copy it again.") from None
    except _LayoutError as error:
        raise UserError(f"{name}: {path} is {error}.") from None
    except Image.DecompressionBombError:
        raise UserError(f"{name}: {path} has more than 178 megapixels; expected fewer. Cut it into parts.") from None
    except _DECODE_ERRORS as error:
        raise UserError(
            f"{name}: {path} is damaged or cut off ({error}); expected a complete {' or '.join(formats)} file."
            " Copy it again."
        ) from error
    return image


class _LayoutError(Exception):
    """A sound file whose layout Pillow would return in part."""


def _check_layout(image: ImageFile.ImageFile) -> None:
    """Raise for colour planes that lie apart with 16 bits, of which Pillow would return every other byte."""
    deep = image.format == "TIFF" and image.mode == "RGB" and _tiff_bits(image) == 16
    if deep and not {_raw_mode(tile) for tile in image.tile} <= set(_OTHER_ORDER):
        raise _LayoutError("a 16-bit TIFF with separate colour planes; expected interleaved colours. Save it so")


def check_end(image: ImageFile.ImageFile, content: bytes) -> None:
    """Raise EOFError for a file whose end is missing or overwritten with zeros, as stopped downloads leave it.

    Pillow is content when it has made all pixels of what there was, and a JPEG decoder makes pixels of anything. For
    TIFF, libtiff would print a line of its own.
    """
    if image.format == "PNG" and _PNG_END not in content:
        raise EOFError("the last chunk is missing")
    if image.format == "JPEG" and content.find(_JPEG_END, _first_scan(content)) < 0:
        raise EOFError("the end marker is missing")
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        for offsets, sizes in ((273, 279), (324, 325)):
            ends = (start + size for start, size in zip(tags.get(offsets, ()), tags.get(sizes, ())))
            if max(ends, default=0) > len(content):
                raise EOFError("a strip lies beyond the end of the file")


def _first_scan(content: bytes) -> int:
    """Return where a JPEG's first scan begins, behind the thumbnail that its head may hold; 0 if it has no scan."""
    position = 2
    while position + 4 <= len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        if marker == 0xDA:
            return position
        # Fill bytes and markers without a length.
        step = 1 if marker == 0xFF else 2
        is_bare = marker in (0xFF, 0x01, *range(0xD0, 0xD9))
        position += step if is_bare else 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    return 0


def _tiff_bits(image: ImageFile.ImageFile) -> int:
    depths = image.tag_v2.get(258, (8,))  # type: ignore[attr-defined]
    return int(max(depths))


def bits_of(image: ImageFile.ImageFile, content: bytes) -> int:
    """Return the bits per colour that a file says it has."""
    if image.format == "PNG":
        return content[24]
    return _tiff_bits(image) if image.format == "TIFF" else 8


def _lower_bytes(name: str, path: Path, content: bytes, formats: tuple[str, ...]) -> NDArray[np.uint16]:
    image = Image.open(io.BytesIO(content), formats=formats)
    tiles = []
    for tile in image.tile:
        mode = _raw_mode(tile)
        if mode not in _OTHER_ORDER:
            raise UserError(f"{name}: {path} has 16 bits in a layout ({mode}) that is not read. Save it as 16-bit PNG.")
        swapped = _OTHER_ORDER[mode]
        tiles.append(tile._replace(args=(swapped, *tile.args[1:]) if isinstance(tile.args, tuple) else swapped))
    image.tile = tiles
    return np.asarray(image).astype(np.uint16)


def _raw_mode(tile: Any) -> str:
    return str(tile.args[0] if isinstance(tile.args, tuple) else tile.args)
