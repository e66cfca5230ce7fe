"""White levels: the count of a file that means 1, counts above it, and upper bits that a file does not use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.sensor import Sensor
from benchmark.units import counted
from zoo.errors import UserError

# Hot pixels are at most this frequent; if more values are above the white level, the level is wrong.
CLIPPED_SHARE = 0.001


def white_level(text: object) -> float | None:
    """Return the level that ``--white`` gives for 16-bit files, None if not given; raises UserError if invalid."""
    if text is None:
        return None
    try:
        white = float(str(text))
    except ValueError:
        white = 0.0
    if not (1 <= white <= 65535 and white.is_integer()):
        raise UserError(
            f"--white {text}: expected the count of white in 16-bit files, a whole number up to 65535, such as 1023."
        )
    return white


def rare_above(above: int, of: int) -> bool:
    """Whether ``above`` of ``of`` values are few enough to be hot pixels: a thousandth, or a single one."""
    return above <= max(1, int(CLIPPED_SHARE * of))


def clip_to_white(pixels: NDArray[Any], white: float) -> tuple[NDArray[Any], str | None]:
    """Return counts clipped to ``white``, and a text on how many were clipped and how high; None if there are none.

    Raises ValueError with an explanation if they are too many to be hot pixels.
    """
    highest = pixels.max(initial=0)
    if highest <= white:
        return pixels, None
    above = int(np.count_nonzero(pixels > white))
    if not rare_above(above, pixels.size):
        share = f"in {100 * above / pixels.size:.2g} % of the pixels (at most {100 * CLIPPED_SHARE:g} % are clipped)"
        raise ValueError(f"counts up to {highest}, above --white {white:g} {share}")
    return np.minimum(pixels, int(white)), clipped_words(above, int(highest), white)


def clipped_words(above: int, highest: int, white: float) -> str:
    """Return a text on how many counts were clipped and how high they were."""
    return f"{counted(above, 'count')} above white {white:g}, up to {highest}, clipped to it"


def scaled(pixels: NDArray[Any], white: float | None, dtype: Any) -> tuple[NDArray[Any], str | None]:
    """Return 8-bit values / 255 and 16-bit values / 65535 (or / ``white`` if it is known), and a text on clipping.

    Raises the ValueError of ``clip_to_white``.
    """
    clipped = None
    if white is not None and pixels.dtype == np.uint16:
        pixels, clipped = clip_to_white(pixels, white)
    else:
        white = float(np.iinfo(pixels.dtype).max)
    return pixels.astype(dtype) / dtype(white), clipped


def bits_used(pixels: NDArray[Any]) -> int:
    """Return the number of bits (at least 8) that hold all values of a uint16 array except rare hot pixels."""
    for bits in range(15, 7, -1):
        if not rare_above(int(np.count_nonzero(pixels >> bits)), pixels.size):
            return bits + 1
    return 8


class Depths:
    """The number of bits that the 16-bit files of each side of a set use."""

    def __init__(self) -> None:
        self.used: dict[str, list[int]] = {}

    def take(self, side: str, bits: int) -> None:
        """Record the bits that one file uses."""
        self.used.setdefault(side, []).append(bits)

    def unused(self, sensor: Sensor | None = None) -> Mapping[str, str]:
        """Return by side a warning if no file uses the upper bits: then the assumed range is probably wrong.

        With a ``sensor`` the side ``raw`` holds mosaics, whose range ends at its white level.
        """
        found: dict[str, str] = {}
        for side, used in self.used.items():
            bits = max(used)
            most = (1 << bits) - 1
            if sensor is not None and side == "raw":
                if 2 * most <= sensor.white:
                    found[side] = (
                        f"no mosaic of {len(used)} uses more than {bits} bits, counts up to {most}, and --white is"
                        f" {sensor.white:g}: that is right if all are dark, else the white level is lower"
                    )
            elif bits < 16:
                step = f"pass --white {most} if that is their white, --white 65535 if they are dark"
                found[side] = (
                    f"the {side} side has a range of {bits} bits in all its 16-bit files ({len(used)}), at most {most}"
                    f" of 65535: {step if sensor is None else 'scale them to 16 bits unless they are dark'}"
                )
        return found
