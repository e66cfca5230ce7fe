"""Print lines that are clean for a terminal, and JSON: the only way from a command to stdout."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from benchmark.cleaning import terminal, visible
from benchmark.replacing import naming

# An error of writing there is reported under this name.
STDOUT = Path("standard output")
# Where a context keeps whether --json was given.
JSON = f"{__name__}.json"


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


def wants_json(ctx: click.Context) -> bool:
    """Whether the command was given ``--json``."""
    return bool(ctx.meta.get(JSON))


def print_result(ctx: click.Context, document: Any, print_text: Callable[[Any], None]) -> None:
    """Print what a command found: with ``--json`` as one strict JSON document, else as ``print_text`` does."""
    if wants_json(ctx):
        _write(json.dumps(_strict(document), indent=2, allow_nan=False), file=ctx.obj["stdout"])
    else:
        print_text(document)


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
