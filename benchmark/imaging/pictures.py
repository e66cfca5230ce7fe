"""Pictures of a run: a model's input, its output, the target, and the error.

They are written as a contact sheet per model, and as separate files, from which the HTML page makes its gallery. Large
pictures are shrunk there, and beside each stands a crop at 1:1 where the error is largest.
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
# The colours of the error from 0 to 1 / ERROR_GAIN, and beyond.
ERROR_COLOURS = ("#000010", "#c0392b", "#fff3b0")
VIEWS = ("input", "output", "target", "error")
# Separate pictures are for people, not for measurements: JPEG with full colour resolution, large pictures shrunk.
LONGEST_SIDE = 640
JPEG_QUALITY = 92
INDEX = "pictures.json"
Picture = NDArray[np.float64]
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Row:
    """One image of a sheet; pictures are (H, W, 3) or gray (H, W, 1) in [0, 1]."""

    caption: str
    input: Picture
    output: Picture
    target: Picture
    id: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)

    @property
    def error(self) -> Picture:
        """The mean absolute error of each pixel (H, W)."""
        return np.abs(self.output - self.target).mean(axis=-1)

    def images(self) -> tuple[Image.Image, ...]:
        """Return the four pictures in the order of ``VIEWS``."""
        return _image(self.input), _image(self.output), _image(self.target), _heat(self.error * ERROR_GAIN)

    def crop_box(self, side: int) -> Box | None:
        """Return left, top, right and bottom of the crop of at most ``side`` pixels with the largest error.

        None if the whole picture is no larger.
        """
        height, width = self.error.shape
        if max(height, width) <= side:
            return None
        left, top = _largest(self.error, min(side, height), min(side, width))
        return left, top, left + min(side, width), top + min(side, height)

    def crops(self, box: Box) -> tuple[Image.Image, ...]:
        """Return the four pictures within a box of the target's pixels; the input, if it is smaller, is enlarged."""
        height, width = self.error.shape
        size, nearest = (box[2] - box[0], box[3] - box[1]), Image.Resampling.NEAREST
        views = self.images()
        places = [_scaled(box, view.width / width, view.height / height) for view in views]
        return tuple(view.resize(size, nearest, box=place) for view, place in zip(views, places))


def show_input(sample: Sample) -> Picture:
    """Return a sample's input in a form for people: RAW as half-size RGB with gamma, else the image itself."""
    if not sample.is_raw:
        return sample.input[0].permute(1, 2, 0).double().numpy().clip(0, 1)
    red, green, other, blue = pack(align_to_red(sample.input, sample.red), ((0, 0), (0, 1), (1, 0), (1, 1)))[0].double()
    rgb = np.stack([red.numpy(), (green.numpy() + other.numpy()) / 2, blue.numpy()], axis=-1)
    return ((rgb - sample.black) / (sample.white - sample.black)).clip(0, 1) ** (1 / 2.2)


def save_sheet(path: Path, title: str, rows: Sequence[Row]) -> None:
    """Write a PNG with a row of four pictures per image, atomically; under large ones are crops at 1:1."""
    boxes = [row.crop_box(TILE) for row in rows]
    height = HEADER + sum(CAPTION + (TILE + GAP) * (2 if box else 1) for box in boxes)
    sheet = Image.new("RGB", (4 * TILE + 5 * GAP, height), (250, 250, 250))
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, 4), one_line(title), fill=(20, 20, 20), font=ImageFont.load_default(16))
    for column, name in enumerate(VIEWS):
        draw.text((_left(column), 24), name, fill=(90, 90, 90), font=ImageFont.load_default(12))
    _draw_scale(sheet, draw)
    top = HEADER
    for row, box in zip(rows, boxes):
        caption = row.caption + (f"; below it at 1:1 from {box[0]}, {box[1]}" if box else "")
        draw.text((GAP, top + 3), one_line(caption), fill=(20, 20, 20), font=ImageFont.load_default(13))
        top += CAPTION
        for column, picture in enumerate(row.images()):
            tile, origin, scale = _fit(picture, row.error.shape)
            sheet.paste(tile, (_left(column), top))
            if box:
                left, upper, right, lower = _scaled(box, scale, scale)
                corner = _left(column) + origin[0], top + origin[1]
                edges = [corner[0] + left, corner[1] + upper, corner[0] + right - 1, corner[1] + lower - 1]
                draw.rectangle(edges, outline=(255, 255, 255))
        top += TILE + GAP
        if box:
            for column, crop in enumerate(row.crops(box)):
                sheet.paste(crop, (_left(column), top))
            top += TILE + GAP
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        # Photographs and noise hardly compress, and run lengths (zlib's Z_RLE) take half the time of the default.
        sheet.save(partial, format="PNG", compress_level=1, compress_type=3)


def _left(column: int) -> int:
    return GAP + column * (TILE + GAP)


def _draw_scale(sheet: Image.Image, draw: ImageDraw.ImageDraw) -> None:
    """Draw what the colours of the error mean, beside its title."""
    length, left, top, font = 100, _left(3) + 60, 26, ImageFont.load_default(12)
    ramp = np.broadcast_to(np.linspace(0, 1, length), (10, length))
    draw.text((left - 10, 24), "0", fill=(90, 90, 90), font=font)
    sheet.paste(_heat(ramp), (left, top))
    draw.text((left + length + 4, 24), f"{1 / ERROR_GAIN:g} and more", fill=(90, 90, 90), font=font)


def save_pictures(folder: Path, rows: Sequence[Row]) -> None:
    """Write the four pictures of each row as files into ``folder``, and then an index, each atomically.

    The index ``pictures.json`` lists for each image its id, scores, height and width of the target, and file by view;
    for large ones also a crop at 1:1, with its left and top.
    """
    with naming(folder):
        folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for number, row in enumerate(rows):
        scores = {name: encode_number(value) for name, value in row.scores.items()}
        entry = {"id": row.id, "scores": scores, "size": list(row.error.shape)}
        entries.append(entry | {"files": _save_views(folder, f"{number}", row.images())})
        if box := row.crop_box(LONGEST_SIDE):
            files = _save_views(folder, f"{number}_crop", row.crops(box))
            entries[-1]["crop"] = {"at": box[:2], "size": [box[3] - box[1], box[2] - box[0]], "files": files}
    replace_text(folder / INDEX, json.dumps({"images": entries}, allow_nan=False))


def _save_views(folder: Path, name: str, pictures: Sequence[Image.Image]) -> dict[str, str]:
    """Write four pictures, shrunk if they are large; return their files by view."""
    files = {}
    for view, picture in zip(VIEWS, pictures):
        files[view] = f"{name}_{view}.jpg"
        shown = picture.copy()
        shown.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
        with replacing(folder / files[view]) as partial:
            shown.save(partial, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
    return files


def _largest(error: Picture, height: int, width: int) -> tuple[int, int]:
    """Return left and top of the window with the largest mean error, among windows a quarter of its size apart."""
    summed = np.pad(error.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    tops = np.unique([*range(0, error.shape[0] - height, max(1, height // 4)), error.shape[0] - height])
    lefts = np.unique([*range(0, error.shape[1] - width, max(1, width // 4)), error.shape[1] - width])
    corners = [np.ix_(tops + y, lefts + x) for y in (0, height) for x in (0, width)]
    sums = summed[corners[3]] - summed[corners[1]] - summed[corners[2]] + summed[corners[0]]
    y, x = np.unravel_index(int(np.argmax(sums)), sums.shape)
    return int(lefts[x]), int(tops[y])


def _scaled(box: Box, x: float, y: float) -> tuple[float, float, float, float]:
    return box[0] * x, box[1] * y, box[2] * x, box[3] * y


def _image(picture: Picture) -> Image.Image:
    pixels = np.rint(picture.clip(0, 1) * 255).astype(np.uint8)
    return Image.fromarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def _heat(error: Picture) -> Image.Image:
    gray = Image.fromarray(np.rint(error.clip(0, 1) * 255).astype(np.uint8))
    black, mid, white = ERROR_COLOURS
    return ImageOps.colorize(gray, black=black, mid=mid, white=white)


def _fit(picture: Image.Image, shape: tuple[int, ...]) -> tuple[Image.Image, tuple[int, int], float]:
    """Return a tile with the picture, its place there, and the scale of the target's pixels, which is at most 1."""
    height, width = shape
    scale = min(1.0, TILE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    fitted = picture.resize(size, Image.Resampling.LANCZOS if picture.width > size[0] else Image.Resampling.NEAREST)
    tile = Image.new("RGB", (TILE, TILE), (250, 250, 250))
    origin = (TILE - fitted.width) // 2, (TILE - fitted.height) // 2
    tile.paste(fitted, origin)
    return tile, origin, scale
