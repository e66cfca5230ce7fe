"""``zoo-bench doctor``."""

from __future__ import annotations

import click

from benchmark.cli.options import json_option
from benchmark.cli.printing import echo_lines, print_result
from benchmark.cli.starting import start


@click.command("doctor")
@json_option
@click.pass_context
def doctor_command(ctx: click.Context) -> None:
    """Show this machine, and whether its timings can be trusted."""
    reporter = start(ctx)
    from benchmark.timing.doctor import doctor_text, examine

    print_result(ctx, examine(reporter), lambda document: echo_lines(doctor_text(document)))
