"""Records with where they come from: the page names the file and line, and finds the pictures beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmark.leaderboard import row_name
from benchmark.leaderboard.tables import images_of, images_text, is_scored
from benchmark.results.records import newest, oldest_first
from benchmark.results.store import read_folders
from benchmark.types import Result
from zoo.errors import UserError


@dataclass(frozen=True)
class Sourced:
    """A record, the file that it was read from, and its number there, from 1."""

    result: Result
    file: Path
    number: int

    @property
    def name(self) -> str:
        """Model and options, with unusual conditions."""
        return row_name(self.result)

    @property
    def scores(self) -> bool:
        """Whether a quality may be shown: never for untrained weights, and only where the run succeeded."""
        return is_scored(self.result) and self.result.evidence != "untrained"

    @property
    def standin(self) -> bool:
        """Whether the images are a stand-in."""
        return bool(self.result.data.get("standin"))


def read_sourced(folders: Iterable[Path]) -> list[Sourced]:
    """Return the newest record of each key in the ``*.jsonl`` of ``folders`` (a file counts as itself).

    Raises UserError where there is nothing to read.
    """
    found = [
        Sourced(result, result.source.file, result.source.number or 0)
        for result in newest(read_folders(folders))
        if result.source is not None
    ]
    if not found:
        raise UserError("leaderboard: no records; run `zoo-bench run` first or name a folder with --results.")
    return sorted(found, key=lambda one: (one.result.dataset, one.name, one.result.key))


@dataclass(frozen=True)
class Group:
    """The rows of one table: the same data, and for scores the same images, protocol and metric versions."""

    dataset: str
    standin: bool
    kind: str
    title: str
    rows: tuple[Sourced, ...]


def groups_of(records: Sequence[Sourced]) -> list[Group]:
    """Return the tables: per dataset those with scores, largest first, then those of costs alone."""
    quality: dict[tuple[object, ...], list[Sourced]] = {}
    costs: dict[tuple[object, ...], list[Sourced]] = {}
    scored = {(*_data(one), _conditions(one)) for one in records if one.scores}
    for one in records:
        if one.scores:
            quality.setdefault(_data(one) + _images(one.result), []).append(one)
        elif one.result.status != "ok" or (*_data(one), _conditions(one)) not in scored:
            costs.setdefault((*_data(one), one.result.split), []).append(one)
    tables = [_quality(rows) for rows in quality.values()] + [_costs(_one_per_model(rows)) for rows in costs.values()]
    order = ("quality", "published", "costs")
    tables = sorted(tables, key=lambda t: (*_place(t), order.index(t.kind), -len(t.rows), t.title, _keys(t)))
    return _told_apart(tables)


def _place(table: Group) -> tuple[bool, str, bool]:
    """Return what comes first: real data before stand-ins, a whole dataset before its parts."""
    return table.standin, table.dataset, bool(table.rows[0].result.part)


def _keys(table: Group) -> list[str]:
    return [one.result.key for one in table.rows]


def _data(one: Sourced) -> tuple[object, ...]:
    return one.result.dataset, one.standin, one.result.part


def _images(result: Result) -> tuple[object, ...]:
    return result.evidence == "published", *images_of(result)


def _conditions(one: Sourced) -> tuple[object, ...]:
    return one.name, one.result.environment.machine, one.result.environment.threads


def _one_per_model(rows: Sequence[Sourced]) -> list[Sourced]:
    """Keep one row per model, machine and threads: the one with more images, the newest; failures stay."""
    best: dict[object, Sourced] = {}
    by_result = {id(one.result): one for one in rows}
    for result in sorted(oldest_first(one.result for one in rows), key=lambda result: result.n):
        one = by_result[id(result)]
        best[_conditions(one) if one.result.status == "ok" else one.result.key] = one
    return sorted(best.values(), key=lambda one: (one.name, one.result.key))


def _quality(rows: Sequence[Sourced]) -> Group:
    first = rows[0].result
    kind = "published" if first.evidence == "published" else "quality"
    title = f"{kind.capitalize()}: {first.split}, {images_text(first)}, {first.spec.protocol}"
    return Group(first.dataset, rows[0].standin, kind, title, tuple(rows))


def _told_apart(groups: Sequence[Group]) -> list[Group]:
    """Add to titles that several tables of a dataset share what differs: scoring, data or metrics."""
    told = []
    for group in groups:
        alike = [g for g in groups if (g.dataset, g.standin, g.title) == (group.dataset, group.standin, group.title)]
        parts = zip(*(_differences(g.rows[0].result) for g in alike))
        own = [text for text, all_texts in zip(_differences(group.rows[0].result), parts) if len(set(all_texts)) > 1]
        told.append(replace(group, title=", ".join([group.title, *own])))
    return told


def _differences(result: Result) -> tuple[str, ...]:
    scores = sorted((id, m.version) for id, m in result.measurements.items() if m.kind == "score")
    metrics = " ".join(f"{id} v{version}" for id, version in scores)
    return f"{result.spec.scoring} scores", f"data {result.spec.dataset_digest[:8]}", metrics


def _costs(rows: Sequence[Sourced]) -> Group:
    first = rows[0].result
    part = f", {first.part} images" if first.part else ""
    return Group(first.dataset, rows[0].standin, "costs", f"Costs only: {first.split}{part}", tuple(rows))
