"""What a command does first and last: load the plug-ins, then print lines that are clean for a terminal, or JSON.

This is the only way from a command to stdout.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmark.cleaning import terminal, visible
from benchmark.replacing import naming

if TYPE_CHECKING:
    from benchmark.cli.console import ConsoleReporter

# An error of writing there is reported under this name.
STDOUT = Path("standard output")
# Where a context keeps whether --json was given.
JSON = f"{__name__}.json"


def start() -> ConsoleReporter:
    """Load the plug-ins; return what reports to the user.

    With ``--json`` whatever else prints to stdout, a plug-in's network for instance, goes to stderr: only
    ``print_result`` writes there.
    """
    ctx = click.get_current_context()
    ctx.obj["stdout"] = sys.stdout
    if wants_json():
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
    owners: tuple[Any, ...] = (click, click.Context)
    before = [(owner, name, value) for owner in owners for name, value in vars(owner).items()]
    try:
        yield
    finally:
        for owner, name, value in before:
            if vars(owner).get(name) is not value:
                setattr(owner, name, value)


def given_seed() -> int | None:
    """Return the seed of the command line, None where there is none."""
    seed: int | None = click.get_current_context().obj["seed"]
    return seed


def echo(line: object, *, err: bool = False) -> None:
    """Print a line, clean for a terminal and for the log of a CI system; line breaks in it are shown, not made."""
    _write(terminal(visible(str(line))), err=err)


def echo_lines(text: str) -> None:
    """Print lines as ``echo`` does: whoever put them together keeps line breaks out of their parts."""
    _write(terminal(text))


def echo_warnings(warnings: Iterable[str]) -> None:
    """Print warnings on stderr, a line each."""
    for warning in warnings:
        echo(f"warning: {warning}", err=True)


def echo_commands(lines: Sequence[str], *, err: bool) -> None:
    """Print commands to a CI system, whose texts are clean already."""
    for line in lines:
        _write(line, err=err)


def wants_json() -> bool:
    """Whether the command was given ``--json``."""
    return bool(click.get_current_context().meta.get(JSON))


def print_result(document: Any, text: str | Callable[[Any], object]) -> None:
    """Print what a command found: with ``--json`` one strict JSON document, else ``text``, or as that function does."""
    if wants_json():
        stdout = click.get_current_context().obj["stdout"]
        _write(json.dumps(_strict(document), indent=2, allow_nan=False), file=stdout)
    elif isinstance(text, str):
        echo_lines(text)
    else:
        text(document)


def _write(text: str, **how: Any) -> None:
    with naming(STDOUT):
        click.echo(text, **how)


def _strict(value: Any) -> Any:
    """Return ``value`` with non-finite numbers as the strings "inf", "-inf", "nan"."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    return [_strict(item) for item in value] if isinstance(value, (list, tuple)) else value
