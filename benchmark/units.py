"""Units of memory (powers of two), the largest values that a user may give, and how numbers and lists are written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
# Larger values are typing errors; torch takes no larger seed.
MAX_THREADS, MAX_SEED, MAX_SIDE = 1024, (1 << 63) - 1, 100_000


def size_of(text: str) -> tuple[int, int] | None:
    """Return (height, width) of ``HxW``, each 1 to 100,000; None for any other text."""
    sides = text.lower().split("x")
    # Longer numbers are not converted.
    if len(sides) != 2 or not all(side.isdecimal() and side.isascii() and len(side) <= 9 for side in sides):
        return None
    height, width = map(int, sides)
    return (height, width) if 1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE else None


def shape_text(shape: Iterable[object]) -> str:
    """Return the sides of an image or a tensor as text, the same everywhere: 448x448, 1x4x224x224."""
    return "x".join(map(str, shape))


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is one: "1 thread", "2 threads"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def listed(names: Sequence[object], most: int) -> str:
    """Return the first ``most`` names and how many more there are: a, b and 3 more."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more


def size_text(size: int) -> str:
    """Return a number of bytes for people: 3.2 GiB, 512.0 MiB, 6.1 KiB, 12 bytes."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes"


# Decimals of the units that have a fixed number of them; None: three significant digits, as every other cost has.
_DIGITS = {"dB": 2, "ΔE00": 2, "MSE": None, "% of error": 1, "GiB": 2, "%": 0}
_SCORE_DIGITS = 4
# A unit and its divisor: first for the dataset's size and one megapixel, then for sizes where costs are large.
_Unit = tuple[str, float]
_NONE: tuple[_Unit, _Unit] = (("", 1), ("", 1))
_COUNT = (("G", 1e9), ("T", 1e12))
_BYTES = (("MiB", MIB), ("GiB", GIB))
_SHARE: tuple[_Unit, _Unit] = (("%", 0.01), ("%", 0.01))
_TIME: tuple[_Unit, _Unit] = (("ms", 1), ("s", 1000))
# By the name before the "@": the short title of the column, the full title if the short one says too little, and the
# units.
STYLES: dict[str, tuple[str, str, tuple[_Unit, _Unit]]] = {
    "params": ("params", "Parameters", (("M", 1e6), ("M", 1e6))),
    "macs": ("MACs", "", _COUNT),
    "flops": ("FLOPs", "", _COUNT),
    "conv_output_bytes": ("conv outputs", "", _BYTES),
    "peak_conv_bytes": ("largest conv", "", _BYTES),
    "peak_activation_bytes": ("peak activations", "", _BYTES),
    "predicted_rss_bytes": ("memory expected", "", _BYTES),
    "weight_bytes": ("weights", "", _BYTES),
    "file_bytes": ("file", "File", _BYTES),
    "float_file_bytes": ("file in float32", "File in float32", _BYTES),
    "latency_ms": ("time", "", _TIME),
    "cold_load_ms": ("cold load", "", _TIME),
    "relative_latency": ("x calibration", "Time / calibration", _NONE),
    "ms_per_mpix": ("ms/MPix", "Milliseconds per MPix", _NONE),
    "ceiling_share": ("of ceilings", "Share of ceilings", _SHARE),
    "gemm_share": ("of sgemm", "Share of sgemm", _SHARE),
    "peak_rss_bytes": ("memory added", "", _BYTES),
}
# Units of measurements that have no entry above, by the unit in the record.
_BY_UNIT = {"B": _BYTES, "MAC": _COUNT, "FLOP": _COUNT}
# What the part behind the "@" means, and whether costs are large there.
SIZES = {"": ("", False), "1mpix": ("1 MPix", False), "12mp": ("12 MP", True), "fullscale": ("full scale", True)}


@dataclass(frozen=True)
class Style:
    """How a measurement is shown. Values are divided by ``divisor`` and shown in ``unit``, with ``digits`` decimals
    (None: three significant digits).
    """

    title: str
    full_title: str
    unit: str
    divisor: float
    digits: int | None

    def show(self, value: float) -> str:
        """Return a number as every table shows it."""
        scaled = value / self.divisor
        return three_digits(scaled) if self.digits is None else f"{scaled:.{self.digits}f}"


def style_of(id: str, unit: str, *, is_score: bool) -> Style:
    """Return how the measurement ``id``, in ``unit``, is shown; an unknown one keeps its id and unit."""
    name, _, size = id.partition("@")
    where, is_large = SIZES.get(size, (size, False))
    plain: tuple[_Unit, _Unit] = ((unit, 1), (unit, 1))
    title, full, units = STYLES.get(name, (id, id, _BY_UNIT.get(unit, plain)))
    if is_score:
        title, full, units = id, id, plain
    elif name in STYLES:
        full = ", ".join(filter(None, (full or title[0].upper() + title[1:], where)))
    unit, divisor = units[is_large]
    return Style(title, full, unit, divisor, _DIGITS.get(unit, _SCORE_DIGITS if is_score else None))


def three_digits(value: float) -> str:
    """Return a number with three significant digits; digits before the point are never dropped."""
    if value == 0 or not math.isfinite(value):
        return str(value) if value else "0"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def clock(seconds: float) -> str:
    """Return seconds as m:ss, from an hour on as h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
