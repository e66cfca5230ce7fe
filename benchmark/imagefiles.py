"""RGB pictures from files, at the depth that they are stored in: PNG, JPEG and TIFF with 8 or 16 bits."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from zoo.errors import UserError

FORMATS = ("PNG", "JPEG", "TIFF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
# Everything that Pillow raises for a file that is cut off or damaged.
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
_PNG_END = b"IEND\xaeB`\x82"

_KINDS = {
    "1": "1-bit grey",
    "L": "grey",
    "I;16": "16-bit grey",
    "LA": "grey with alpha",
    "P": "palette",
    "RGBA": "RGB with alpha",
}
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
        kind = "RGB with a transparent colour" if image.mode == "RGB" else _KINDS.get(image.mode, image.mode)
        raise UserError(f"{name}: {path} is a {kind} {image.format}; expected RGB. Convert it without alpha to RGB.")
    bits = _bits_of(image, content)
    if bits == 8:
        return np.asarray(image)
    if bits != 16:
        raise UserError(f"{name}: {path} has {bits} bits a colour; expected 8 or 16.")
    return np.asarray(image).astype(np.uint16) << 8 | _lower_bytes(name, path, content, formats)


def read_content(name: str, path: Path) -> bytes:
    """Return the bytes of a file; raises UserError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{name}: {path} cannot be read ({error.strerror or error}). Check the file.") from error


def size_of(image: NDArray[Any]) -> str:
    """Return ``HxW``."""
    return f"{image.shape[0]}x{image.shape[1]}"


def decode(name: str, path: Path, content: bytes, formats: tuple[str, ...]) -> ImageFile.ImageFile:
    """Return the decoded image; raises UserError if the file is damaged or of another format."""
    try:
        image = Image.open(io.BytesIO(content), formats=formats)
        _check_bits(image)
        image.load()
        if image.format == "PNG" and _PNG_END not in content:  # Pillow is content when the pixels are there
            raise EOFError("the last chunk is missing")
    except UnidentifiedImageError:
        raise UserError(f"{name}: {path} is not a complete {' or '.join(formats)} file. Copy it again.") from None
    except _DECODE_ERRORS as error:
        raise UserError(
            f"{name}: {path} is damaged or cut off ({error}); expected a complete {' or '.join(formats)} file."
            " Copy it again."
        ) from error
    return image


def _check_bits(image: ImageFile.ImageFile) -> None:
    """Raise ValueError for colour planes that lie apart with 16 bits, of which Pillow would return every other byte."""
    deep = image.format == "TIFF" and image.mode == "RGB" and _tiff_bits(image) == 16
    if deep and not {_raw_mode(tile) for tile in image.tile} <= set(_OTHER_ORDER):
        raise ValueError("a 16-bit TIFF with separate colour planes; save it with interleaved colours")


def _tiff_bits(image: ImageFile.ImageFile) -> int:
    depths = image.tag_v2.get(258, (8,))  # type: ignore[attr-defined]
    return int(max(depths))


def _bits_of(image: ImageFile.ImageFile, content: bytes) -> int:
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
