"""The command line: parse, call, print. Heavy imports stay inside the commands, so that --help is fast."""

from __future__ import annotations

import contextlib
import os

import click

from benchmark.cli.checking import data_check
from benchmark.cli.comparing import check, compare
from benchmark.cli.errors import OneLineErrors, fail_unforeseen
from benchmark.cli.exporting import export
from benchmark.cli.files import data, leaderboard, weights
from benchmark.cli.images import infer, score
from benchmark.cli.keeping import cache, results
from benchmark.cli.machine import doctor
from benchmark.cli.registered import list_command, profile, show
from benchmark.cli.running import run
from benchmark.cli.submitting import submit
from benchmark.cli.sweeping import sweep
from benchmark.cli.training import train
from benchmark.units import MAX_SEED
from zoo.surroundings import staying

_at_exit = contextlib.ExitStack()


@click.group(cls=OneLineErrors, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--plugin",
    "plugins",
    multiple=True,
    metavar="FILE.py",
    help="Register models, datasets or metrics of your own (repeatable).",
)
@click.option(
    "--seed",
    type=click.IntRange(0, MAX_SEED),
    default=None,
    help="Initialises untrained networks and other draws.  [default: 0]",
)
@click.option("-v", "--verbose", count=True, help="More detail.")
@click.option("-q", "--quiet", is_flag=True, help="Only errors.")
@click.version_option(package_name="zoo-bench", prog_name="zoo-bench")
@click.pass_context
def cli(ctx: click.Context, plugins: tuple[str, ...], seed: int | None, verbose: int, quiet: bool) -> None:
    """Compare networks for RAW-to-RGB and denoising: quality, FLOPs, memory and time."""
    ctx.obj = {"seed": seed, "verbosity": -1 if quiet else verbose, "plugins": plugins}
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


for command in (
    list_command,
    show,
    profile,
    run,
    infer,
    export,
    score,
    data,
    weights,
    leaderboard,
    results,
    cache,
    compare,
    check,
    submit,
    doctor,
    train,
    sweep,
):
    cli.add_command(command)
data.add_command(data_check)


def main() -> None:
    """Entry point of the ``zoo-bench`` script: ends in one line and a status whatever happens."""
    # Also behind this function, where a plug-in left something to do at exit.
    _at_exit.enter_context(staying())
    try:
        cli()
    except Exception as error:
        if os.environ.get("ZOO_BENCH_DEBUG"):
            raise
        fail_unforeseen(error)
