"""What each command does first: load the plug-ins and set up what reports to the user."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from benchmark.cli.printing import wants_json

if TYPE_CHECKING:
    from benchmark.cli.console import ConsoleReporter


def start(ctx: click.Context) -> ConsoleReporter:
    """Load the plug-ins; return what reports to the user.

    With ``--json`` whatever else prints to stdout, a plug-in's network for instance, goes to stderr: only
    ``print_result`` writes there.
    """
    ctx.obj["stdout"] = sys.stdout
    if wants_json(ctx):
        ctx.with_resource(contextlib.redirect_stdout(sys.stderr))
    from benchmark.cli.console import ConsoleReporter
    from zoo import plugins

    reporter = ConsoleReporter(ctx.obj["verbosity"])
    with _same_click():
        for failure in plugins.load_entry_points():
            reporter.note(f"warning: {failure}")
        for path in ctx.obj["plugins"]:
            plugins.load_file(path)
    return reporter


@contextlib.contextmanager
def _same_click() -> Iterator[None]:
    """Put back, behind the block, what it replaced of click: a status and what is printed depend on it."""
    before: list[tuple[Any, dict[str, Any]]] = [(owner, dict(vars(owner))) for owner in (click, click.Context)]
    try:
        yield
    finally:
        for owner, names in before:
            for name, value in names.items():
                if vars(owner).get(name) is not value:
                    setattr(owner, name, value)


def seed_of(ctx: click.Context) -> int:
    """Return the seed of the command line, 0 by default."""
    return ctx.obj["seed"] or 0
