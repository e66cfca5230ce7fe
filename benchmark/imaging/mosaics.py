"""Read RAW mosaics as counts: PNG and TIFF in gray, NumPy arrays, headerless files, and DNG through rawpy."""

from __future__ import annotations

import io
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmark.imaging.formats import LayoutError
from benchmark.imaging.imagefiles import Picture, decode, read_content
from benchmark.imaging.levels import clip_to_white
from benchmark.sensor import Sensor
from benchmark.units import shape_text
from zoo.errors import UserError, reason_of

DNG = ".dng"
SUFFIXES = (".png", ".tif", ".tiff", ".npy", ".raw", DNG)
FORMATS = ("PNG", "TIFF", "NPY", "headerless", "DNG")


def read_mosaic(name: str, path: Path, sensor: Sensor) -> NDArray[Any]:
    """Return the counts (H, W) of a mosaic as they are stored, uint8 or uint16; ``name`` is the dataset, for errors.

    Hot pixels above white are set to white. Raises UserError naming the file if it is damaged, no gray picture of 8 or
    16 bits, of an odd size, or has more counts above white than hot pixels can be.
    """
    picture = decode_mosaic(name, path, read_content(name, path), sensor)
    if picture.kind != "gray" or picture.bits not in (8, 16):
        raise UserError(f"{name}: {path} is a {picture.words}; expected a mosaic: gray with 8 or 16 bits.")
    if any(side % 2 for side in picture.size):
        raise UserError(
            f"{name}: {path} has {shape_text(picture.size)} pixels; a Bayer mosaic has an even height and width."
            " Crop it by whole 2x2 blocks."
        )
    try:
        return clip_to_white(picture.pixels, sensor.white)[0]
    except ValueError as error:
        hint = white_hint(path, picture.pixels, sensor.white)
        raise UserError(
            f"{name}: {path} has {error}{f' ({hint})' if hint else ''}; pass the sensor's white level in its counts."
        ) from None


def decode_mosaic(name: str, path: Path, content: bytes, sensor: Sensor) -> Picture:
    """Return the picture of a mosaic's file, by its suffix; kind, depth and levels are not judged.

    Raises UserError if the file is damaged, is of another format or length, or states another colour filter.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".raw":
            return _picture(_headerless(content, sensor), "headerless")
        if suffix == ".npy":
            return _picture(_array(content), "NPY")
        if suffix == DNG:
            return _from_dng(content, sensor)
    except LayoutError as error:
        raise UserError(f"{name}: {path} {error}.") from None
    except Exception as error:
        # The header of an array is a Python literal with any content, so its errors may be of any class; so may those
        # of a decoder.
        raise UserError(
            f"{name}: {path} is damaged or cut off ({reason_of(error)}); expected a complete {suffix} file."
            " Copy it again."
        ) from None
    return decode(name, path, content, ("PNG", "TIFF"))


def check_readable(name: str, path: Path, sensor: Sensor) -> None:
    """Raise UserError for a kind of file that cannot be read here: without its size, or without its package."""
    if path.suffix.lower() == ".raw" and sensor.raw_size is None:
        raise UserError(
            f"{name}: {path} has no header, so its size is not known; pass --raw-size HxW (it holds 16-bit counts,"
            " little-endian)."
        )
    if path.suffix.lower() == DNG and find_spec("rawpy") is None:
        raise UserError(
            f"{name}: {path} is a DNG, and the package rawpy is not installed; pip install 'zoo-bench[raw]' or convert"
            " the mosaics to 16-bit PNG or .npy."
        )


def white_hint(path: Path, counts: NDArray[Any], white: float) -> str:
    """Return what may be the reason for counts above ``white``; empty if nothing shows one."""
    bits = int(np.bitwise_or.reduce(counts, axis=None))
    if (step := bits & -bits) > 1:
        return f"every count is a multiple of {step}, as where counts of fewer bits are stored times {step}"
    if path.suffix.lower() == ".raw" and counts.byteswap().max() <= white:
        return "with its bytes exchanged they fit: expected little-endian counts"
    return ""


def _picture(counts: NDArray[Any], format: str, levels: str = "") -> Picture:
    image = Image.fromarray(counts if counts.dtype == np.uint8 else (counts >> 8).astype(np.uint8))
    return Picture(counts, image, format, "gray", 8 * counts.itemsize, counts.shape, levels=levels)


def _headerless(content: bytes, sensor: Sensor) -> NDArray[np.uint16]:
    assert sensor.raw_size is not None
    need = 2 * sensor.raw_size[0] * sensor.raw_size[1]
    if len(content) != need:
        raise LayoutError(
            f"has {len(content)} bytes, and --raw-size {shape_text(sensor.raw_size)} means {need}, two for each count;"
            " expected the size of this file, without a header"
        )
    return np.frombuffer(content, "<u2").reshape(sensor.raw_size).astype(np.uint16)


def _array(content: bytes) -> NDArray[Any]:
    array = np.load(io.BytesIO(content), allow_pickle=False)
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind not in "ui" or not array.size:
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "several arrays"
        raise LayoutError(f"holds {found}; expected the counts of a mosaic as whole numbers (H, W), such as uint16")
    if array.dtype == np.uint8:
        return array
    if array.min() < 0 or array.max() > 65535:
        raise LayoutError(f"has counts from {array.min()} to {array.max()}; expected 0 to 65535")
    return array.astype(np.uint16)


def _from_dng(content: bytes, sensor: Sensor) -> Picture:
    import rawpy

    with rawpy.imread(io.BytesIO(content)) as file:
        pattern = file.raw_pattern
        if pattern is None or pattern.shape != (2, 2):
            raise LayoutError("holds no Bayer mosaic; expected one, not demosaicked")
        colours = file.color_desc.decode()
        cfa = "".join(colours[index] for index in file.raw_colors_visible[:2, :2].ravel())
        counts = np.array(file.raw_image_visible, np.uint16)
        blacks = sorted({*map(float, file.black_level_per_channel)})
        white = float(file.white_level)
    if cfa != sensor.cfa:
        raise LayoutError(f"has the colour filter {cfa}, and --cfa says {sensor.cfa}")
    black = ", ".join(f"{level:g}" for level in blacks)
    return _picture(counts, "DNG", f"black level {black}, white level {white:g}")
