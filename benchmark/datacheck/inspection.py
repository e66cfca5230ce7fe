"""What files contain, measured once: digest, format, levels, a thumbnail, and for a pair how raw and target agree.

Everything here is facts; whether they are right is judged elsewhere. Work is done where the interpreter lock is
released: hashing, decoding, resizing.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmark.datacheck.duplicates import perceptual_hash
from benchmark.datacheck.plans import Rule
from benchmark.datacheck.views import GRID, compare_views
from benchmark.imaging.imagefiles import bits_of, check_end, decode, rgb_pixels
from zoo.errors import UserError
from zoo.inputs import refuse_endless

# Part of the key of what is remembered; raised when a fact changes its meaning.
VERSION = 3

Facts = dict[str, Any]
Grid = NDArray[np.float32]

_PNG_KINDS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGB with alpha"}
_MODES = {"L": "grey", "RGB": "RGB", "1": "grey", "I;16": "grey", "I;16B": "grey", "I": "grey", "F": "grey"}
_DRAFT_SIDE = 256


def inspect_unit(files: Sequence[tuple[Path, Rule | None]]) -> Facts:
    """Return the facts of the files of one unit, and of the pair where a mosaic meets its photograph."""
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


def _inspect(path: Path, rule: Rule | None) -> tuple[Facts, Grid | None]:
    try:
        refuse_endless(path)
        content = path.read_bytes()
    except OSError as error:
        return {"error": f"cannot be read ({error.strerror or error})"}, None
    facts: Facts = {"sha256": sha256(content).hexdigest(), "bytes": len(content)}
    if rule is None:
        return facts, None
    try:
        pixels = _pixels(facts, path, content, rule)
    except UserError as error:
        facts["error"] = _short(str(error), path)
        return facts, None
    if pixels.ndim == 3 and pixels.shape[2] != 3:
        return facts, None
    facts["low"], facts["high"] = int(pixels.min()), int(pixels.max())
    if rule.unscaled and pixels.dtype == np.uint8 and facts["high"] == 255:
        facts["at_255"] = float(np.mean(pixels == 255))
    grid = _mosaic_grid(pixels) if rule.mosaic and pixels.ndim == 2 else _grid(pixels)
    grey = grid.mean(axis=2) if grid.ndim == 3 else grid
    facts["brightest"] = float(grey.max())
    fingerprint = perceptual_hash(grey - rule.black)
    if fingerprint is not None:
        facts["hash"], thumbnail = f"{fingerprint[0]:016x}", fingerprint[1]
        facts["thumbnail"] = base64.b64encode(thumbnail.tobytes()).decode("ascii")
    return facts, grid


def _pixels(facts: Facts, path: Path, content: bytes, rule: Rule) -> NDArray[Any]:
    """Return the decoded pixels and note format, kind, depth and size; raises UserError for a damaged file."""
    image, size = _draft(content) if "JPEG" in rule.formats else (None, None)
    if image is None or size is None:
        image = decode("check", path, content, rule.formats)
        size = image.size
    facts["format"], facts["size"] = image.format, [size[1], size[0]]
    if image.format == "PNG":
        # From the header: Pillow scales files of 1, 2 and 4 bits to 8 and does not tell.
        facts["bits"], facts["kind"] = content[24], _PNG_KINDS.get(content[25], "unknown")
    else:
        facts["bits"], facts["kind"] = bits_of(image, content), _MODES.get(image.mode, image.mode)
    if image.mode == "RGB" and facts["bits"] == 16:
        return rgb_pixels("check", path, content, rule.formats, image)
    return np.asarray(image)


def _draft(content: bytes) -> tuple[Any, tuple[int, int] | None]:
    """Return a JPEG at an eighth of its size, all its data decoded but a 64th transformed, and its full size.

    None where that is too small for the thumbnail; a damaged file is left to the full decoder and its words.
    """
    try:
        image = Image.open(io.BytesIO(content), formats=("JPEG",))
        check_end(image, content)
        size = image.size
        if min(size) < _DRAFT_SIDE:
            return None, None
        image.draft(None, (size[0] // 8, size[1] // 8))
        image.load()
    except (OSError, SyntaxError, ValueError, EOFError):
        return None, None
    return image, size


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
    """Return a loader's message without the path and the advice, which the list says itself."""
    text = message.removeprefix(f"check: {path} ")
    return text.partition("; expected")[0].removesuffix(" Copy it again.").rstrip(".")
