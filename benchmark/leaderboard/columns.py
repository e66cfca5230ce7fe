"""The columns of every table: title and unit of a measurement, how its number is written, which direction is better."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmark.cleaning import markdown_code
from benchmark.leaderboard.rows import Row
from benchmark.leaderboard.shares import SHARES
from benchmark.metrics import METRICS
from benchmark.types import Kind, Measurement
from benchmark.units import GIB, MIB, shape_text

ARROWS = {True: "↑", False: "↓", None: ""}
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
_STYLES: dict[str, tuple[str, str, tuple[_Unit, _Unit]]] = {
    "params": ("params", "Parameters", (("M", 1e6), ("M", 1e6))),
    "macs": ("MACs", "", _COUNT),
    "flops": ("FLOPs", "", _COUNT),
    "conv_output_bytes": ("conv outputs", "", _BYTES),
    "peak_conv_bytes": ("largest conv", "", _BYTES),
    "peak_activation_bytes": ("peak activations", "", _BYTES),
    "predicted_rss_bytes": ("memory expected", "", _BYTES),
    "weight_bytes": ("weights", "", _BYTES),
    "latency_ms": ("time", "", _TIME),
    "relative_latency": ("x calibration", "Time / calibration", _NONE),
    "ms_per_mpix": ("ms/MPix", "Milliseconds per MPix", _NONE),
    "ceiling_share": ("of ceilings", "Share of ceilings", _SHARE),
    "gemm_share": ("of sgemm", "Share of sgemm", _SHARE),
    "peak_rss_bytes": ("memory added", "", _BYTES),
}
# Units of measurements that have no entry above, by the unit in the record.
_BY_UNIT = {"B": _BYTES, "MAC": _COUNT, "FLOP": _COUNT}
# What the part behind the "@" means, and whether costs are large there.
_SIZES = {"": ("", False), "1mpix": ("1 MPix", False), "12mp": ("12 MP", True), "fullscale": ("full scale", True)}
# The costs and times in a table, in the order of its columns; the HTML page can show all others.
COSTS = (
    "params",
    "macs",
    "flops@12mp",
    "conv_output_bytes@12mp",
    "peak_activation_bytes@12mp",
    "flops@fullscale",
    "conv_output_bytes@fullscale",
    "peak_activation_bytes@fullscale",
    "latency_ms",
    "relative_latency",
    "ms_per_mpix@1mpix",
    "latency_ms@12mp",
    "ceiling_share@12mp",
    "peak_rss_bytes@12mp",
    "latency_ms@fullscale",
)
# The costs shown beside quality, so that readers can weigh one against the other; the table of costs has all costs.
BESIDE_QUALITY = ("params", "macs", "latency_ms", "relative_latency", "peak_rss_bytes@12mp")
# Times and what decides between them: the time relative to the calibration kernel, which a slow phase of the machine
# changes less.
_DECIDED = {"latency_ms": "relative_latency", "ms_per_mpix": "relative_latency"}
KINDS: tuple[Kind, ...] = ("score", "count", "timing")


@dataclass(frozen=True)
class Column:
    """One measurement in a table. Values are divided by ``divisor`` and shown in ``unit``, with ``digits`` decimals
    (None: three significant digits). Direction, ``definitions`` and input ``sizes`` (CxHxW) are collected from the
    rows: several definitions or sizes mean that not all values measure the same thing.
    """

    id: str
    title: str
    full_title: str
    unit: str
    divisor: float
    digits: int | None
    kind: Kind
    higher_is_better: bool | None
    definitions: tuple[str, ...]
    sizes: tuple[str, ...]

    def show(self, value: float) -> str:
        """Return a number as every table shows it."""
        scaled = value / self.divisor
        return three_digits(scaled) if self.digits is None else f"{scaled:.{self.digits}f}"


def three_digits(value: float) -> str:
    """Return a number with three significant digits; digits before the point are never dropped."""
    if value == 0 or not math.isfinite(value):
        return str(value) if value else "0"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def columns_of(rows: Sequence[Row], ids: Iterable[str]) -> tuple[Column, ...]:
    """Return a column for each of ``ids`` that at least one row has measured."""
    found = ((id, [row.measurements[id] for row in rows if id in row.measurements]) for id in ids)
    return tuple(_column(id, measurements) for id, measurements in found if measurements)


def _column(id: str, measurements: Sequence[Measurement]) -> Column:
    """Return the column of measurements; an unknown measurement keeps its id and unit."""
    first = measurements[0]
    name, _, size = id.partition("@")
    where, is_large = _SIZES.get(size, (size, False))
    plain: tuple[_Unit, _Unit] = ((first.unit, 1), (first.unit, 1))
    title, full, units = _STYLES.get(name, (id, id, _BY_UNIT.get(first.unit, plain)))
    if first.kind == "score":
        title, full, units = id, id, plain
    elif name in _STYLES:
        full = ", ".join(filter(None, (full or title[0].upper() + title[1:], where)))
    unit, divisor = units[is_large]
    return Column(
        id=id,
        title=title,
        full_title=full,
        unit=unit,
        divisor=divisor,
        digits=_DIGITS.get(unit, _SCORE_DIGITS if first.kind == "score" else None),
        kind=first.kind,
        higher_is_better=first.higher_is_better,
        definitions=tuple(sorted({one.definition for one in measurements})),
        sizes=tuple(sorted({size_text(one) for one in measurements if one.input_shape})),
    )


def deciding(id: str, rows: Sequence[Row]) -> str:
    """Return the id of the measurement that decides which value of ``id`` is the best: another one for some times.

    The other one decides if it was measured in as many rows.
    """
    name, at, size = id.partition("@")
    other = _DECIDED.get(name, name) + at + size
    counts = [sum(row.value(one) is not None for row in rows) for one in (id, other)]
    return other if counts[1] >= counts[0] else id


def score_ids(rows: Sequence[Row]) -> list[str]:
    """Return the ids of the scores, in the order in which they first appear."""
    ids = [id for row in rows for id, m in row.measurements.items() if m.kind == "score"]
    return list(dict.fromkeys(ids))


def header(column: Column, rows: Sequence[Row]) -> str:
    """Return title, unit, the input size if it is the same in all rows, and the arrow."""
    on_cpu = all(row.result.spec.conditions.device == "cpu" for row in rows)
    title = markdown_code(column.title) if column.kind == "score" else column.title
    title = f"CPU {title}" if title == "time" and on_cpu else title
    where = f"at {column.sizes[0]}" if len(column.sizes) == 1 and column.kind != "score" else ""
    words = filter(None, [title, f"[{column.unit}]" if column.unit else "", where])
    return f"{' '.join(words)} {ARROWS[column.higher_is_better]}"


def header_lines(column: Column, rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the header for a terminal in lines: name, unit, size."""
    return tuple(header(column, rows).replace("`", "").replace(" [", "\n[").replace(" at ", "\n").split("\n"))


def short_header(column: Column, columns: Sequence[Column]) -> tuple[str, ...]:
    """Return the header without the input size, and of a score's definition only what tells it from ``columns``."""
    base, parts = _parts_of(column)
    others = [_parts_of(other)[1] for other in columns if _parts_of(other)[0] == base]
    own = [part for part in parts if column.kind != "score" or not all(part in other for other in others)]
    last = " ".join(filter(None, [f"[{column.unit}]" if column.unit else "", ARROWS[column.higher_is_better]]))
    return tuple(filter(None, (base, *own, last)))


def _parts_of(column: Column) -> tuple[str, list[str]]:
    """Return the short name of a column and what tells columns of this name apart: definition, or size."""
    if column.kind != "score":
        size = column.id.partition("@")[2]
        return column.title, [_SIZES.get(size, (size, False))[0]]
    base, _, definition = column.id.rstrip("]").partition("[")
    return base, definition.split(",")


def named(name: str, columns: Sequence[Column]) -> list[Column]:
    """Return the columns that a user means: the one of this id, else all of this title ("time", "ssim")."""
    wanted = name.lower().removeprefix("cpu ")
    exact = [column for column in columns if column.id.lower() == wanted]
    return exact or [column for column in columns if wanted in (column.title.lower(), _parts_of(column)[0].lower())]


def known_names() -> set[str]:
    """Return all ids and titles of columns that a table can have."""
    scores = {*METRICS.names(), *SHARES}
    sized = {f"{name}@{size}" if size else name for name in _STYLES for size in _SIZES}
    return scores | sized | {id.partition("[")[0] for id in scores} | {title for title, _, _ in _STYLES.values()}


def size_text(measurement: Measurement) -> str:
    """Return the shape of the measured image as CxHxW; empty if the measurement has none."""
    return shape_text((measurement.input_shape or [])[1:])
