"""Compare a mosaic with its photograph: phase of the colour filter and orientation, by correlation.

Both are judged on block means, so that a shift of a few pixels does not matter. For each of the four phases of a Bayer
filter, the fractions of a block's light in the planes of the mosaic are compared with the fractions of red, green and
blue in the linearised photograph. Orientation is judged by brightness, for the eight ways to turn and mirror an image.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

GRID = 32
PHASES = ("RGGB", "GRBG", "GBRG", "BGGR")
TURNS = ("as it is", "turned by 90", "turned by 180", "turned by 270")
ORIENTATIONS = (*TURNS, *(f"mirrored, {turn}" for turn in TURNS))
# A vote counts if its correlation leads by this much; pictures without colour or contrast do not vote.
_LEAD = 0.05
_LEAST_CONTRAST = 0.02

Grid = NDArray[Any]


def compare_views(raw: Grid, target: Grid) -> dict[str, Any]:
    """Return the votes of one pair from block means: ``raw`` (G, G, 4) above black, ``target`` (G, G, 3) in 0..255.

    ``phase`` and ``orientation`` are None if the pair does not show them; ``likeness`` is the correlation of both
    brightnesses without turning, or None if one has no contrast.
    """
    raw = np.maximum(raw.astype(np.float64), 0.5)
    linear = (np.maximum(target.astype(np.float64), 1.0) / 255) ** 2.2
    likeness = _orient(np.log(raw.sum(axis=2)), np.log(linear.sum(axis=2)))
    return {
        "phase": _phase(raw, linear),
        "orientation": _winner(likeness, ORIENTATIONS) if likeness else None,
        "likeness": likeness[0] if likeness else None,
    }


def _phase(raw: Grid, linear: Grid) -> str | None:
    shares = raw / raw.sum(axis=2, keepdims=True)
    wanted = linear / linear.sum(axis=2, keepdims=True)
    if wanted.std(axis=(0, 1)).max() < _LEAST_CONTRAST / 2:
        return None
    table = _correlate(shares.reshape(-1, 4), wanted.reshape(-1, 3))
    return _winner(
        [sum(table[i]["RGB".index(colour)] for i, colour in enumerate(phase)) / 4 for phase in PHASES], PHASES
    )


def _orient(first: Grid, second: Grid) -> list[float]:
    if min(first.std(), second.std()) < _LEAST_CONTRAST:
        return []
    views = [np.rot90(view, turns).ravel() for view in (second, second[:, ::-1]) for turns in range(4)]
    return _correlate(first.reshape(-1, 1), np.stack(views, axis=1))[0]


def _winner(scores: list[float], names: tuple[str, ...]) -> str | None:
    order = np.argsort(scores)[::-1]
    return names[order[0]] if scores[order[0]] - scores[order[1]] > _LEAD else None


def _correlate(first: Grid, second: Grid) -> list[list[float]]:
    """Return the correlation of each column (N, A) with each column (N, B); 0 if a column is constant."""
    first, second = first - first.mean(axis=0), second - second.mean(axis=0)
    energies = np.outer(np.einsum("na,na->a", first, first), np.einsum("nb,nb->b", second, second))
    table: list[list[float]] = (first.T @ second / np.sqrt(np.maximum(energies, 1e-30))).tolist()
    return table
