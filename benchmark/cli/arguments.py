"""What several commands share: starting up, parsing values, printing JSON."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmark.cleaning import terminal, visible
from benchmark.replacing import naming
from benchmark.units import MAX_SIDE, size_of
from zoo.errors import UserError, shortened

if TYPE_CHECKING:
    from benchmark.cli.console import ConsoleReporter


# What an error of writing there is called.
STDOUT = Path("standard output")


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


def echo(line: object, *, err: bool = False) -> None:
    """Print a line, clean for a terminal and for the log of a CI system; line breaks in it are shown, not made."""
    _write(terminal(visible(str(line))), err=err)


def echo_lines(text: str) -> None:
    """Print lines as ``echo`` does: whoever put them together keeps line breaks out of their parts."""
    _write(terminal(text))


def echo_commands(lines: Sequence[str], *, err: bool) -> None:
    """Print commands to a CI system, whose texts are clean already."""
    for line in lines:
        _write(line, err=err)


def _write(text: str, **how: Any) -> None:
    with naming(STDOUT):
        click.echo(text, **how)


def print_json(ctx: click.Context, document: Any) -> None:
    """Print one strict JSON document on stdout."""
    _write(json.dumps(_strict(document), indent=2, allow_nan=False), file=ctx.obj["stdout"])


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
            raise UserError(f"{flag} {shortened(text)}: expected {expected}.")
        pairs[key] = value
    return pairs


def parse_size(ctx: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    size = size_of(text)
    if size is None:
        raise UserError(f"--size {shortened(text)}: expected HxW, for example 224x224, each 1 to {MAX_SIDE}.")
    return size


def parse_tile(ctx: click.Context, parameter: click.Parameter, text: str | None) -> str | tuple[int, int] | None:
    """Return what ``--tile`` says: "auto", "off" or (height, width)."""
    if text is None or text in ("auto", "off"):
        return text
    from benchmark.conditions import tile_of

    return tile_of(text)


set_option = click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="An option of the model (repeatable)."
)
white_option = click.option(
    "--white",
    type=float,
    metavar="COUNT",
    help="White level of 16-bit files that use fewer bits, e.g. 1023 (datasets: pairs).",
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
