"""Records to tables: Markdown that people read, with units and definitions in the headers."""

from benchmark.leaderboard.boards import Board, boards
from benchmark.leaderboard.pages import page_of, pages, to_markdown, write_pages
from benchmark.leaderboard.rows import row_name, rows_of

__all__ = ["Board", "boards", "page_of", "pages", "row_name", "rows_of", "to_markdown", "write_pages"]
