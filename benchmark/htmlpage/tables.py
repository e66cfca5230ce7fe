"""One table of the page: its columns, and a cell per row and column with all that is known about the number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmark.htmlpage.columns import Style, in_order, shape_text, style_of
from benchmark.htmlpage.provenance import conditions_text
from benchmark.htmlpage.records import Group, Sourced
from benchmark.types import Environment, Measurement, Result, encode_number

# Axes that say most at first sight: the first of these that a table has.
_FIRST_X = ("flops@12mp", "flops@fullscale", "macs", "params")
_FIRST_Y = ("latency_ms@12mp", "latency_ms@fullscale", "latency_ms", "peak_activation_bytes@12mp")
# What stands in a cell beside value, text and context.
_BESIDE = ("q1", "q3", "ci_low", "ci_high", "n", "threads", "tainted", "remark", "n_inf", "finite_mean", "layer")
_ABOUT: tuple[tuple[str, str, bool, Callable[[Result], Any]], ...] = (
    ("evidence", "Evidence", False, lambda r: r.evidence),
    ("weights", "Weights", False, lambda r: weights_text(r)),
    ("status", "Status", False, lambda r: r.status),
    ("split", "Split", False, lambda r: r.split),
    ("n", "Images", True, lambda r: r.n),
    ("machine", "Machine", False, lambda r: machine_text(r.environment)),
    ("threads", "Threads", True, lambda r: r.environment.threads),
    ("conditions", "Conditions", False, conditions_text),
    ("torch", "torch", False, lambda r: r.environment.torch),
    ("commit", "Commit", False, lambda r: commit_text(r.environment)),
    ("created", "Measured on", False, lambda r: r.created),
    ("seconds", "Run [s]", True, lambda r: round(r.seconds, 1)),
)


def weights_text(result: Result) -> str:
    """Return the recipe, or the beginning of the file's digest, or nothing."""
    weights = result.weights or {}
    trained_on = f", on {weights['part']} images" if "part" in weights else ""
    return (weights.get("recipe") or weights.get("sha256", "")[:8]) + trained_on


def machine_text(environment: Environment) -> str:
    """Return processor, cores and the machine's id."""
    return f"{environment.cpu}, {environment.cores} cores ({environment.machine[:8]})"


def commit_text(environment: Environment) -> str:
    """Return the commit's first digits, with a word where the checkout had changes."""
    return (environment.commit or "")[:10] + (" + changes" if environment.dirty else "")


@dataclass
class Texts:
    """Texts of which many are the same, each held once."""

    items: list[str] = field(default_factory=list)
    _known: dict[str, int] = field(default_factory=dict)

    def index(self, text: str) -> int:
        """Return the position of ``text``, which is added if it is new."""
        if text not in self._known:
            self._known[text] = len(self.items)
            self.items.append(text)
        return self._known[text]


def table_document(group: Group, rows: Sequence[Sourced], records: Sequence[int], texts: Texts) -> dict[str, Any]:
    """Return a table, JSON-ready. ``records`` are the rows' positions in the page's list of records.

    A cell of a measurement is ``[value, text, context, beside]`` or null, any other its text or number. The contexts
    of a column (definition, version, shape, machine) say which of its values may be compared.
    """
    first = _first_measurements(rows, with_scores=group.kind != "costs")
    ids = in_order(list(first), {id: m.kind for id, m in first.items()})
    about = [_about_column(*entry[:3], rows, entry[3]) for entry in _ABOUT]
    columns = [_Measured(id, first[id], texts) for id in ids]
    cells = [
        [*(entry[3](one.result) for entry in _ABOUT), *(column.cell(one.result) for column in columns)] for one in rows
    ]
    documents = [*about, *(column.document() for column in columns)]
    main = len(about)  # the first score, or the first cost
    return {
        "title": group.title,
        "kind": group.kind,
        "columns": documents,
        "rows": [{"name": one.name, "record": record, "cells": row} for one, record, row in zip(rows, records, cells)],
        "sort": {"column": main, "descending": bool(documents[main]["higher"])} if ids else None,
        "axes": _axes(ids, main, quality=group.kind != "costs"),
    }


def _first_measurements(rows: Sequence[Sourced], *, with_scores: bool) -> dict[str, Measurement]:
    found: dict[str, Measurement] = {}
    for one in rows:
        for id, measurement in one.result.measurements.items():
            if with_scores or measurement.kind != "score":
                found.setdefault(id, measurement)
    return found


def _axes(ids: Sequence[str], offset: int, *, quality: bool) -> dict[str, int] | None:
    if not ids:
        return None
    x = next((id for id in _FIRST_X if id in ids), ids[-1])
    y = ids[0] if quality else next((id for id in _FIRST_Y if id in ids), ids[0])
    return {"x": offset + ids.index(x), "y": offset + ids.index(y)}


def _about_column(
    id: str, title: str, numeric: bool, rows: Sequence[Sourced], value: Callable[[Result], Any]
) -> dict[str, Any]:
    """Return a column about the run; shown at first where it tells rows apart, and evidence always."""
    several = len({value(one.result) for one in rows}) > 1
    shown = id == "evidence" or (several and id in ("threads", "conditions", "machine"))
    shown |= id == "status" and any(one.result.status != "ok" for one in rows)
    return {
        "id": id,
        "title": title,
        "unit": "",
        "group": "About the run",
        "numeric": numeric,
        "higher": None,
        "shown": shown,
        "divisor": 1,
        "contexts": None,
    }


class _Measured:
    """The column of one measurement."""

    def __init__(self, id: str, first: Measurement, texts: Texts) -> None:
        self.id, self.texts = id, texts
        self.unit, self.higher = first.unit, first.higher_is_better
        self.style: Style = style_of(id, first)
        self.contexts: dict[tuple[Any, ...], int] = {}

    def cell(self, result: Result) -> list[Any] | None:
        """Return ``[value, text, context, beside]``, or nothing where there is neither value nor remark."""
        measurement = result.measurements.get(self.id)
        if measurement is None or (measurement.value is None and not measurement.remark):
            return None
        value = measurement.value
        text = "–" if value is None else self.style.text(float(value))
        text += " incomplete" if measurement.is_incomplete else ""
        dumped = measurement.model_dump(mode="json")
        beside = {name: dumped[name] for name in _BESIDE if name in dumped}
        if measurement.q1 is not None and measurement.q3 is not None and measurement.n != 1:
            beside["spread"] = f"{self.style.text(measurement.q1)}–{self.style.text(measurement.q3)}"
        shown = encode_number(value) if isinstance(value, float) else value
        return [shown, text, self._context(measurement, result.environment), *([beside] if beside else [])]

    def _context(self, measurement: Measurement, environment: Environment) -> int:
        timed = measurement.kind == "timing"
        machine = f"{machine_text(environment)}, {environment.threads} threads" if timed else ""
        # What is incomplete is not compared with what is whole.
        lacking = f"; {measurement.remark}" if measurement.is_incomplete else ""
        key = (
            measurement.definition + lacking,
            measurement.version,
            measurement.unit,
            shape_text(measurement),
            machine,
        )
        return self.contexts.setdefault(key, len(self.contexts))

    def document(self) -> dict[str, Any]:
        """Return the column, after its cells were made."""
        contexts = [
            {
                "definition": self.texts.index(definition),
                "version": version,
                "unit": unit,
                "shape": shape,
                "machine": machine,
            }
            for definition, version, unit, shape, machine in self.contexts
        ]
        style = self.style
        return {
            "id": self.id,
            "title": style.title,
            "unit": style.unit,
            "group": style.group,
            "numeric": True,
            "higher": self.higher,
            "shown": style.shown,
            "divisor": style.divisor,
            "contexts": contexts,
        }
