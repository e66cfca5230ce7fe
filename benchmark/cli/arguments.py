"""What several commands share: starting up, parsing values, printing JSON."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from zoo.errors import UserError

if TYPE_CHECKING:
    from benchmark.cli.console import ConsoleReporter


def start(ctx: click.Context, *, as_json: bool = False) -> ConsoleReporter:
    """Load the plug-ins; return what reports to the user.

    With ``as_json`` whatever else prints to stdout, a plug-in's network for instance, goes to stderr:
    ``print_json`` alone writes there.
    """
    ctx.obj["stdout"] = sys.stdout
    if as_json:
        ctx.with_resource(contextlib.redirect_stdout(sys.stderr))
    from benchmark.cli.console import ConsoleReporter
    from zoo import plugins

    reporter = ConsoleReporter(ctx.obj["verbosity"])
    for failure in plugins.load_entry_points():
        reporter.note(f"warning: {failure}")
    for path in ctx.obj["plugins"]:
        plugins.load_file(path)
    return reporter


def seed_of(ctx: click.Context) -> int:
    """Return the seed of the command line, 0 by default."""
    return ctx.obj["seed"] or 0


def print_json(ctx: click.Context, document: Any) -> None:
    """Print one strict JSON document on stdout."""
    click.echo(json.dumps(_strict(document), indent=2, allow_nan=False), file=ctx.obj["stdout"])


def _strict(value: Any) -> Any:
    """Return ``value`` with non-finite numbers as the strings "inf", "-inf", "nan"."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    return [_strict(item) for item in value] if isinstance(value, (list, tuple)) else value


def key_values(flag: str, values: Sequence[str], expected: str) -> dict[str, str]:
    """Return ``KEY=VALUE`` texts as a mapping; raises UserError naming the flag."""
    pairs = {}
    for text in values:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise UserError(f"{flag} {text}: expected {expected}.")
        pairs[key] = value
    return pairs


def parse_size(ctx: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    height, sign, width = text.lower().partition("x")
    if not sign or not height.isdecimal() or not width.isdecimal() or not int(height) or not int(width):
        raise UserError(f"--size {text}: expected HxW, for example 224x224.")
    return int(height), int(width)


def parse_tile(ctx: click.Context, parameter: click.Parameter, text: str | None) -> str | tuple[int, int] | None:
    """Return what ``--tile`` says: "auto", "off" or (height, width)."""
    if text is None or text in ("auto", "off"):
        return text
    from benchmark.conditions import tile_of

    return tile_of(text)


set_option = click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="An option of the model (repeatable)."
)
partial_option = click.option(
    "--partial", is_flag=True, help='Use what is there of a dataset; shown as "12 of 1204", in tables of its own.'
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


def comma_separated(text: str | None) -> list[str] | None:
    """Split at commas that are not inside brackets: metric ids have commas of their own."""
    if text is None:
        return None
    parts, depth = [""], 0
    for sign in text:
        depth += (sign == "[") - (sign == "]")
        if sign == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += sign
    return [part.strip() for part in parts if part.strip()]
