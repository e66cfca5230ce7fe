"""The command line: parse, call, print. Heavy imports stay inside the commands, so that --help is fast."""

from __future__ import annotations

import contextlib
import os

import click

from benchmark.cli.cache import cache_group
from benchmark.cli.check import check_command
from benchmark.cli.compare import compare_command
from benchmark.cli.data import data_group
from benchmark.cli.doctor import doctor_command
from benchmark.cli.errors import OneLineErrors, fail_unforeseen
from benchmark.cli.export import export_command
from benchmark.cli.infer import infer_command
from benchmark.cli.leaderboard import leaderboard_command
from benchmark.cli.list import list_command
from benchmark.cli.profile import profile_command
from benchmark.cli.results import results_group
from benchmark.cli.run import run_command
from benchmark.cli.score import score_command
from benchmark.cli.show import show_command
from benchmark.cli.submit import submit_command
from benchmark.cli.sweep import sweep_command
from benchmark.cli.train import train_command
from benchmark.cli.weights import weights_group
from benchmark.units import MAX_SEED
from zoo.surroundings import staying

_at_exit = contextlib.ExitStack()


@click.group(cls=OneLineErrors, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--plugin",
    "plugins",
    multiple=True,
    metavar="FILE.py",
    help="Python file that registers models, datasets or metrics of your own (repeatable).",
)
@click.option(
    "--seed",
    type=click.IntRange(0, MAX_SEED),
    default=None,
    metavar="N",
    help="Seed of untrained networks and of all other random draws.  [default: 0]",
)
@click.option("-v", "--verbose", count=True, help="Print more details.")
@click.option("-q", "--quiet", is_flag=True, help="Print only errors.")
@click.version_option(package_name="zoo-bench", prog_name="zoo-bench")
@click.pass_context
def cli(ctx: click.Context, plugins: tuple[str, ...], seed: int | None, verbose: int, quiet: bool) -> None:
    """Compare networks for RAW-to-RGB and denoising: quality, FLOPs, memory and time."""
    ctx.obj = {"seed": seed, "verbosity": -1 if quiet else verbose, "plugins": plugins}
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


for command in (
    cache_group,
    check_command,
    compare_command,
    data_group,
    doctor_command,
    export_command,
    infer_command,
    leaderboard_command,
    list_command,
    profile_command,
    results_group,
    run_command,
    score_command,
    show_command,
    submit_command,
    sweep_command,
    train_command,
    weights_group,
):
    cli.add_command(command)


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
