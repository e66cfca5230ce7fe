"""The command line: parse, call, print. Heavy imports stay inside the commands, so that --help is fast."""

from __future__ import annotations

import contextlib
import importlib
import os

import click

from benchmark.cli.errors import OneLineErrors, fail_unforeseen
from benchmark.cli.options import common_options, with_common_options
from benchmark.host.machine import skip_take_down
from zoo.surroundings import staying

# Each verb has a file of the same name.
VERBS = (
    *("cache", "check", "compare", "completion", "data", "doctor", "export", "infer", "leaderboard", "list", "profile"),
    *("quantize", "results", "run", "score", "show", "submit", "sweep", "train", "verify", "weights"),
)
_at_exit = contextlib.ExitStack()


def _print_version(ctx: click.Context, parameter: click.Parameter, given: bool) -> None:
    """Print the versions of this tool and of torch, and the commit if the tool runs from its checkout."""
    if not given or ctx.resilient_parsing:
        return
    from benchmark.host.environment import describe_version

    click.echo(describe_version())
    ctx.exit()


@click.group(cls=OneLineErrors, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@common_options
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the versions of zoo-bench and torch, and the commit in a checkout, and exit.",
)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Compare networks for RAW-to-RGB and denoising: quality, FLOPs, memory and time."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


for verb in VERBS:
    cli.add_command(with_common_options(getattr(importlib.import_module(f"benchmark.cli.{verb}"), f"{verb}_command")))


def main() -> None:
    """Run the ``zoo-bench`` script: any failure ends with one line and an exit status."""
    # This must also hold after this function, if a plug-in has left something to do at exit.
    _at_exit.enter_context(staying())
    try:
        cli()
    except Exception as error:
        if os.environ.get("ZOO_BENCH_DEBUG"):
            raise
        fail_unforeseen(error)
    finally:
        skip_take_down()
