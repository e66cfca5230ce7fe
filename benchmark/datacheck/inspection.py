"""Measure the content of files: digest, format, levels, a thumbnail, and for a pair how well raw and target agree.

This module only measures facts; ``judging`` decides whether they are right. Most of the work (hashing, decoding,
resizing) releases the interpreter lock.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmark.datacheck.plans import FileRule
from benchmark.datacheck.views import GRID, compare_views
from benchmark.imaging.duplicates import perceptual_hash
from benchmark.imaging.imagefiles import decode, read_content
from benchmark.imaging.levels import bits_used, rare_above
from benchmark.imaging.mosaics import decode_mosaic, white_hint
from benchmark.sensor import Sensor
from zoo.errors import UserError

# Part of the key of remembered facts; it is raised when a fact changes its meaning.
VERSION = 5

Facts = dict[str, Any]
Grid = NDArray[np.float32]

_DRAFT_SIDE = 256


def inspect_unit(files: Sequence[tuple[Path, FileRule | None]]) -> Facts:
    """Return the facts of one unit's files, and the facts of the pair if it is a mosaic with its photograph."""
    facts, grids = [], []
    for path, rule in files:
        found, grid = _inspect(path, rule)
        facts.append(found)
        grids.append(grid)
    views = None
    rule = files[0][1]
    shapes = [grid.shape if grid is not None else None for grid in grids]
    if rule is not None and rule.mosaic and shapes == [(GRID, GRID, 4), (GRID, GRID, 3)]:
        raw, target = grids
        views = compare_views(np.asarray(raw) - rule.black, np.asarray(target))
    return {"files": facts, "views": views}


def _inspect(path: Path, rule: FileRule | None) -> tuple[Facts, Grid | None]:
    try:
        content = read_content("check", path)
    except UserError as error:
        return {"error": _short(str(error), path)}, None
    facts: Facts = {"sha256": sha256(content).hexdigest(), "bytes": len(content)}
    if rule is None:
        return facts, None
    try:
        if rule.sensor is not None:
            picture = decode_mosaic("check", path, content, rule.sensor)
        else:
            picture = decode("check", path, content, rule.formats, draft=_DRAFT_SIDE)
    except UserError as error:
        facts["error"] = _short(str(error), path)
        return facts, None
    pixels = picture.pixels
    facts |= {"format": picture.format, "kind": picture.kind, "bits": picture.bits, "size": list(picture.size)}
    if picture.orientation != 1:
        facts["orientation"] = picture.orientation
    if picture.kind not in ("gray", "RGB") or picture.bits < 8:
        return facts, None
    facts["low"], facts["high"] = int(pixels.min()), int(pixels.max())
    if rule.unscaled and pixels.dtype == np.uint8 and facts["high"] == 255:
        facts["at_255"] = float(np.mean(pixels == 255))
    if rule.sensor is not None:
        facts |= _levels(path, pixels, rule.sensor, picture.levels)
    elif pixels.dtype == np.uint16 and rule.white is not None:
        facts["above"] = [int(np.count_nonzero(pixels > rule.white)), pixels.size]
    elif pixels.dtype == np.uint16:
        facts["used"] = bits_used(pixels)
    grid = _mosaic_grid(pixels) if rule.mosaic and pixels.ndim == 2 else _grid(pixels)
    gray = grid.mean(axis=2) if grid.ndim == 3 else grid
    facts["brightest"] = float(gray.max())
    hashed = perceptual_hash(gray - rule.black)
    if hashed is not None:
        facts["hash"], thumbnail = f"{hashed[0]:016x}", hashed[1]
        facts["thumbnail"] = base64.b64encode(thumbnail.tobytes()).decode("ascii")
    return facts, grid


def _levels(path: Path, counts: NDArray[Any], sensor: Sensor, stated: str) -> Facts:
    """Return how the counts of a mosaic lie between the levels of its sensor, and other levels that the file states."""
    above = int(np.count_nonzero(counts > sensor.white))
    facts: Facts = {"above": [above, counts.size], "used": bits_used(counts), "mean": float(counts.mean())}
    if not rare_above(above, counts.size):
        facts["hint"] = white_hint(path, counts, sensor.white)
    if stated not in ("", sensor.levels):
        facts["stated"] = stated
    return facts


def _grid(pixels: NDArray[Any]) -> Grid:
    """Return the means of GRID x GRID blocks of an image (H, W) or (H, W, 3)."""
    if pixels.dtype == np.uint8:
        small = Image.fromarray(pixels).resize((GRID, GRID), Image.Resampling.BOX)
        return np.asarray(small, np.float32)
    planes = pixels[..., None] if pixels.ndim == 2 else pixels
    grid = np.stack([_plane_grid(planes[..., index]) for index in range(planes.shape[2])], axis=2)
    return grid[..., 0] if pixels.ndim == 2 else grid


def _mosaic_grid(pixels: NDArray[Any]) -> Grid:
    """Return the block means (GRID, GRID, 4) of the four planes of a mosaic, in reading order."""
    height, width = pixels.shape[0] // 2 * 2, pixels.shape[1] // 2 * 2
    planes = [pixels[row:height:2, column:width:2] for row in (0, 1) for column in (0, 1)]
    return np.stack([_plane_grid(plane) for plane in planes], axis=2)


def _plane_grid(plane: NDArray[Any]) -> Grid:
    small = Image.fromarray(plane.astype(np.float32)).resize((GRID, GRID), Image.Resampling.BOX)
    return np.asarray(small)


def _short(message: str, path: Path) -> str:
    """Return a loader's message without path and advice, which the list of problems already contains."""
    text = message.removeprefix(f"check: {path} ")
    return (
        text.partition("; expected")[0]
        .removesuffix(" Is it the right file?")
        .removesuffix(" Copy it again.")
        .removesuffix(" Check the file.")
        .rstrip(".")
    )
