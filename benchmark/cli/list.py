"""``zoo-bench list``."""

from __future__ import annotations

import click

from benchmark.cli.options import json_option
from benchmark.cli.printing import echo, print_json
from benchmark.cli.starting import start


@click.command("list")
@click.argument("what", type=click.Choice(["models", "datasets", "metrics", "profilers", "recipes"]))
@json_option
@click.pass_context
def list_command(ctx: click.Context, what: str, as_json: bool) -> None:
    """List models, datasets, metrics, profilers or recipes."""
    start(ctx, as_json=as_json)
    from benchmark.catalogue import catalogue

    rows = catalogue(what)
    if as_json:
        print_json(ctx, rows)
        return
    for row in rows:
        echo(f"{row['name']:32} {row.get('summary', '')}".rstrip())
