"""Records to tables: Markdown that people read, with units and definitions in the headers."""

from benchmark.leaderboard.cells import row_name
from benchmark.leaderboard.columns import Column
from benchmark.leaderboard.index import index_page
from benchmark.leaderboard.pages import (
    page,
    page_of,
    pages,
    stale_files,
    stale_pages,
    tables_by_dataset,
    to_markdown,
    write_files,
    write_pages,
)
from benchmark.leaderboard.tables import Board, boards
from benchmark.results.records import newest

__all__ = [
    "Board",
    "Column",
    "boards",
    "index_page",
    "newest",
    "page",
    "page_of",
    "pages",
    "row_name",
    "stale_files",
    "stale_pages",
    "tables_by_dataset",
    "to_markdown",
    "write_files",
    "write_pages",
]
