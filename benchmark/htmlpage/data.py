"""Make the page's JSON document from records; the same records give the same document."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.htmlpage.gallery import Gallery, NoPicturesError
from benchmark.htmlpage.provenance import NO_IMAGES, provenance
from benchmark.htmlpage.tables import Distinct, table_document, titles
from benchmark.imaging.pictures import ERROR_COLOURS, ERROR_GAIN, LONGEST_SIDE
from benchmark.leaderboard.rows import BADGES, Row
from benchmark.leaderboard.tables import STANDIN, Table, grouped, tables_by_page
from benchmark.types import Result

# Kinds of data, in the order of the selector and of the tables.
_DATA = ("real", "standin", "none")
_TABLES = ("quality", "published", "costs")


@dataclass(frozen=True)
class Document:
    """The JSON-ready content of the page, and a (row, reason) pair for each record without pictures."""

    content: dict[str, Any]
    without_pictures: tuple[tuple[str, str], ...]


def document(results: Sequence[Result], *, gallery: int = 0) -> Document:
    """Return the page's document, with the pictures of at most ``gallery`` images per row.

    Raises UserError for no records.
    """
    texts, environments, pictures = Distinct(), Distinct(), Gallery(gallery)
    records: list[dict[str, Any]] = []
    missing: list[tuple[str, str]] = []
    datasets = []
    for name, tables in tables_by_page(results).items():
        for of_one_kind in grouped(tables, lambda table: table.is_standin).values():
            chosen = list(_chosen(of_one_kind))
            data = _dataset(name, chosen[0][0])
            for (table, positions), title in zip(chosen, titles([table for table, _ in chosen])):
                places = dict(zip(positions, itertools.count(len(records))))
                for row in (table.rows[y] for y in positions):
                    records.append(_record(row, environments))
                    reason = _add_pictures(records[-1], row, pictures)
                    if reason and row.result.spec.evaluate:
                        missing.append((f"{name}: {row.name}", reason))
                data["tables"].append(table_document(table, title, places, texts))
            datasets.append(data)
    content = {
        "datasets": sorted(datasets, key=lambda d: (_DATA.index(d["kind"]), d["name"])),
        "records": records,
        "environments": environments.items,
        "definitions": texts.items,
        "pictures": pictures.pictures,
        "gallery": {"limit": gallery, "gain": ERROR_GAIN, "colours": ERROR_COLOURS, "longest": LONGEST_SIDE},
        "signs": {evidence: sign for evidence, (sign, _) in BADGES.items()},
    }
    return Document(content, tuple(missing))


def _chosen(tables: Sequence[Table]) -> Iterator[tuple[Table, list[int]]]:
    """Yield the tables in the order of the page (largest quality table first), and the rows to show, sorted by name.

    Quality tables have all columns on the page, so their rows are not repeated in the tables of errors and costs.
    """
    tables = [table for table in tables if table.kind != "error"]
    scored = {(table.part, row.name) for table in tables if table.kind != "costs" for row in table.rows}
    for table in sorted(tables, key=lambda t: (bool(t.part), _TABLES.index(t.kind), -len(t.rows))):
        names = [(row.name, row.result.key, y) for y, row in enumerate(table.rows)]
        if table.kind == "costs":
            failed = [row.result.status != "ok" for row in table.rows]
            names = [one for one in names if failed[one[2]] or (table.part, one[0]) not in scored]
        if names:
            yield table, [y for *_, y in sorted(names)]


def _record(row: Row, environments: Distinct) -> dict[str, Any]:
    """Return the part of a row's record that the page shows; equal environments are stored once."""
    # The load differs from record to record and is shown in no cell.
    key = row.result.environment.model_dump_json(exclude={"load"})
    return {**provenance(row), "environment": environments.index(key, json.loads(key))}


def _add_pictures(shown: dict[str, Any], row: Row, pictures: Gallery) -> str:
    """Add the pictures to a record, or the reason why there are none; return that reason."""
    if not pictures.limit:
        return ""
    try:
        shown["pictures"] = pictures.add(row)
    except NoPicturesError as missing:
        shown["without"] = str(missing)
        return str(missing)
    return ""


def _dataset(name: str, table: Table) -> dict[str, Any]:
    kind, note = "real", ""
    if table.rows[0].result.spec.dataset_digest == NO_IMAGES:
        kind, note = (
            "none",
            "Time and costs at the sizes that papers print; the input is uniform noise, nothing is scored.",
        )
    elif table.is_standin:
        kind, note = "standin", f"{STANDIN}, {dict(table.lead)[STANDIN]}"
    return {"name": name, "kind": kind, "note": note, "tables": []}
