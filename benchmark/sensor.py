"""What the file of a RAW mosaic does not say: colour filter array, black and white level, size if it has no header."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from benchmark.units import MAX_SIDE, shape_text, size_of
from zoo.errors import UserError, shortened

# Position of the red pixel in the first 2x2 block, by the name of the colour filter array.
CFA = {"RGGB": (0, 0), "GRBG": (0, 1), "GBRG": (1, 0), "BGGR": (1, 1)}
_NEEDED = ("cfa", "black", "white")
_MOST_COUNTS = 65535


def red_of(cfa: str) -> tuple[int, int]:
    """Return row and column of the red pixel in the first 2x2 block of a colour filter, in letters of either case.

    Raises UserError for an unknown filter.
    """
    if cfa.upper() not in CFA:
        raise UserError(f"--cfa {shortened(cfa)}: expected one of {', '.join(CFA)}.")
    return CFA[cfa.upper()]


@dataclass(frozen=True)
class Sensor:
    """How the mosaics of a camera are stored; levels in the files' own counts, ``raw_size`` for headerless files."""

    cfa: str
    black: float
    white: float
    raw_size: tuple[int, int] | None = None

    @classmethod
    def of(cls, name: str, options: Mapping[str, str]) -> Sensor:
        """Return the sensor that a user's ``options`` describe; raises UserError for a missing or impossible one.

        ``name`` is the dataset, for errors.
        """
        if missing := [f"--{key}" for key in _NEEDED if key not in options]:
            raise UserError(
                f"{name}: {' and '.join(missing)} not given; expected the colour filter and both levels in the files'"
                " counts, which the files do not say, for example --cfa RGGB --black 64 --white 1023."
            )
        red_of(options["cfa"])
        black, white = (_level(key, options[key]) for key in ("black", "white"))
        if black >= white or not white.is_integer():
            raise UserError(f"--white {white:g}: expected a whole number above --black {black:g}.")
        return cls(options["cfa"].upper(), black, white, raw_size_of(options.get("raw_size")))

    @property
    def red(self) -> tuple[int, int]:
        """Row and column of the red pixel in the first 2x2 block."""
        return red_of(self.cfa)

    @property
    def text(self) -> str:
        """The values in words, which a digest and a table hold."""
        size = f", {shape_text(self.raw_size)} without a header" if self.raw_size else ""
        return f"{self.cfa}, {self.levels}{size}"

    @property
    def levels(self) -> str:
        """The levels in words."""
        return f"black level {self.black:.10g}, white level {self.white:.10g}"

    def record(self) -> dict[str, object]:
        """Return the values for a record's ``data``, under the names of the options."""
        size = {"raw_size": shape_text(self.raw_size)} if self.raw_size else {}
        black = int(self.black) if self.black.is_integer() else self.black
        return {"cfa": self.cfa, "black": black, "white": int(self.white), **size}


def _level(key: str, text: str) -> float:
    try:
        level = float(text)
    except ValueError:
        level = math.nan
    # This is also false for NaN.
    if not 0 <= level <= _MOST_COUNTS:
        raise UserError(f"--{key} {shortened(text)}: expected a level in counts, 0 to {_MOST_COUNTS}.")
    return level


def raw_size_of(text: str | None) -> tuple[int, int] | None:
    """Return ``HxW`` as (height, width), both even; raises UserError for any other text."""
    if text is None:
        return None
    size = size_of(text)
    if size is None or size[0] % 2 or size[1] % 2:
        raise UserError(
            f"--raw-size {shortened(text)}: expected HxW, for example 3000x4000, both even and up to {MAX_SIDE}."
        )
    return size
