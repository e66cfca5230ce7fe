"""Draw the shifts of a dataset's outputs: their positions and their lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmark.cleaning import one_line
from benchmark.imaging.alignment import Shift
from benchmark.replacing import naming, replacing
from benchmark.units import counted
from zoo.errors import UserError

_CELL, _CELLS, _GAP, _HEADER, _FOOTER = 9, 33, 40, 56, 48
_SIDE = _CELL * _CELLS
_INK, _PALE, _LINE, _BAR = (20, 20, 20), (110, 110, 110), (205, 205, 205), (52, 101, 164)
# The axes end at the first of these that holds all values: a shift has up to 16 pixels in each direction.
_REACHES = (2, 4, 8, 16, 32)


def shifts_text(shifts: Sequence[Shift]) -> str:
    """Return how many images are shifted and how far, in words; the lengths are Euclidean."""
    lengths = _lengths(shifts)
    moved = np.count_nonzero(lengths)
    return (
        f"shifts found: median {np.median(lengths):.2f} px, largest {lengths.max():.2f} px;"
        f" {moved} of {counted(len(lengths), 'image')} shifted"
    )


def _lengths(shifts: Sequence[Shift]) -> np.ndarray:
    return np.hypot(*np.array(shifts, np.float64).T)


def save_shift_histogram(path: Path, title: str, shifts: Sequence[Shift]) -> None:
    """Write a PNG, atomically: on the left a map of (dx, dy), on the right a histogram of lengths; axes fit the values.

    Raises UserError if there are no shifts.
    """
    if not shifts:
        raise UserError(f"{path}: no shifts to draw; expected at least one image.")
    sheet = Image.new("RGB", (3 * _GAP + 2 * _SIDE, _HEADER + _SIDE + _FOOTER), (250, 250, 250))
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, 8), one_line(title), fill=_INK, font=ImageFont.load_default(16))
    _write(draw, _GAP, 32, shifts_text(shifts))
    _draw_map(draw, _GAP, np.array(shifts, np.float64))
    _draw_lengths(draw, 2 * _GAP + _SIDE, _lengths(shifts))
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        sheet.save(partial, format="PNG")


def _reach(values: np.ndarray) -> int:
    return next((reach for reach in _REACHES if np.abs(values).max() <= reach), _REACHES[-1])


def _draw_map(draw: ImageDraw.ImageDraw, left: int, shifts: np.ndarray) -> None:
    reach, middle = _reach(shifts), _CELLS // 2
    cells = np.rint(shifts * middle / reach).astype(int).clip(-middle, middle) + middle
    counts = np.zeros((_CELLS, _CELLS), int)
    np.add.at(counts, (cells[:, 0], cells[:, 1]), 1)
    for row, column in np.argwhere(counts):
        # The square root keeps single images visible beside a high peak.
        share = (counts[row, column] / counts.max()) ** 0.5
        colour = tuple(round(225 + share * (end - 225)) for end in _BAR)
        x, y = left + column * _CELL, _HEADER + row * _CELL
        draw.rectangle((x, y, x + _CELL - 1, y + _CELL - 1), fill=colour)
    centre = middle * _CELL + _CELL // 2
    draw.line((left + centre, _HEADER, left + centre, _HEADER + _SIDE), fill=_LINE)
    draw.line((left, _HEADER + centre, left + _SIDE, _HEADER + centre), fill=_LINE)
    caption = f"dx (right), dy (down) in px; darkest cell: {counts.max()}"
    _draw_frame(draw, left, {_CELL // 2: f"-{reach}", centre: "0", _SIDE - _CELL // 2: f"{reach}"}, caption)


def _draw_lengths(draw: ImageDraw.ImageDraw, left: int, lengths: np.ndarray) -> None:
    reach, bins = _reach(lengths), _CELLS - 1
    counts, _ = np.histogram(lengths.clip(0, reach), bins=bins, range=(0, reach))
    bottom = _HEADER + _SIDE
    for index in np.flatnonzero(counts):
        height = max(1, round((_SIDE - 16) * counts[index] / counts.max()))
        x = left + index * _CELL
        draw.rectangle((x, bottom - height, x + _CELL - 2, bottom), fill=_BAR)
    caption = f"length in px, bins of {reach / bins:g}; tallest bar: {counts.max()}"
    _draw_frame(draw, left, {0: "0", bins // 2 * _CELL: f"{reach // 2}", bins * _CELL: f"{reach}"}, caption)


def _draw_frame(draw: ImageDraw.ImageDraw, left: int, ticks: Mapping[int, str], caption: str) -> None:
    """Draw the border of a plot, marks with numbers below it, and its caption."""
    bottom = _HEADER + _SIDE
    draw.rectangle((left, _HEADER, left + _SIDE, bottom), outline=_PALE)
    for x, text in ticks.items():
        draw.line((left + x, bottom, left + x, bottom + 4), fill=_PALE)
        _write(draw, left + x, bottom + 6, text, anchor="ma")
    _write(draw, left, bottom + 24, caption)


def _write(draw: ImageDraw.ImageDraw, x: int, y: int, text: str, anchor: str = "la") -> None:
    draw.text((x, y), text, fill=_PALE, font=ImageFont.load_default(12), anchor=anchor)
