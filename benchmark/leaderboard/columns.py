"""The columns of every table: title and unit of a measurement, how its number is written, which direction is better."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmark.cleaning import markdown_code
from benchmark.leaderboard.rows import Row
from benchmark.leaderboard.shares import SHARES
from benchmark.metrics import METRICS
from benchmark.types import Kind, Measurement
from benchmark.units import SIZES, STYLES, Style, shape_text, style_of

ARROWS = {True: "↑", False: "↓", None: ""}
# The costs and times in a table, in the order of its columns; the HTML page can show all others.
COSTS = (
    "params",
    "macs",
    "file_bytes",
    "flops@12mp",
    "conv_output_bytes@12mp",
    "peak_activation_bytes@12mp",
    "flops@fullscale",
    "conv_output_bytes@fullscale",
    "peak_activation_bytes@fullscale",
    "latency_ms",
    "relative_latency",
    "cold_load_ms",
    "ms_per_mpix@1mpix",
    "latency_ms@12mp",
    "ceiling_share@12mp",
    "peak_rss_bytes@12mp",
    "latency_ms@fullscale",
    "ms_per_mpix@fullscale",
    "peak_rss_bytes@fullscale",
)
# The costs shown beside quality, so that readers can weigh one against the other; the table of costs has all costs.
BESIDE_QUALITY = (
    *("params", "macs", "file_bytes", "latency_ms", "relative_latency", "cold_load_ms"),
    "peak_rss_bytes@12mp",
)
# Times and what decides between them: the time relative to the calibration kernel, which a slow phase of the machine
# changes less.
_DECIDED = {"latency_ms": "relative_latency", "ms_per_mpix": "relative_latency"}
KINDS: tuple[Kind, ...] = ("score", "count", "timing")


@dataclass(frozen=True)
class Column(Style):
    """One measurement in a table. Direction, ``definitions`` and input ``sizes`` (CxHxW) are collected from the rows:
    several definitions mean that not all values measure the same thing, and so do several ``images``: planes of
    4x224x224 and of 3x448x448 hold one image of 448x448 pixels, packed or not.
    """

    id: str
    kind: Kind
    higher_is_better: bool | None
    definitions: tuple[str, ...]
    sizes: tuple[str, ...]
    images: tuple[str, ...]

    @property
    def size(self) -> str:
        """The one size of all values, of the planes or else of the image; empty if there are several or none."""
        if len(self.sizes) == 1:
            return self.sizes[0]
        return f"{self.images[0]} pixels" if len(self.images) == 1 else ""


def columns_of(rows: Sequence[Row], ids: Iterable[str]) -> tuple[Column, ...]:
    """Return a column for each of ``ids`` that at least one row has measured."""
    found = ((id, [row for row in rows if id in row.measurements]) for id in ids)
    return tuple(_column(id, having) for id, having in found if having)


def _column(id: str, rows: Sequence[Row]) -> Column:
    """Return the column of a measurement that all ``rows`` have; an unknown one keeps its id and unit."""
    measurements = [row.measurements[id] for row in rows]
    first, sizes = measurements[0], {size_text(one) for one in measurements if one.input_shape}
    # Networks are looked up, which takes time, only where planes differ.
    images = sizes if len(sizes) < 2 else {row.image_size(row.measurements[id]) for row in rows} - {""}
    return Column(
        **vars(style_of(id, first.unit, is_score=first.kind == "score")),
        id=id,
        kind=first.kind,
        higher_is_better=first.higher_is_better,
        definitions=tuple(sorted({one.definition for one in measurements})),
        sizes=tuple(sorted(sizes)),
        images=tuple(sorted(images)),
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
    """Return title, unit, the size of the input or image if it is the same in all rows, and the arrow."""
    on_cpu = all(row.result.spec.conditions.device == "cpu" for row in rows)
    title = markdown_code(column.title) if column.kind == "score" else column.title
    title = f"CPU {title}" if title == "time" and on_cpu else title
    where = f"at {column.size}" if column.size and column.kind != "score" else ""
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
        return column.title, [SIZES.get(size, (size, False))[0]]
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
    sized = {f"{name}@{size}" if size else name for name in STYLES for size in SIZES}
    return scores | sized | {id.partition("[")[0] for id in scores} | {title for title, _, _ in STYLES.values()}


def size_text(measurement: Measurement) -> str:
    """Return the shape of the measured image as CxHxW; empty if the measurement has none."""
    return shape_text((measurement.input_shape or [])[1:])
