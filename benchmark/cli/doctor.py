"""``zoo-bench doctor``."""

from __future__ import annotations

import click

from benchmark.cli.options import json_option
from benchmark.cli.printing import echo_lines, print_json
from benchmark.cli.starting import start


@click.command("doctor")
@json_option
@click.pass_context
def doctor_command(ctx: click.Context, as_json: bool) -> None:
    """Show this machine, and whether its timings can be trusted."""
    reporter = start(ctx, as_json=as_json)
    from benchmark.timing.doctor import doctor_text, examine

    document = examine(reporter)
    if as_json:
        print_json(ctx, document)
    else:
        echo_lines(doctor_text(document))
