"""Records as a list that a notebook shows as tables."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.cleaning import html_table
from benchmark.leaderboard.boards import board_of
from benchmark.leaderboard.tables import Table, tables_by_page
from benchmark.types import Result


class Results(list[Result]):
    """Records; a notebook shows the tables that ``zoo-bench leaderboard`` would write of them."""

    def _repr_html_(self) -> str:
        """Return the tables as HTML; each is followed by its notes."""
        pages = tables_by_page(self) if self else {}
        return "".join(_html(table) for tables in pages.values() for table in tables) or "<p>no records</p>"


def _html(table: Table) -> str:
    board = board_of(table)
    lead: Sequence[str] = [f"{title}: {text}" for title, text in table.lead]
    return html_table(board.title, board.headers, board.rows, [*lead, *board.notes])
