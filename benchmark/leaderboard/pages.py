"""Write tables as Markdown: a page per dataset and the index; the same records give the same bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tabulate import tabulate

from benchmark.cleaning import markdown, markdown_link
from benchmark.leaderboard.boards import Board, board_of
from benchmark.leaderboard.cells import Cells
from benchmark.leaderboard.columns import header
from benchmark.leaderboard.sweep_pages import appendix, draw, introduction, plot_names, sweeps_by_page
from benchmark.leaderboard.sweeps import page_of_sweep
from benchmark.leaderboard.tables import Table, scenes_text, tables_by_page
from benchmark.replacing import naming, refuse_inputs, replace_text
from benchmark.results.records import newest, without_gc
from benchmark.types import Result
from benchmark.units import counted

# Published figures of official weights, beside which those measured here stand.
_OFFICIAL = "official.yaml"
_INDEX_LEAD = """# Leaderboards

Made by `zoo-bench leaderboard` from the records in [results](results) and the papers' numbers in
[published](published); do not edit. Records of a stand-in, made from a few photographs, never share a table with those
of the real dataset; a paper's number never stands in a measured column.
"""


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


def page_of(dataset: str, tables: Sequence[Table], sweeps: Mapping[str, Sequence[Result]] | None = None) -> str:
    """Return the Markdown page of a dataset's tables, or of the tables of ``sweeps`` with what they show beside."""
    lead = (
        f"# Leaderboard: {markdown(dataset)}\n\n"
        "Made by `zoo-bench leaderboard` from the records beside it; do not edit. Arrows show which way is better,"
        " bold marks the best value of a column and scores that do not differ significantly from it; of times, the one"
        " that is smallest relative to the calibration kernel. Times that were disturbed (†), cut short or of few"
        " passes (‡) are never bold and on no Pareto front.\n"
    )
    boards = [board_of(table) for table in tables]
    definitions = dict.fromkeys(text for board in boards for text in board.definitions)
    last = "## Definitions\n\n" + "".join(f"- {markdown(text)}\n" for text in definitions)
    above, below = ([introduction(sweeps)], [appendix(sweeps)]) if sweeps else ([], [])
    return "\n".join(filter(None, [lead, *above, *map(to_markdown, boards), *below, last]))


def pages(results: Sequence[Result]) -> dict[str, str]:
    """Return one page per dataset by file name; equal records give equal pages. Raises UserError for no records."""
    sweeps = sweeps_by_page(results)
    return {f"{name}.md": page_of(name, tables, sweeps.get(name)) for name, tables in tables_by_page(results).items()}


def write_pages(results: Sequence[Result], out: Path) -> list[Path]:
    """Write one page per dataset into ``out``, each atomically; return their paths."""
    return [*_write(pages(results), out), *_draw(results, out)] if results else []


def write_tables(results: Sequence[Result], out: Path) -> list[Path]:
    """Write every table into ``out``, each atomically; return their paths.

    The papers' tables are made from ``out/published`` if that folder exists. Raises UserError for no records.
    """
    texts = _all_tables(results, out)
    sources = {result.source.file for result in results if result.source is not None}
    refuse_inputs(f"leaderboard: --out {out}", (out / name for name in texts), sources)
    return [*_write(texts, out), *_draw(results, out)]


def _draw(results: Sequence[Result], out: Path) -> list[Path]:
    """Draw the plots of the sweeps' pages; other versions of matplotlib give other bytes, so they are not compared."""
    sweeps = sweeps_by_page(results)
    tables = tables_by_page(results) if sweeps else {}
    return [file for page, own in sweeps.items() for file in draw(own, tables[page], out)]


def stale_tables(results: Sequence[Result], out: Path) -> list[Path]:
    """Return the files in ``out`` that are missing or differ from the tables of the records and published numbers."""
    stale = [
        out / name
        for name, text in _all_tables(results, out).items()
        if not (out / name).exists() or (out / name).read_text(encoding="utf-8") != text
    ]
    plots = [out / name for own in sweeps_by_page(results).values() for name in plot_names(own)]
    return stale + [file for file in plots if not file.exists()]


def _all_tables(results: Sequence[Result], out: Path) -> dict[str, str]:
    """Return all generated files by name: a page per dataset, that of int8, the papers' tables, the index."""
    from benchmark.leaderboard.int8 import int8_page

    int8 = int8_page(results)
    with without_gc():
        tables = tables_by_page(results)
        sweeps = sweeps_by_page(results)
        texts = {f"{name}.md": page_of(name, found, sweeps.get(name)) for name, found in tables.items()}
    papers: dict[str, str] = {} if int8 is None else {"int8.md": int8}
    if any((out / "published").glob("*.yaml")):
        # Imported only here, because counting the papers' networks needs torch.
        from benchmark.leaderboard.paper_tables import paper_pages

        papers |= paper_pages(out / "published", results)
    if (out / _OFFICIAL).is_file():
        from benchmark.leaderboard.official import official_page

        papers["official.md"] = official_page(out / _OFFICIAL, results)
    titles = {name: text.partition("\n")[0].removeprefix("# ") for name, text in papers.items()}
    counts = Counter(page_of_sweep(result) or result.dataset for result in newest(results))
    return {**texts, **papers, "README.md": index_page(tables, counts, titles)}


def _write(texts: Mapping[str, str], out: Path) -> list[Path]:
    """Write ``texts`` by file name into ``out``, each atomically; return their paths."""
    with naming(out, "--out"):
        out.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        replace_text(out / name, text)
    return [out / name for name in texts]


def index_page(tables: Mapping[str, Sequence[Table]], counts: Mapping[str, int], papers: Mapping[str, str]) -> str:
    """Return the Markdown of the index: a row per dataset, then a row per table of a paper.

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
    return f"{_INDEX_LEAD}\n{table}\n"


def _what(tables: Sequence[Table]) -> str:
    quality = [
        f"{counted(len(table.rows), 'model')} with quality ({table.title.partition(', ')[2]})"
        for table in tables
        if table.kind in ("quality", "published")
    ]
    costs = [
        f"costs of {len(table.rows)}" + (f" ({table.part} images)" if table.part else "")
        for table in tables
        if table.kind == "costs"
    ]
    standin = "stand-in data: " if any(row.is_standin for table in tables for row in table.rows) else ""
    return standin + ", ".join([*quality, *costs])


def _best(tables: Sequence[Table]) -> str:
    """Return the leader of the first quality table on a whole split, and how many models share its rank."""
    table = next((table for table in tables if table.kind == "quality" and not table.part), None)
    if table is not None and not table.rows[0].has_enough_scenes:
        return scenes_text(table.rows[0].result)
    first = [y for y, rank in enumerate(table.ranks) if rank.rstrip("=?") == "1"] if table else []
    if table is None or not first:
        return "-"
    row, column = table.rows[first[0]], table.columns[0]
    shared = f", rank shared by {len(first)}" if len(first) > 1 else ""
    value = Cells(table.rows, [column]).texts(first[0])[0]
    return f"{row.name}: {header(column, table.rows)} {value} ({row.evidence}{shared})"
