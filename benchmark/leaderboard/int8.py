"""The page of networks in int8: each beside the same network in float32."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmark.cleaning import markdown
from benchmark.leaderboard import Board, rows_of, to_markdown
from benchmark.leaderboard.differences import difference_of
from benchmark.leaderboard.rows import Row
from benchmark.types import Result, label_of
from benchmark.units import three_digits

INT8 = "int8"
_TITLE = "In int8: what it costs"
_LEAD = f"""# {_TITLE}

Made by `zoo-bench leaderboard` from the records; do not edit. [How networks become int8](../docs/howto/int8.md), and
what stays in float32. The command that makes the records again opens `examples/int8.py`. Scores on a stand-in say
nothing about the real dataset, but the difference says what int8 changes in this network on these images.
"""
_NOTES = (
    "difference: the score in int8 less that of the same weights in float32 by torch, with its 95 % interval over"
    " scenes where there are at least 6.",
    "file: what the engine reads, ONNX for onnxruntime; for openvino its description of the graph, in text, and the"
    " weights. In float32: the same network as an ONNX file.",
    "MACs: of one image of the dataset's size.",
    "time: that of the row over that of the same engine in float32, each relative to the calibration kernel.",
    "memory: what a pass adds to the process, over that of the same engine in float32.",
    "cold load: from the start of a process to its first output, median of several processes.",
)


def int8_page(results: Iterable[Result]) -> str | None:
    """Return the Markdown page of the records in int8 that have a partner in float32; None if there are none."""
    rows = [row for row in rows_of(results) if row.is_scored]
    found = sorted((row for row in rows if row.result.spec.conditions.precision == INT8), key=_place)
    pairs = [(row, plain) for row in found if (plain := partner(row, rows, "torch"))]
    if not pairs:
        return None
    cells = [_cells(row, plain, partner(row, rows, row.result.spec.conditions.backend)) for row, plain in pairs]
    headers = (
        *("network", "data", "engine", "float32 [dB]", "int8 [dB]", "difference [dB]"),
        *("file [kB]", "file in float32 [kB]", "MACs [G]", "time ↓", "memory ↓", "cold load [ms] ↓"),
    )
    shown = [x for x in range(len(headers)) if any(row[x] for row in cells)]
    remarks = dict.fromkeys(f"{row.name}: {remark}" for row, _ in pairs for remark in row.remarks if _is_own(remark))
    board = Board(
        "Quality beside float32",
        tuple(headers[x] for x in shown),
        tuple(tuple(row[x] or "-" for x in shown) for row in cells),
        tuple(note for note, x in zip(_NOTES, (5, 6, 8, 9, 10, 11)) if x in shown),
        labels=3,
    )
    below = "".join(f"- {markdown(remark)}\n" for remark in remarks)
    return "\n".join([_LEAD, to_markdown(board), "## What is said of each\n", below])


def partner(row: Row, rows: Sequence[Row], backend: str) -> Row | None:
    """Return the row of the same network, weights and images in float32 by ``backend``; None if there is none."""
    for other in rows:
        under = other.result.spec.conditions
        if (under.precision, under.backend, under.is_tiled) == ("fp32", backend, False) and _same(row) == _same(other):
            return other
    return None


def _place(row: Row) -> tuple[str, ...]:
    return row.result.dataset, row.result.split, row.name, row.result.spec.conditions.backend


def _same(row: Row) -> tuple[object, ...]:
    spec = row.result.spec
    weights = (spec.model, str(spec.options), spec.code, spec.weights_digest)
    return (*weights, spec.dataset_digest, spec.split, spec.limit, spec.protocol, spec.conditions.sigma)


def _cells(row: Row, plain: Row, by_engine: Row | None) -> tuple[str, ...]:
    id = next(id for id, one in row.measurements.items() if one.kind == "score")
    result = row.result
    scores = [_decibels(one.value(id)) for one in (plain, row)]
    doubtful = "?" if row.measurements[id].is_doubtful else ""
    difference = difference_of(plain, row, id)
    if difference is None:
        first, second = plain.value(id), row.value(id)
        text = "" if first is None or second is None else f"{second - first:+.2f}"
    else:
        text = f"{difference.mean:+.2f} [{difference.low:+.2f}, {difference.high:+.2f}]"
    where = f"{result.dataset}, {result.split}: {result.n} images" + (
        f", {result.num_scenes} scenes" if result.num_scenes else ""
    )
    return (
        label_of(result.model, result.options, result.label),
        where,
        result.spec.conditions.backend,
        scores[0],
        scores[1] + doubtful,
        text,
        *(_scaled(row.value(id), 1e3) for id in ("file_bytes", "float_file_bytes")),
        _scaled(row.value("macs"), 1e9),
        *(_ratio(id, row, by_engine) for id in ("relative_latency", "peak_rss_bytes")),
        _scaled(row.fair_value("cold_load_ms"), 1),
    )


def _ratio(id: str, row: Row, by_engine: Row | None) -> str:
    values = [None if one is None else one.fair_value(id) for one in (row, by_engine)]
    return f"x {values[0] / values[1]:.2f}" if values[0] and values[1] else ""


def _decibels(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _scaled(value: float | None, unit: float) -> str:
    return "" if value is None else three_digits(value / unit)


def _is_own(remark: str) -> bool:
    return remark.startswith((INT8, "left in float32", "the result moves", "calibrated with", "examined on")) or (
        "beyond the ranges" in remark
    )
