"""Records to the page's one JSON document; the same records give the same document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.htmlpage.gallery import Gallery, NoPicturesError
from benchmark.htmlpage.provenance import NO_IMAGES, provenance
from benchmark.htmlpage.records import Group, Sourced, groups_of
from benchmark.htmlpage.tables import Texts, table_document
from benchmark.imaging.pictures import ERROR_GAIN, LONGEST_SIDE
from benchmark.types import Environment

# Kinds of data in the order of the selector.
REAL, STANDIN, NONE = "real", "standin", "none"


@dataclass(frozen=True)
class Document:
    """What the page shows, JSON-ready, and what it could not show: (row, reason) by record without pictures."""

    content: dict[str, Any]
    without_pictures: tuple[tuple[str, str], ...]


def document(records: Sequence[Sourced], *, gallery: int = 0) -> Document:
    """Return the page's document, with the pictures of at most ``gallery`` images per row."""
    texts, shown, pictures = Texts(), _Records(), Gallery(gallery)
    missing: list[tuple[str, str]] = []
    datasets: dict[tuple[str, bool], dict[str, Any]] = {}
    for group in groups_of(records):
        rows = list(group.rows)
        places = [shown.add(one) for one in rows]
        for one, place in zip(rows, places):
            reason = _add_pictures(shown.items[place], one, pictures)
            if reason and one.result.spec.evaluate:
                missing.append((f"{one.result.dataset}: {one.name}", reason))
        data = datasets.setdefault((group.dataset, group.standin), _dataset(group))
        data["tables"].append(table_document(group, rows, places, texts))
    order = {REAL: 0, STANDIN: 1, NONE: 2}
    content = {
        "datasets": sorted(datasets.values(), key=lambda d: (order[d["kind"]], d["name"])),
        "records": shown.items,
        "environments": shown.environments,
        "definitions": texts.items,
        "pictures": pictures.pictures,
        "gallery": {"limit": gallery, "gain": ERROR_GAIN, "longest": LONGEST_SIDE},
    }
    return Document(content, tuple(missing))


class _Records:
    """The records of the page; equal environments are held once."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self.environments: list[dict[str, Any]] = []
        self._known: dict[str, int] = {}

    def add(self, one: Sourced) -> int:
        """Return the position of a record in ``items``."""
        environment = self._environment(one.result.environment)
        self.items.append({**provenance(one), "environment": environment})
        return len(self.items) - 1

    def _environment(self, environment: Environment) -> int:
        # The load differs from record to record and stands in no cell.
        content = environment.model_dump(mode="json", exclude={"load"})
        key = environment.model_dump_json(exclude={"load"})
        if key not in self._known:
            self._known[key] = len(self.environments)
            self.environments.append(content)
        return self._known[key]


def _add_pictures(shown: dict[str, Any], one: Sourced, pictures: Gallery) -> str:
    """Add the pictures to a record, or the reason why there are none, which is returned."""
    if not pictures.limit:
        return ""
    try:
        shown["pictures"] = pictures.add(one)
    except NoPicturesError as missing:
        shown["without"] = str(missing)
        return str(missing)
    return ""


def _dataset(group: Group) -> dict[str, Any]:
    first = group.rows[0].result
    if first.spec.dataset_digest == NO_IMAGES:
        kind, note = (
            NONE,
            "Time and costs at the sizes that papers print; the input is uniform noise, nothing is scored.",
        )
    elif group.standin:
        sources = str(first.data.get("sources"))[:12]
        note = (
            f"Stand-in data, made from photographs by generator {first.data.get('generator')} (sources {sources})."
            " Scores here say nothing about the real dataset."
        )
        kind = STANDIN
    else:
        kind, note = REAL, ""
    return {"name": group.dataset, "kind": kind, "note": note, "tables": []}
