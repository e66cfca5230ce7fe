"""Tables to pages: Markdown, written atomically, the same bytes for the same records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tabulate import tabulate

from benchmark.cleaning import markdown
from benchmark.leaderboard.boards import Board, board_of
from benchmark.leaderboard.rows import rows_of
from benchmark.leaderboard.tables import Table, tables_by_dataset, tables_of
from benchmark.replacing import naming, replace_text
from benchmark.types import Result


def to_markdown(board: Board) -> str:
    """Return a table as Markdown, the best value of each column in bold."""
    rows = [
        [f"**{markdown(cell)}**" if (y, x) in board.best else markdown(cell) for x, cell in enumerate(row)]
        for y, row in enumerate(board.rows)
    ]
    align = ["left" if x < board.labels else "right" for x in range(len(board.headers))]
    headers = [markdown(header) for header in board.headers]
    table = tabulate(rows, headers=headers, tablefmt="pipe", colalign=align, disable_numparse=True)
    lead = "".join(f"{line}\n\n" for line in board.lead)
    notes = "".join(f"- {markdown(note)}\n" for note in board.notes)
    return f"## {markdown(board.title)}\n\n{lead}{table}\n\n{notes}"


def page(results: Sequence[Result], dataset: str) -> str:
    """Return the Markdown page of one dataset; the same records give the same bytes."""
    return page_of(dataset, tables_of(rows_of(result for result in results if result.dataset == dataset)))


def page_of(dataset: str, tables: Sequence[Table]) -> str:
    """Return the Markdown page of a dataset's tables."""
    lead = (
        f"# Leaderboard: {markdown(dataset)}\n\n"
        "Made by `zoo-bench leaderboard` from the records beside it; do not edit. Arrows show which way is better,"
        " bold marks the best value of a column.\n"
    )
    boards = [board_of(table) for table in tables]
    definitions = dict.fromkeys(text for board in boards for text in board.definitions)
    last = "## Definitions\n\n" + "".join(f"- {markdown(text)}\n" for text in definitions)
    return "\n".join([lead, *map(to_markdown, boards), last])


def pages(results: Sequence[Result]) -> dict[str, str]:
    """Return one page per dataset by file name; raises UserError for no records."""
    return {f"{dataset}.md": page_of(dataset, tables) for dataset, tables in tables_by_dataset(results).items()}


def write_pages(results: Sequence[Result], out: Path) -> list[Path]:
    """Write one page per dataset into ``out``, each atomically; return their paths."""
    return write_files(pages(results), out) if results else []


def stale_pages(results: Sequence[Result], out: Path) -> list[Path]:
    """Return the pages in ``out`` that differ from what the records give, or are missing."""
    return stale_files(pages(results), out)


def write_files(texts: Mapping[str, str], out: Path) -> list[Path]:
    """Write ``texts`` by file name into ``out``, each atomically; return their paths."""
    with naming(out, "--out"):
        out.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in texts.items():
        path = out / name
        replace_text(path, text)
        paths.append(path)
    return paths


def stale_files(texts: Mapping[str, str], out: Path) -> list[Path]:
    """Return the files in ``out`` that differ from ``texts``, or are missing."""
    return [
        out / name
        for name, text in texts.items()
        if not (out / name).exists() or (out / name).read_text(encoding="utf-8") != text
    ]
