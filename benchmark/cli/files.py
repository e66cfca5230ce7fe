"""Write files: stand-ins, converted weights, tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmark.cli.arguments import echo, key_values, seed_of, set_option, start
from benchmark.units import MIB
from zoo.errors import UserError

if TYPE_CHECKING:
    from benchmark.reporting import Reporter


@click.group()
def weights() -> None:
    """Handle weights files."""


@weights.command("import")
@click.argument("model")
@click.argument("checkpoint")
@click.option("-o", "--out", required=True, metavar="FILE.safetensors", help="The file to write.")
@click.option("--take", metavar="NAME", help="The weights meant where CHECKPOINT holds several, e.g. state_dict_ema.")
@set_option
@click.pass_context
def weights_import(
    ctx: click.Context, model: str, checkpoint: str, out: str, take: str | None, settings: tuple[str, ...]
) -> None:
    """Convert the published CHECKPOINT of MODEL to safetensors, strictly; pickles may hold tensors only."""
    reporter = start(ctx)
    from benchmark.selection import import_weights

    options = key_values("--set", settings, "KEY=VALUE")
    metadata = import_weights(model, checkpoint, out, options=options, take=take, reporter=reporter)
    echo(f"wrote {out} ({metadata['evidence']}, sha256 of the source {metadata['source_sha256'][:16]})")


@click.group()
def data() -> None:
    """Make datasets."""


@data.command("make")
@click.argument("name")
@click.option("--out", required=True, metavar="DIR", help="An empty or new folder.")
@click.option("--seed", type=int, default=None, help="Seed of the draws.  [default: 0]")
@click.option("--photos", metavar="DIR", help="Make it from the pictures in this folder; a stopped run goes on.")
@click.option("--count", type=click.IntRange(min=2), metavar="N", help="Pairs or scenes.  [default: one per picture]")
@click.pass_context
def data_make(ctx: click.Context, name: str, out: str, seed: int | None, photos: str | None, count: int | None) -> None:
    """Write the stand-in of dataset NAME into DIR, in the real on-disk layout."""
    reporter = start(ctx)
    from benchmark.catalogue import make_standin

    make_standin(
        name,
        Path(out),
        seed=seed_of(ctx) if seed is None else seed,
        photos=Path(photos) if photos else None,
        count=count,
        reporter=reporter,
    )
    echo(f"wrote {out}")


@click.command()
@click.option(
    "--results",
    multiple=True,
    metavar="DIR",
    help="Folders or files of records (repeatable).  [default: leaderboards/results]",
)
@click.option("--out", default="leaderboards", show_default=True, metavar="DIR", help="Where the tables go.")
@click.option("--check", is_flag=True, help="Write nothing; exit 1 if a table is stale.")
@click.option(
    "--html",
    is_flag=False,
    flag_value="",
    metavar="[FILE]",
    help="Write one offline HTML page instead of the tables.  [default: OUT/leaderboard.html]",
)
@click.option(
    "--gallery",
    type=click.IntRange(min=0),
    metavar="N",
    help="With --html: pictures of at most N images per row.  [default: 2]",
)
@click.pass_context
def leaderboard(
    ctx: click.Context, results: tuple[str, ...], out: str, check: bool, html: str | None, gallery: int | None
) -> None:
    """Regenerate the Markdown tables, or with --html one page, from the records."""
    reporter = start(ctx)
    folders = [Path(folder) for folder in results or ("leaderboards/results",)]
    if html is not None:
        _write_html(folders, Path(html or Path(out) / "leaderboard.html"), gallery, check, reporter)
        return
    if gallery is not None:
        raise UserError("--gallery: the Markdown tables have no pictures; add --html to write the page.")
    from benchmark.leaderboard.publishing import stale_tables, write_tables
    from benchmark.results.conflicts import warnings
    from benchmark.results.store import read_folders

    records = read_folders(folders)
    for line in warnings(records):
        echo(f"warning: {line}", err=True)
    if not check:
        for path in write_tables(records, Path(out)):
            echo(f"wrote {path}")
        return
    stale = stale_tables(records, Path(out))
    for path in stale:
        echo(f"stale: {path}; run `zoo-bench leaderboard` and commit the result.", err=True)
    if stale:
        ctx.exit(1)
    echo("all tables are up to date")


def _write_html(folders: list[Path], path: Path, gallery: int | None, check: bool, reporter: Reporter) -> None:
    """Write the page and say what it could not show."""
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
