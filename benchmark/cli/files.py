"""Write files: stand-ins, converted weights, tables."""

from __future__ import annotations

from pathlib import Path

import click

from benchmark.cli.arguments import key_values, seed_of, set_option, start


@click.group()
def weights() -> None:
    """Handle weights files."""


@weights.command("import")
@click.argument("model")
@click.argument("checkpoint")
@click.option("-o", "--out", required=True, metavar="FILE.safetensors", help="The file to write.")
@set_option
@click.pass_context
def weights_import(ctx: click.Context, model: str, checkpoint: str, out: str, settings: tuple[str, ...]) -> None:
    """Convert the published CHECKPOINT of MODEL to safetensors, strictly; pickles may hold tensors only."""
    start(ctx)
    from benchmark.selection import import_weights

    metadata = import_weights(model, checkpoint, out, options=key_values("--set", settings, "KEY=VALUE"))
    click.echo(f"wrote {out} ({metadata['evidence']}, sha256 of the source {metadata['source_sha256'][:16]})")


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
    click.echo(f"wrote {out}")


@click.command()
@click.option(
    "--results",
    multiple=True,
    metavar="DIR",
    help="Folders or files of records (repeatable).  [default: leaderboards/results]",
)
@click.option("--out", default="leaderboards", show_default=True, metavar="DIR", help="Where the tables go.")
@click.option("--check", is_flag=True, help="Write nothing; exit 1 if a table is stale.")
@click.pass_context
def leaderboard(ctx: click.Context, results: tuple[str, ...], out: str, check: bool) -> None:
    """Regenerate the Markdown tables from the records."""
    start(ctx)
    from benchmark.conflicts import warnings
    from benchmark.publishing import stale_tables, write_tables
    from benchmark.store import read_folders

    records = read_folders([Path(folder) for folder in results or ("leaderboards/results",)])
    for line in warnings(records):
        click.echo(f"warning: {line}", err=True)
    if not check:
        for path in write_tables(records, Path(out)):
            click.echo(f"wrote {path}")
        return
    stale = stale_tables(records, Path(out))
    for path in stale:
        click.echo(f"stale: {path}; run `zoo-bench leaderboard` and commit the result.", err=True)
    if stale:
        ctx.exit(1)
    click.echo("all tables are up to date")
