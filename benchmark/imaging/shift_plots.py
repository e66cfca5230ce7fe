"""Draw the shifts of a dataset's outputs: their positions and their lengths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmark.cleaning import one_line
from benchmark.imaging.alignment import RADIUS, Shift
from benchmark.replacing import naming, replacing
from zoo.errors import UserError

_CELL, _GAP, _HEADER = 9, 40, 56
_SIDE = _CELL * (2 * RADIUS + 1)
_INK, _PALE, _LINE, _BAR = (20, 20, 20), (110, 110, 110), (205, 205, 205), (52, 101, 164)


def save_shift_histogram(path: Path, title: str, shifts: Sequence[Shift]) -> None:
    """Write a PNG, atomically: on the left a map of (dx, dy) in whole pixels, on the right a histogram of lengths.

    Raises UserError if there are no shifts.
    """
    if not shifts:
        raise UserError(f"{path}: no shifts to draw; expected at least one image.")
    sheet = Image.new("RGB", (3 * _GAP + 2 * _SIDE, _HEADER + _SIDE + _GAP), (250, 250, 250))
    draw = ImageDraw.Draw(sheet)
    lengths = np.hypot(*np.array(shifts, np.float64).T)
    median, most = float(np.median(lengths)), float(lengths.max())
    draw.text((_GAP, 8), one_line(title), fill=_INK, font=ImageFont.load_default(16))
    summary = (
        f"{len(shifts)} images, shift of the output against the target: median {median:.2f} px, largest {most:.2f} px"
    )
    draw.text((_GAP, 32), summary, fill=_PALE, font=ImageFont.load_default(12))
    _draw_map(draw, _GAP, shifts)
    _draw_lengths(draw, 2 * _GAP + _SIDE, lengths)
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        sheet.save(partial, format="PNG")


def _draw_map(draw: ImageDraw.ImageDraw, left: int, shifts: Sequence[Shift]) -> None:
    cells = np.rint(np.array(shifts, np.float64)).astype(int).clip(-RADIUS, RADIUS) + RADIUS
    counts = np.zeros((2 * RADIUS + 1, 2 * RADIUS + 1), int)
    np.add.at(counts, (cells[:, 0], cells[:, 1]), 1)
    for row, column in np.argwhere(counts):
        # The square root keeps single images visible beside a high peak.
        share = (counts[row, column] / counts.max()) ** 0.5
        colour = tuple(round(225 + share * (end - 225)) for end in _BAR)
        x, y = left + column * _CELL, _HEADER + row * _CELL
        draw.rectangle((x, y, x + _CELL - 1, y + _CELL - 1), fill=colour)
    middle = RADIUS * _CELL + _CELL // 2
    draw.line((left + middle, _HEADER, left + middle, _HEADER + _SIDE), fill=_LINE)
    draw.line((left, _HEADER + middle, left + _SIDE, _HEADER + middle), fill=_LINE)
    draw.rectangle((left, _HEADER, left + _SIDE, _HEADER + _SIDE), outline=_PALE)
    caption = f"dx (right) and dy (down), ±{RADIUS} px; most in one cell: {counts.max()}"
    draw.text((left, _HEADER + _SIDE + 6), caption, fill=_PALE, font=ImageFont.load_default(12))


def _draw_lengths(draw: ImageDraw.ImageDraw, left: int, lengths: np.ndarray) -> None:
    bins = 2 * RADIUS + 1
    counts, _ = np.histogram(lengths.clip(0, bins / 2 - 1e-6), bins=bins, range=(0, bins / 2))
    bottom = _HEADER + _SIDE
    for index in np.flatnonzero(counts):
        height = max(1, round((_SIDE - 16) * counts[index] / counts.max()))
        x = left + index * _CELL
        draw.rectangle((x, bottom - height, x + _CELL - 2, bottom), fill=_BAR)
    draw.rectangle((left, _HEADER, left + _SIDE, bottom), outline=_PALE)
    last = bins / 2 - 0.5
    caption = f"length in bins of 0.5 px, from {last:g} on in the last; tallest bar: {counts.max()}"
    draw.text((left, bottom + 6), caption, fill=_PALE, font=ImageFont.load_default(12))
