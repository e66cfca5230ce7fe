"""The index of a folder of tables: what each page is, and its best row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tabulate import tabulate

from benchmark.cleaning import markdown, markdown_link
from benchmark.leaderboard.cells import Cells
from benchmark.leaderboard.columns import header
from benchmark.leaderboard.tables import Table

NAME = "README.md"
_LEAD = """# Leaderboards

Made by `zoo-bench leaderboard` from the records in [results](results) and the papers' numbers in
[published](published); do not edit. Records of a stand-in, made from a few photographs, never share a table with those
of the real dataset; a paper's number never stands in a measured column.
"""


def index_page(tables: Mapping[str, Sequence[Table]], counts: Mapping[str, int], papers: Mapping[str, str]) -> str:
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


def _what(tables: Sequence[Table]) -> str:
    quality = [
        f"{len(table.rows)} models with quality ({table.title.partition(', ')[2]})" for table in tables if table.ranks
    ]
    costs = [
        f"costs of {len(table.rows)}" + (f" ({table.part} images)" if table.part else "")
        for table in tables
        if not table.ranks
    ]
    standin = "stand-in data: " if any(row.is_standin for table in tables for row in table.rows) else ""
    return standin + ", ".join([*quality, *costs])


def _best(tables: Sequence[Table]) -> str:
    """Return the leader of the first table of quality on a whole split, and how many share its rank."""
    table = next((table for table in tables if table.ranks and not table.part), None)
    first = [y for y, rank in enumerate(table.ranks) if rank.rstrip("=?") == "1"] if table else []
    if table is None or not first:
        return "-"
    row, column = table.rows[first[0]], table.columns[0]
    shared = f", rank shared by {len(first)}" if len(first) > 1 else ""
    value = Cells(table.rows, [column]).texts(first[0])[0]
    return f"{row.name}: {header(column, table.rows)} {value} ({row.evidence}{shared})"
