"""The index of a folder of tables: what each page is, and its best row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tabulate import tabulate

from benchmark.cleaning import markdown, markdown_link
from benchmark.leaderboard.tables import Board

NAME = "README.md"
_LEAD = """# Leaderboards

Made by `zoo-bench leaderboard` from the records in [results](results) and the papers' numbers in
[published](published); do not edit. Records of a stand-in, made from a few photographs, never share a table with those
of the real dataset; a paper's number never stands in a measured column.
"""


def index_page(tables: Mapping[str, Sequence[Board]], counts: Mapping[str, int], papers: Mapping[str, str]) -> str:
    """Return the Markdown of the index: a row per dataset, then one per paper's table.

    ``counts``: number of records by dataset; ``papers``: title by file name.
    """
    rows = [
        [markdown_link(name, f"{name}.md"), _what(tables[name]), str(counts[name]), markdown(_best(tables[name]))]
        for name in tables
    ]
    rows += [[markdown_link(file.removesuffix(".md"), file), markdown(title), "", ""] for file, title in papers.items()]
    table = tabulate(
        rows,
        headers=["page", "what it shows", "records", "best row"],
        tablefmt="pipe",
        colalign=("left", "left", "right", "left"),
        disable_numparse=True,
    )
    return f"{_LEAD}\n{table}\n"


def _what(boards: Sequence[Board]) -> str:
    quality = [
        f"{len(board.rows)} models with quality ({board.title.partition(', ')[2]})"
        for board in boards
        if _has_ranks(board)
    ]
    costs = [
        f"costs of {len(board.rows)}" + (f" ({board.part} images)" if board.part else "")
        for board in boards
        if not _has_ranks(board)
    ]
    standin = "stand-in data: " if any("Stand-in data" in line for board in boards for line in board.lead) else ""
    return standin + ", ".join([*quality, *costs])


def _best(boards: Sequence[Board]) -> str:
    """Return the leader of the first table of quality on a whole split, and how many share its rank."""
    board = next((board for board in boards if _has_ranks(board) and not board.part), None)
    first = [row for row in board.rows if row[0].startswith("1") and row[0].rstrip("=?") == "1"] if board else []
    if board is None or not first:
        return "-"
    shared = f", rank shared by {len(first)}" if len(first) > 1 else ""
    return f"{first[0][1]}: {board.headers[3]} {first[0][3]} ({first[0][2]}{shared})"


def _has_ranks(board: Board) -> bool:
    return board.headers[0] == "rank"
