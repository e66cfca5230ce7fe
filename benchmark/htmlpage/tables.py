"""One table of the page: its columns, and a cell per row and column with everything known about the number."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmark.htmlpage.provenance import conditions_text
from benchmark.leaderboard.cells import Cells, spread_text
from benchmark.leaderboard.columns import COSTS, KINDS, Column, size_text
from benchmark.leaderboard.rows import Row, remarks_on
from benchmark.leaderboard.sweeps import is_aside
from benchmark.leaderboard.tables import PART, Table, images_text, scenes_text, trained_by
from benchmark.types import Environment, Result
from benchmark.units import counted

GROUPS = {"score": "Scores", "count": "Costs", "timing": "Time and memory"}
# Default axes, the most useful first: the first one that a table has is shown.
_FIRST_X = ("flops@12mp", "flops@fullscale", "macs", "params")
_FIRST_Y = (
    "relative_latency@12mp",
    "relative_latency@fullscale",
    "relative_latency",
    "latency_ms",
    "peak_activation_bytes@12mp",
)
# The parts of a cell besides value, text and context.
_BESIDE = (
    "q1",
    "q3",
    "ci_low",
    "ci_high",
    "n",
    "num_scenes",
    "num_runs",
    "run_std",
    "threads",
    "tainted",
    "remark",
    "n_inf",
    "finite_mean",
    "layer",
)
# Typographic forms of signs that other tables write in ASCII.
_TYPESET = {"inf": "∞", "-inf": "−∞"}
_ABOUT: tuple[tuple[str, str, bool, Callable[[Row], Any]], ...] = (
    ("evidence", "Evidence", False, lambda row: row.result.evidence),
    ("weights", "Weights", False, lambda row: ", ".join(filter(None, [row.weights, row.runs_text]))),
    ("status", "Status", False, lambda row: row.result.status),
    ("split", "Split", False, lambda row: row.result.split),
    ("n", "Images", True, lambda row: row.result.n),
    ("machine", "Machine", False, lambda row: machine_text(row.timing.environment)),
    ("threads", "Threads", True, lambda row: row.timing.environment.threads),
    ("conditions", "Conditions", False, lambda row: conditions_text(row.timing)),
    ("torch", "torch", False, lambda row: row.result.environment.torch),
    ("commit", "Commit", False, lambda row: commit_text(row.result.environment)),
    ("created", "Measured on", False, lambda row: row.result.created),
    ("seconds", "Run [s]", True, lambda row: round(row.result.seconds, 1)),
)


def machine_text(environment: Environment) -> str:
    """Return processor, cores and the machine's id."""
    return f"{environment.cpu}, {environment.cores} cores ({environment.machine[:8]})"


def commit_text(environment: Environment) -> str:
    """Return the commit's first digits, with a remark if the checkout had changes."""
    return (environment.commit or "")[:10] + (" + changes" if environment.dirty else "")


@dataclass
class Distinct:
    """A list of distinct values: each one is stored once in ``items``."""

    items: list[Any] = field(default_factory=list)
    _known: dict[Hashable, int] = field(default_factory=dict)

    def index(self, key: Hashable, item: Any = None) -> int:
        """Return the position of the item for ``key``; a new key first adds ``item``, or the key itself."""
        if key not in self._known:
            self._known[key] = len(self.items)
            self.items.append(key if item is None else item)
        return self._known[key]


def titles(tables: Sequence[Table]) -> list[str]:
    """Return the titles of one dataset's tables; tables that would share a title say what differs.

    The difference is the scoring protocol, the digest of the data, the rule for scenes, or the metrics and their
    versions.
    """
    plain = [_title(table) for table in tables]
    full = []
    for table, title in zip(tables, plain):
        alike = [_differences(other.rows[0].result) for other, text in zip(tables, plain) if text == title]
        own = _differences(table.rows[0].result)
        full.append(", ".join([title, *(text for text, all_texts in zip(own, zip(*alike)) if len(set(all_texts)) > 1)]))
    return full


def _title(table: Table) -> str:
    first = table.rows[0].result
    if table.kind == "costs":
        splits = " and ".join(sorted({row.result.split for row in table.rows}))
        return f"Costs only: {splits}" + (f", {table.part} images" if table.part else "")
    scenes = f", {scenes_text(first)}" if table.kind == "quality" else ""
    images = f"{images_text(first)}, {first.spec.protocol}{scenes}"
    return f"{table.kind.capitalize()}: {first.split}, {images}{trained_by(table.recipe)}"


def _differences(result: Result) -> tuple[str, ...]:
    scores = sorted((id, m.version) for id, m in result.measurements.items() if m.kind == "score")
    metrics = " ".join(f"{id} v{version}" for id, version in scores)
    scenes = f"scenes by {result.data['scene']}" if "scene" in result.data else "each picture a scene"
    return f"{result.spec.scoring} scores", f"data {result.spec.dataset_digest[:8]}", scenes, metrics


def table_document(table: Table, title: str, records: Mapping[int, int], texts: Distinct) -> dict[str, Any]:
    """Return a JSON-ready table. ``records`` maps the position of each shown row to its record's position in the page.

    The cell of a measurement is ``[value, text, context, beside]`` or null; other cells are a text or a number. The
    contexts of a column (definition, version, shape, machine) say which of its values may be compared. A row says
    whether it is fair, and by column which values are only shown (``uncompared``), which are the best, and their signs.
    """
    first = Cells(table.rows, table.columns)
    # Notes of the other tables are numbered first, so that a number means the same everywhere.
    others = Cells(table.rows, table.others, first.footnotes)
    signs, best = {**first.signs, **others.signs}, first.best | others.best
    measured = sorted((*table.columns, *table.others), key=_place)
    shown = [table.rows[y] for y in records]
    judged = [(id, values) for id, values in (("rank", table.ranks), ("pareto", table.fronts)) if values]
    about = [_text_column(id, id.capitalize(), shown=True) for id, _ in judged]
    about += [_text_column(id, name, is_number, shown=_tells(id, shown, of)) for id, name, is_number, of in _ABOUT]
    columns = [_measured(column, shown, texts) for column in measured]
    place = {column.id: len(about) + x for x, column in enumerate(measured)}

    def row_document(index: int, y: int) -> dict[str, Any]:
        row = shown[index]
        is_only_shown = [row.value(id) is not None and row.fair_value(id) is None for id in place]
        return {
            "name": row.name,
            "record": records[y],
            "cells": [
                *(values[y] for _, values in judged),
                *(of(row) for *_, of in _ABOUT),
                *(cells[index] for _, cells in columns),
            ],
            "fair": row.is_fair,
            "doubts": row.signs,
            "uncompared": [x for x, only in zip(place.values(), is_only_shown) if only],
            "best": [x for id, x in place.items() if (y, id) in best],
            "signs": {x: signs[y, id] for id, x in place.items() if signs[y, id]},
        }

    rows = [row_document(index, y) for index, y in enumerate(records)]
    documents = [*about, *(document for document, _ in columns)]
    main = place.get(table.main, len(about))
    part = [text for name, text in table.lead if name == PART]
    return {
        "title": title,
        "kind": table.kind,
        "columns": documents,
        "rows": rows,
        "sort": {"column": main, "descending": bool(documents[main]["higher"])} if place else None,
        "axes": _axes(place, main, table.rows, quality=table.kind != "costs"),
        "caution": " ".join(filter(None, [*part, table.caution])),
        "notes": [*table.notes, *first.footnotes.lines()],
        "remarks": remarks_on(shown),
    }


def _place(column: Column) -> tuple[int, int]:
    """Return a column's sort key: scores, costs, times, and in each group first the columns of the Markdown tables."""
    return KINDS.index(column.kind), COSTS.index(column.id) if column.id in COSTS else len(COSTS)


def _axes(place: Mapping[str, int], main: int, rows: Sequence[Row], *, quality: bool) -> dict[str, int] | None:
    """Return the first axes of the plot: a cost that all rows have, if there is one, and the main measurement."""
    if not place:
        return None
    common = [id for id in _FIRST_X if id in place and all(id in row.measurements for row in rows)]
    x = next((place[id] for id in [*common, *_FIRST_X] if id in place), max(place.values()))
    y = main if quality else next((place[id] for id in _FIRST_Y if id in place), min(place.values()))
    return {"x": x, "y": y}


def _tells(id: str, rows: Sequence[Row], of: Callable[[Row], Any]) -> bool:
    """Whether a column about the run is shown by default: evidence always, others if their values differ."""
    several = len({of(row) for row in rows}) > 1
    failed = id == "status" and any(row.result.status != "ok" for row in rows)
    return failed or id == "evidence" or (several and id in ("threads", "conditions", "machine"))


def _text_column(id: str, title: str, numeric: bool = False, *, shown: bool) -> dict[str, Any]:
    """Return a column that does not show a measurement."""
    group = "About the run"
    column = {"id": id, "title": title, "unit": "", "group": group, "numeric": numeric, "shown": shown}
    return {**column, "higher": None, "divisor": 1, "contexts": None}


def _measured(column: Column, rows: Sequence[Row], texts: Distinct) -> tuple[dict[str, Any], list[list[Any] | None]]:
    """Return the column of a measurement and its cell in each row; None is a cell without value and remark."""
    contexts = Distinct()
    cells: list[list[Any] | None] = []
    for row in rows:
        measurement = row.measurements.get(column.id)
        if measurement is None or (measurement.value is None and not measurement.remark):
            cells.append(None)
            continue
        dumped = measurement.model_dump(mode="json")
        text = "–" if measurement.value is None else column.show(float(measurement.value))
        text = _TYPESET.get(text, text) + (" incomplete" if measurement.is_incomplete else "")
        beside = {name: dumped[name] for name in _BESIDE if name in dumped}
        if spread := spread_text(column, measurement, "–"):
            beside["spread"] = spread
        timed = measurement.kind == "timing"
        apart = row.timed if row.timed and timed and column.id in row.timed.measurements else row
        environment = apart.result.environment
        context = {
            "definition": texts.index(measurement.definition),
            "version": measurement.version,
            "unit": measurement.unit,
            "shape": size_text(measurement).replace("x", "×"),
            "machine": f"{machine_text(environment)}, {counted(environment.threads, 'thread')}" if timed else "",
        }
        place = contexts.index(tuple(context.values()), context)
        cells.append([dumped["value"], text, place, *([beside] if beside else [])])
    document: dict[str, Any] = {
        "id": column.id,
        "title": column.full_title,
        "unit": column.unit,
        "group": GROUPS[column.kind],
        "numeric": True,
        "higher": column.higher_is_better,
        "shown": (column.kind == "score" and not is_aside(column.id)) or column.id in COSTS,
        "divisor": column.divisor,
        "digits": column.digits,
        "contexts": contexts.items,
    }
    return document, cells
