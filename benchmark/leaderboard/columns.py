"""The columns of the tables: which measurement, under what header, how formatted."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmark.cleaning import markdown_code
from benchmark.types import Measurement, Result
from benchmark.units import GIB

ARROWS = {True: "↑", False: "↓", None: ""}


@dataclass(frozen=True)
class Column:
    """One measurement in a table: which, under what header, how formatted."""

    id: str
    title: str
    show: Callable[[float], str]


def _scaled(divisor: float, digits: int) -> Callable[[float], str]:
    return lambda value: f"{value / divisor:.{digits}f}"


def _significant(divisor: float) -> Callable[[float], str]:
    def show(value: float) -> str:
        scaled = value / divisor
        if scaled == 0:
            return "0"
        return f"{scaled:.{max(0, 2 - math.floor(math.log10(abs(scaled))))}f}"

    return show


_SCORE_DIGITS = {"dB": 2}
COSTS = (
    Column("params", "params [M]", _significant(1e6)),
    Column("macs", "MACs [G]", _significant(1e9)),
    Column("flops@12mp", "FLOPs [T]", _significant(1e12)),
    Column("conv_output_bytes@12mp", "conv outputs [GiB]", _scaled(GIB, 2)),
    Column("peak_activation_bytes@12mp", "peak activations [GiB]", _scaled(GIB, 2)),
    Column("flops@fullscale", "FLOPs [T]", _significant(1e12)),
    Column("conv_output_bytes@fullscale", "conv outputs [GiB]", _scaled(GIB, 2)),
    Column("peak_activation_bytes@fullscale", "peak activations [GiB]", _scaled(GIB, 2)),
)
TIMES = (
    Column("latency_ms", "CPU time [ms]", _significant(1)),
    Column("relative_latency", "x calibration", _significant(1)),
    Column("ms_per_mpix@1mpix", "ms/MPix", _significant(1)),
    Column("latency_ms@12mp", "CPU time [s]", _significant(1000)),
    Column("ceiling_share@12mp", "of ceilings [%]", _scaled(0.01, 0)),
    Column("peak_rss_bytes@12mp", "memory added [GiB]", _scaled(GIB, 2)),
    Column("latency_ms@fullscale", "CPU time [s]", _significant(1000)),
)
# What stands beside quality, to weigh one against the other; the table of costs has all of them.
BESIDE_QUALITY = tuple(
    column
    for column in (*COSTS, *TIMES)
    if column.id in ("params", "macs", "latency_ms", "relative_latency", "peak_rss_bytes@12mp")
)


def score_column(measurement: Measurement, id: str) -> Column:
    """Return the column of a score; its header is complete."""
    digits = _SCORE_DIGITS.get(measurement.unit, 4)
    unit = f" [{measurement.unit}]" if measurement.unit else ""
    return Column(id, f"{markdown_code(id)}{unit} {ARROWS[measurement.higher_is_better]}", _scaled(1, digits))


def present(columns: Sequence[Column], rows: Sequence[Result]) -> tuple[Column, ...]:
    """Return the columns that any row has a measurement for."""
    return tuple(column for column in columns if any(column.id in row.measurements for row in rows))


def header(column: Column, rows: Sequence[Result]) -> str:
    """Return title, unit, input size where it is the same in all rows, and the arrow."""
    measured = [r.measurements[column.id] for r in rows if column.id in r.measurements]
    if measured[0].kind == "score":
        return column.title
    title = (
        column.title
        if all(row.spec.conditions.device == "cpu" for row in rows)
        else column.title.replace("CPU time", "time")
    )
    sizes = input_sizes(column, rows)
    where = f" at {sizes[0]}" if len(sizes) == 1 else ""
    return f"{title}{where} {ARROWS[measured[0].higher_is_better]}"


def input_sizes(column: Column, rows: Sequence[Result]) -> list[str]:
    """Return the input shapes at which a column was measured, as CxHxW."""
    shapes = {tuple(m.input_shape) for r in rows if (m := r.measurements.get(column.id)) and m.input_shape}
    return sorted({"x".join(map(str, shape[1:])) for shape in shapes})


def size_text(measurement: Measurement) -> str:
    """Return the shape of the image that a measurement is of, as CxHxW; empty where it has none."""
    return "x".join(map(str, (measurement.input_shape or [])[1:]))


def score_ids(results: Sequence[Result]) -> list[str]:
    """Return the ids of the scores, in the order in which they first appear."""
    ids = [id for result in results for id, m in result.measurements.items() if m.kind == "score"]
    return list(dict.fromkeys(ids))


def value_of(result: Result, id: str) -> float | None:
    """Return a measurement's value; None where there is none."""
    measurement = result.measurements.get(id)
    return None if measurement is None or measurement.value is None else float(measurement.value)
