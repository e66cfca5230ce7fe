"""Records to tables: Markdown that people read, with units and definitions in the headers."""

from benchmark.leaderboard.boards import Board, boards
from benchmark.leaderboard.columns import Column
from benchmark.leaderboard.index import index_page
from benchmark.leaderboard.pages import (
    page,
    page_of,
    pages,
    stale_files,
    stale_pages,
    to_markdown,
    write_files,
    write_pages,
)
from benchmark.leaderboard.rows import Row, row_name, rows_of
from benchmark.leaderboard.tables import Table, tables_by_dataset

__all__ = [
    "Board",
    "Column",
    "Row",
    "Table",
    "boards",
    "index_page",
    "page",
    "page_of",
    "pages",
    "row_name",
    "rows_of",
    "stale_files",
    "stale_pages",
    "tables_by_dataset",
    "to_markdown",
    "write_files",
    "write_pages",
]
