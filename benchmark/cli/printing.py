"""Print lines that are clean for a terminal, and JSON: the only way from a command to stdout."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from benchmark.cleaning import terminal, visible
from benchmark.replacing import naming

# An error of writing there is reported under this name.
STDOUT = Path("standard output")


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


def print_json(ctx: click.Context, document: Any) -> None:
    """Print one strict JSON document on stdout."""
    _write(json.dumps(_strict(document), indent=2, allow_nan=False), file=ctx.obj["stdout"])


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
