"""Tables as text, for Markdown and for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.cleaning import markdown, markdown_code
from benchmark.leaderboard.cells import Cells
from benchmark.leaderboard.columns import header
from benchmark.leaderboard.rows import remarks_on, rows_of
from benchmark.leaderboard.tables import Table, tables_of
from benchmark.types import Result


@dataclass(frozen=True)
class Board:
    """A table ready to be shown: headers, rows of text, and the texts around it.

    ``lead`` is printed above the table, ``notes`` below it; the first ``labels`` columns identify the row.
    """

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    definitions: tuple[str, ...] = ()
    best: frozenset[tuple[int, int]] = frozenset()
    lead: tuple[str, ...] = ()
    labels: int = 2


def boards(results: Sequence[Result], dataset: str) -> list[Board]:
    """Return the tables of one dataset as text: first the quality tables, then one table of all models' costs."""
    rows = rows_of(result for result in results if result.dataset == dataset)
    return [board_of(table) for table in tables_of(rows)]


def board_of(table: Table) -> Board:
    """Return a table as text: rank (if there is one), model, evidence, a column per measurement, Pareto fronts."""
    rows, columns = table.rows, table.columns
    cells = Cells(rows, columns)
    labels = ("rank",) * bool(table.ranks) + ("model", "evidence")
    place = {column.id: len(labels) + x for x, column in enumerate(columns)}
    return Board(
        title=table.title,
        headers=(*labels, *(header(column, rows) for column in columns), *("Pareto",) * bool(table.fronts)),
        rows=tuple(
            (*table.ranks[y : y + 1], row.name, row.evidence, *cells.texts(y), *table.fronts[y : y + 1])
            for y, row in enumerate(rows)
        ),
        notes=(*filter(None, [table.caution]), *table.notes, *cells.footnotes.lines(), *remarks_on(rows)),
        definitions=tuple(f"{markdown_code(column.id)}: {text}." for column in columns for text in column.definitions),
        best=frozenset((y, place[id]) for y, id in cells.best),
        lead=tuple(f"**{title}**: {markdown(text)}" for title, text in table.lead),
        labels=len(labels),
    )
