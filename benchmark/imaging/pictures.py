"""Pictures of a run: a model's input, its output, the target, and the error.

They are written as a contact sheet per model, and as separate files, from which the HTML page makes its gallery.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from benchmark.cleaning import one_line
from benchmark.replacing import naming, replace_text, replacing
from benchmark.types import Sample, encode_number
from zoo.raw import align_to_red, pack

TILE = 280
GAP = 8
HEADER = 40
CAPTION = 22
ERROR_GAIN = 4.0
VIEWS = ("input", "output", "target", "error")
_COLUMNS = (*VIEWS[:3], f"error x{ERROR_GAIN:g}")
# Separate pictures are for people, not for measurements: JPEG with full colour resolution, large pictures shrunk.
LONGEST_SIDE = 640
JPEG_QUALITY = 92
INDEX = "pictures.json"
Picture = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """One image of a sheet; pictures are (H, W, 3) or gray (H, W, 1) in [0, 1]."""

    caption: str
    input: Picture
    output: Picture
    target: Picture
    id: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)

    def images(self) -> tuple[Image.Image, ...]:
        """Return the four pictures in the order of ``VIEWS``."""
        error = np.abs(self.output - self.target).mean(axis=-1) * ERROR_GAIN
        return _image(self.input), _image(self.output), _image(self.target), _heat(error)


def show_input(sample: Sample) -> Picture:
    """Return a sample's input in a form for people: RAW as half-size RGB with gamma, else the image itself."""
    if not sample.is_raw:
        return sample.input[0].permute(1, 2, 0).double().numpy().clip(0, 1)
    red, green, other, blue = pack(align_to_red(sample.input, sample.red), ((0, 0), (0, 1), (1, 0), (1, 1)))[0].double()
    rgb = np.stack([red.numpy(), (green.numpy() + other.numpy()) / 2, blue.numpy()], axis=-1)
    return ((rgb - sample.black) / (sample.white - sample.black)).clip(0, 1) ** (1 / 2.2)


def save_sheet(path: Path, title: str, rows: Sequence[Row]) -> None:
    """Write a PNG with one row of four pictures per image, atomically."""
    width = 4 * TILE + 5 * GAP
    height = HEADER + len(rows) * (TILE + CAPTION + GAP)
    sheet = Image.new("RGB", (width, height), (250, 250, 250))
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, 4), one_line(title), fill=(20, 20, 20), font=ImageFont.load_default(16))
    for column, name in enumerate(_COLUMNS):
        draw.text((GAP + column * (TILE + GAP), 24), name, fill=(90, 90, 90), font=ImageFont.load_default(12))
    for index, row in enumerate(rows):
        top = HEADER + index * (TILE + CAPTION + GAP)
        for column, picture in enumerate(row.images()):
            sheet.paste(_fit(picture), (GAP + column * (TILE + GAP), top))
        draw.text((GAP, top + TILE + 3), one_line(row.caption), fill=(20, 20, 20), font=ImageFont.load_default(13))
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        # Photographs and noise hardly compress, and run lengths (zlib's Z_RLE) take half the time of the default.
        sheet.save(partial, format="PNG", compress_level=1, compress_type=3)


def save_pictures(folder: Path, rows: Sequence[Row]) -> None:
    """Write the four pictures of each row as files into ``folder``, and then an index, each atomically.

    The index ``pictures.json`` lists for each image its id, scores, height and width of the target, and file by view.
    """
    with naming(folder):
        folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for number, row in enumerate(rows):
        files = {}
        for view, picture in zip(VIEWS, row.images()):
            files[view] = f"{number}_{view}.jpg"
            shown = picture.copy()
            shown.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
            with replacing(folder / files[view]) as partial:
                shown.save(partial, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
        scores = {name: encode_number(value) for name, value in row.scores.items()}
        entries.append({"id": row.id, "scores": scores, "size": list(row.target.shape[:2]), "files": files})
    replace_text(folder / INDEX, json.dumps({"images": entries}, allow_nan=False))


def _image(picture: Picture) -> Image.Image:
    pixels = np.rint(picture.clip(0, 1) * 255).astype(np.uint8)
    return Image.fromarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def _heat(error: Picture) -> Image.Image:
    gray = Image.fromarray(np.rint(error.clip(0, 1) * 255).astype(np.uint8))
    return ImageOps.colorize(gray, black="#000010", mid="#c0392b", white="#fff3b0")


def _fit(picture: Image.Image) -> Image.Image:
    fitted = ImageOps.contain(picture, (TILE, TILE), Image.Resampling.LANCZOS)
    tile = Image.new("RGB", (TILE, TILE), (250, 250, 250))
    tile.paste(fitted, ((TILE - fitted.width) // 2, (TILE - fitted.height) // 2))
    return tile
