"""All generated files of a folder of leaderboards: a page per dataset, the papers' tables, the index."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmark.leaderboard import index_page, page_of, stale_files, tables_by_dataset, write_files
from benchmark.leaderboard.index import NAME
from benchmark.replacing import refuse_inputs
from benchmark.results.records import newest, without_gc
from benchmark.types import Result


def write_tables(results: Sequence[Result], out: Path) -> list[Path]:
    """Write every table into ``out``, each atomically; return their paths.

    The papers' tables are made from ``out/published``, where there is one. Raises UserError for no records.
    """
    texts = _texts(results, out)
    sources = {result.source.file for result in results if result.source is not None}
    refuse_inputs(f"leaderboard: --out {out}", (out / name for name in texts), sources)
    return write_files(texts, out)


def stale_tables(results: Sequence[Result], out: Path) -> list[Path]:
    """Return the files in ``out`` that differ from what records and published numbers give, or are missing."""
    return stale_files(_texts(results, out), out)


def _texts(results: Sequence[Result], out: Path) -> dict[str, str]:
    with without_gc():
        tables = tables_by_dataset(results)
        texts = {f"{dataset}.md": page_of(dataset, found) for dataset, found in tables.items()}
    papers: dict[str, str] = {}
    if any((out / "published").glob("*.yaml")):
        # Only here: counting the papers' networks needs torch.
        from benchmark.leaderboard.paper_tables import paper_pages

        papers = paper_pages(out / "published", results)
    titles = {name: text.partition("\n")[0].removeprefix("# ") for name, text in papers.items()}
    counts = Counter(result.dataset for result in newest(results))
    return {**texts, **papers, NAME: index_page(tables, counts, titles)}
