"""``zoo-bench list``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from benchmark.cli.options import json_option
from benchmark.cli.printing import echo, print_result, start


@click.command("list")
@click.argument("what", type=click.Choice(["models", "datasets", "metrics", "profilers", "recipes"]))
@json_option
def list_command(what: str) -> None:
    """List models, datasets, metrics, profilers or recipes."""
    start()
    from benchmark.catalogue import catalogue

    print_result(catalogue(what), _print_rows)


def _print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    for row in rows:
        echo(f"{row['name']:32} {row.get('summary', '')}".rstrip())
