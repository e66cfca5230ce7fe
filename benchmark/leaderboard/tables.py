"""Records to tables: one of quality per set of images, one of costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from benchmark.cleaning import markdown, markdown_code
from benchmark.leaderboard.cells import Cells, machine_of, machines_of, row_name
from benchmark.leaderboard.columns import (
    BESIDE_QUALITY,
    COSTS,
    TIMES,
    Column,
    header,
    present,
    score_column,
    score_ids,
    value_of,
)
from benchmark.leaderboard.evidence import CONFLICTING, EDITED, evidence_text, legend
from benchmark.leaderboard.pareto import pareto_cells
from benchmark.leaderboard.ranks import ranked
from benchmark.leaderboard.tilings import APPROXIMATE, tiling_texts
from benchmark.results.conflicts import conflicts
from benchmark.results.records import newest, oldest_first
from benchmark.types import Result

_NO_QUALITY = "No quality is shown for untrained weights; costs do not depend on training."


@dataclass(frozen=True)
class Board:
    """A table ready to be shown: headers, rows of text, and what stands around it.

    ``lead`` stands above, ``notes`` below; the first ``labels`` columns say which row it is.
    """

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    definitions: tuple[str, ...]
    best: frozenset[tuple[int, int]] = frozenset()
    lead: tuple[str, ...] = ()
    # How much of the dataset its rows are of, as "12 of 1204"; empty for all of it.
    part: str = ""
    labels: int = 2


def boards(results: Sequence[Result], dataset: str) -> list[Board]:
    """Return the tables of one dataset: one of quality per set of images, then one of all models' costs.

    Runs on a part of the dataset have tables of their own, which follow and say how much of it there was. Rows are
    comparable within a table: the same images, protocol and metric versions. A record edited by hand and one that
    another of its key contradicts are marked.
    """
    known = [result for result in results if result.dataset == dataset]
    records = oldest_first(sorted(newest(known), key=lambda result: result.key))
    doubts = conflicts(known)
    tables = []
    for is_standin, part in sorted({(bool(record.data.get("standin")), record.part) for record in records}):
        alike = [record for record in records if (bool(record.data.get("standin")), record.part) == (is_standin, part)]
        scored: dict[tuple[object, ...], list[Result]] = {}
        for record in alike:
            if is_scored(record):
                scored.setdefault(images_of(record), []).append(record)
        tables += [_quality_board(scored[images], doubts) for images in sorted(scored, key=str)]
        tables.append(_cost_board(_one_per_model(alike), doubts))
    return tables


def is_scored(result: Result) -> bool:
    """Whether a record has a place in a table of quality."""
    return result.status == "ok" and any(m.kind == "score" for m in result.measurements.values())


def main_order(rows: Sequence[Result]) -> tuple[str, list[Result]]:
    """Return the main score's id, which is the first of the first record, and the rows by it, best first."""
    main = score_ids(rows[:1])[0]
    sign = -1 if rows[0].measurements[main].higher_is_better else 1

    def place(row: Result) -> tuple[float, str, str]:
        value = value_of(row, main)
        return (math.inf if value is None else sign * value, row_name(row), row.key)

    return main, sorted(rows, key=place)


def images_text(result: Result) -> str:
    """Return how many images a record is of: "12", "12 of 1204" or "the first 5 of 12 of 1204" images.

    Where some of them were left out as bad: "4 images of the first 5 of 12 of 1204".
    """
    limit, part = result.spec.limit, result.part
    if not part or part.startswith(f"{result.n} of "):
        return f"{part or result.n} images"
    meant = f"the first {limit} of {part}" if limit else part
    return f"{meant} images" if result.n == limit else f"{result.n} images of {meant}"


def images_of(result: Result) -> tuple[object, ...]:
    """Return what scores of one table share: images, protocol and versions of the metrics."""
    versions = sorted((id, m.version) for id, m in result.measurements.items() if m.kind == "score")
    spec = result.spec
    return (result.split, result.n, spec.dataset_digest, spec.protocol, spec.scoring, tuple(versions))


def _one_per_model(results: Sequence[Result]) -> list[Result]:
    """Keep one row per model and options: a run on the data before a row of costs, the newest before older.

    Failures have a row each, so that they are seen.
    """
    best: dict[tuple[str, str], Result] = {}
    for result in results:
        row = (row_name(result), "" if result.status == "ok" else result.status)
        if row not in best or result.n >= best[row].n:
            best[row] = result
    return list(best.values())


def _quality_board(group: Sequence[Result], doubts: Mapping[str, str]) -> Board:
    main, rows = main_order(group)
    first = rows[0]
    scores = [score_column(first.measurements[id], id) for id in score_ids(rows)]
    columns = [*scores, *present(BESIDE_QUALITY, rows)]
    title = f"{first.dataset}, {first.split}: {images_text(first)}"
    board = _board(title, rows, columns, doubts)
    ranks, notes = ranked(rows, main)
    board = replace(
        board,
        headers=("rank", *board.headers),
        rows=tuple((rank, *row) for rank, row in zip(ranks, board.rows)),
        best=frozenset((y, x + 1) for y, x in board.best),
        labels=3,
    )
    pareto = pareto_cells(rows, main, columns, one_machine=len(machines_of(rows)) < 2)
    if pareto:
        cells, rule = pareto
        board = replace(
            board,
            headers=(*board.headers, "Pareto"),
            rows=tuple((*row, cell) for row, cell in zip(board.rows, cells)),
        )
        notes.append(rule)
    return replace(board, notes=(*notes, *board.notes))


def _cost_board(results: Sequence[Result], doubts: Mapping[str, str]) -> Board:
    flops = "flops@12mp" if any("flops@12mp" in r.measurements for r in results) else "flops@fullscale"

    def place(row: Result) -> tuple[float, str, str]:
        value = value_of(row, flops)
        return (math.inf if value is None else value, row_name(row), row.key)

    rows = sorted(results, key=place)
    part = f", from runs on {rows[0].part} images" if rows[0].part else ""
    board = _board(f"{rows[0].dataset}: costs{part}", rows, present((*COSTS, *TIMES), rows), doubts)
    return replace(board, notes=(_NO_QUALITY, *board.notes))


def _board(title: str, rows: Sequence[Result], columns: Sequence[Column], doubts: Mapping[str, str]) -> Board:
    cells = Cells(rows, columns)
    texts = tuple((row_name(row), evidence_text(row, doubts), *cells.row(row)) for row in rows)
    headers = ("model", "evidence", *(header(column, rows) for column in columns))
    notes = (legend(rows), *cells.footnotes.lines(), *_notes(rows, doubts))
    return Board(
        title,
        headers,
        texts,
        notes,
        _definitions(rows, columns),
        _best(rows, columns),
        tuple(_lead(rows)),
        rows[0].part,
    )


def _best(rows: Sequence[Result], columns: Sequence[Column]) -> frozenset[tuple[int, int]]:
    """Return (row, column) of the best value in each column; timings of several machines have none."""
    best = set()
    several = len(machines_of(rows)) > 1
    fair = [(y, row.measurements) for y, row in enumerate(rows) if row.is_fair]
    for index, column in enumerate(columns):
        found = [(y, m) for y, row in fair if (m := row.get(column.id)) and m.value is not None and not m.is_incomplete]
        if len(found) < 2 or (several and found[0][1].kind == "timing"):
            continue
        pick = max if found[0][1].higher_is_better else min
        value = pick(float(m.value) for _, m in found if m.value is not None)
        best |= {(y, index + 2) for y, m in found if m.value == value}
    return frozenset(best)


def _definitions(rows: Sequence[Result], columns: Sequence[Column]) -> tuple[str, ...]:
    texts = []
    for column in columns:
        found = {r.measurements[column.id].definition: None for r in rows if column.id in r.measurements}
        texts += [f"{markdown_code(column.id)}: {definition}." for definition in sorted(found)]
    return tuple(texts)


def _lead(rows: Sequence[Result]) -> list[str]:
    """Return what a reader must know before the numbers: a stand-in, and the machines of the timings."""
    lines = []
    data = rows[0].data
    if data.get("standin"):
        lines.append(
            f"**Stand-in data**: made from photographs by generator {markdown(str(data.get('generator')))}"
            f" (sources {markdown(str(data.get('sources'))[:12])}); its scores say nothing about the real dataset."
        )
    if rows[0].part:
        lines.append(f"**A part of the dataset**: {rows[0].part} images; scores of the whole dataset may differ.")
    letters = machines_of(rows)
    by_key = {machine_of(row): row for row in rows}
    for key, letter in letters.items():
        machine = by_key[key].environment
        mark = f"{letter} = " if len(letters) > 1 else ""
        device = "" if by_key[key].spec.conditions.device == "cpu" else f", on {by_key[key].spec.conditions.device}"
        lines.append(
            f"**Machine of the timings**: {mark}{markdown(machine.cpu)}, {machine.cores} cores, {machine.threads}"
            f" threads, torch {markdown(machine.torch)}{markdown(device)}; median (quartiles) of one image."
        )
    return lines


def _notes(rows: Sequence[Result], doubts: Mapping[str, str]) -> list[str]:
    """Return what is remarkable about single rows; rows of which the same is said share a line."""
    said: dict[str, list[str]] = {}
    for row in rows:
        texts = [f"{row.status}: {row.error}"] if row.error else []
        if row.is_edited:
            texts.append(f"{EDITED} {row.source} is not as it was written (its digest does not match); not ranked")
        if row.key in doubts:
            texts.append(f"{CONFLICTING} {doubts[row.key]}")
        texts += [APPROXIMATE] if row.is_approximate else []
        texts += tiling_texts(row)
        for text in [*texts, *row.notes]:
            said.setdefault(text, []).append(row_name(row))
    return [f"{', '.join(dict.fromkeys(names))}: {text}" for text, names in said.items()]
