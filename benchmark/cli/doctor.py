"""``zoo-bench doctor``."""

from __future__ import annotations

import click

from benchmark.cli.options import json_option
from benchmark.cli.printing import print_result, start


@click.command("doctor")
@json_option
def doctor_command() -> None:
    """Show this machine, and whether its timings can be trusted."""
    reporter = start()
    from benchmark.timing.doctor import doctor_text, examine

    document = examine(reporter)
    print_result(document, doctor_text(document))
