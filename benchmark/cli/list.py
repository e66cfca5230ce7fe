"""``zoo-bench list``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from benchmark.cli.options import json_option
from benchmark.cli.printing import echo, print_result, start
from benchmark.cli.tables import room

KINDS = ("models", "datasets", "metrics", "losses", "profilers", "recipes", "suites", "sweeps", "weights")
# What stands between name and summary, as far as there is room.
_COLUMNS: dict[str, tuple[Callable[[Mapping[str, Any]], str], ...]] = {
    "models": (lambda row: row["task"], lambda row: ", ".join(row["weights"])),
    "datasets": (lambda row: row["task"],),
    "metrics": (lambda row: f"{row['unit']} {'↑' if row['higher_is_better'] else '↓'}".strip(),),
    "recipes": (lambda row: row["dataset"],),
    "suites": (lambda row: row["dataset"],),
    "sweeps": (lambda row: row["dataset"],),
    "weights": (lambda row: row["kind"], lambda row: row["sha256"][:12]),
}
# The least room of a summary beside columns.
_SUMMARY = 30


@click.command("list")
@click.argument("what", type=click.Choice(KINDS), metavar="KIND")
@click.argument("patterns", nargs=-1, metavar="[PATTERN]...")
@click.option(
    "--task", metavar="TASK", help="Only those for this task: raw2rgb, denoise_rgb, denoise_gray, enhance_rgb."
)
@json_option
def list_command(what: str, patterns: tuple[str, ...], task: str | None) -> None:
    """List what there is of a KIND, in a line each that fits the terminal.

    KIND is models, datasets, metrics, losses, profilers, recipes, suites, sweeps or weights. With PATTERNs such as
    'unet*' only the names that match. `zoo-bench show` has the whole card of each.
    """
    start()
    from benchmark.catalogue import catalogue

    print_result(catalogue(what, patterns, task), lambda rows: _print_rows(what, rows))


def _print_rows(what: str, rows: Sequence[Mapping[str, Any]]) -> None:
    from benchmark.catalogue.cards import plain
    from benchmark.fitting import shortened_end

    width = room()
    columns = [[row["name"] for row in rows], *([text(row) for row in rows] for text in _COLUMNS.get(what, ()))]
    widths = [max(map(len, column), default=0) for column in columns]
    while len(columns) > 1 and width is not None and sum(widths) + 2 * len(widths) + _SUMMARY > width:
        columns.pop()
        widths.pop()
    for number, row in enumerate(rows):
        cells = [f"{column[number]:{most}}" for column, most in zip(columns, widths)]
        line = "  ".join([*cells, plain(str(row["summary"]))]).rstrip()
        echo(line if width is None else shortened_end(line, width))
