"""``zoo-bench leaderboard``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmark.cli.printing import echo, echo_warnings, start
from benchmark.units import MIB
from zoo.errors import UserError

if TYPE_CHECKING:
    from benchmark.reporting import Reporter


@click.command("leaderboard")
@click.option(
    "--results",
    multiple=True,
    metavar="DIR",
    help="Folder or file of records (repeatable).  [default: leaderboards/results]",
)
@click.option("--out", default="leaderboards", show_default=True, metavar="DIR", help="Folder for the tables.")
@click.option("--check", is_flag=True, help="Write nothing; the exit status is 1 if a table is out of date.")
@click.option(
    "--html",
    is_flag=False,
    flag_value="",
    metavar="[FILE]",
    help="Write one HTML page, which works offline, instead of the tables.  [default: OUT/leaderboard.html]",
)
@click.option(
    "--gallery",
    type=click.IntRange(min=0),
    metavar="N",
    help="With --html: show the pictures of at most N images per row.  [default: 2]",
)
def leaderboard_command(results: tuple[str, ...], out: str, check: bool, html: str | None, gallery: int | None) -> None:
    """Write the tables, or one HTML page, from records."""
    reporter = start()
    folders = [Path(folder) for folder in results or ("leaderboards/results",)]
    if html is not None:
        _write_html(folders, Path(html or Path(out) / "leaderboard.html"), gallery, check, reporter)
        return
    if gallery is not None:
        raise UserError("--gallery: the Markdown tables have no pictures; add --html to write the page.")
    from benchmark.leaderboard.pages import stale_tables, write_tables
    from benchmark.results.conflicts import warnings
    from benchmark.results.store import read_folders

    records = read_folders(folders)
    echo_warnings(warnings(records))
    if not check:
        for path in write_tables(records, Path(out)):
            echo(f"wrote {path}")
        return
    stale = stale_tables(records, Path(out))
    for path in stale:
        echo(f"stale: {path}; run `zoo-bench leaderboard` and commit the result.", err=True)
    if stale:
        raise click.exceptions.Exit(1)
    echo("all tables are up to date")


def _write_html(folders: list[Path], path: Path, gallery: int | None, check: bool, reporter: Reporter) -> None:
    """Write the page and report what it could not show."""
    from benchmark.htmlpage.data import document
    from benchmark.htmlpage.page import write_page
    from benchmark.replacing import refuse_inputs
    from benchmark.results.store import files_of, read_folders

    if check:
        raise UserError("--check: the page is not kept in the tree, so it cannot be stale; use --check without --html.")
    if path.is_dir():
        raise UserError(f"--html: {path} is a folder; expected the name of a file, for example {path / 'page.html'}.")
    refuse_inputs(f"--html {path}", [path], (file for folder in folders for file in files_of(folder)))
    content = document(read_folders(folders), gallery=2 if gallery is None else gallery)
    write_page(content, path)
    if missing := content.without_pictures:
        name, reason = missing[0]
        reporter.note(
            f"warning: no pictures for {len(missing)} row(s), the first one {name}: {reason};"
            " run again with `zoo-bench run --out DIR` and pass --results DIR."
        )
    echo(f"wrote {path} ({path.stat().st_size / MIB:.1f} MiB); open it in a browser, no network is needed")
