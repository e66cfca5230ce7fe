"""The first and last steps of a command: load the plug-ins; print lines that are clean for a terminal, or JSON.

Commands write to stdout only through this module.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmark.cleaning import terminal, visible
from benchmark.replacing import naming
from benchmark.units import counted, listed

if TYPE_CHECKING:
    from benchmark.cli.console import ConsoleReporter

# Errors when writing to stdout are reported under this name.
STDOUT = Path("standard output")
# The key under which a context keeps whether --json was given.
JSON = f"{__name__}.json"


def start() -> ConsoleReporter:
    """Load the plug-ins; return the reporter for the user.

    With ``--json`` only ``print_result`` writes to stdout. Everything else that prints there, for example the network
    of a plug-in, is sent to stderr.
    """
    ctx = click.get_current_context()
    ctx.obj["stdout"] = sys.stdout
    if wants_json():
        ctx.with_resource(contextlib.redirect_stdout(sys.stderr))
    from benchmark.cli.console import ConsoleReporter
    from zoo import plugins

    reporter = ConsoleReporter(verbosity())
    with _same_click():
        for failure in plugins.load_entry_points():
            reporter.note(f"warning: {failure}")
        for path in ctx.obj["plugins"]:
            plugins.load_file(path)
    return reporter


@contextlib.contextmanager
def _same_click() -> Iterator[None]:
    """Restore everything in click that the block replaced, because the exit status and the output depend on it."""
    owners: tuple[Any, ...] = (click, click.Context)
    before = [(owner, name, value) for owner in owners for name, value in vars(owner).items()]
    try:
        yield
    finally:
        for owner, name, value in before:
            if vars(owner).get(name) is not value:
                setattr(owner, name, value)


def verbosity() -> int:
    """Return how much is printed: -1 with -q, else the number of -v."""
    given = click.get_current_context().obj
    return -1 if given["quiet"] else int(given["verbose"])


def given_seed() -> int | None:
    """Return the seed of the command line; None if it has none."""
    seed: int | None = click.get_current_context().obj["seed"]
    return seed


def echo(line: object, *, err: bool = False) -> None:
    """Print a line, clean for a terminal and for the log of a CI system; line breaks in it are shown as escapes."""
    _write(terminal(visible(str(line))), err=err)


def echo_lines(text: str) -> None:
    """Print lines as ``echo`` does; the caller must keep line breaks out of the parts of a line."""
    _write(terminal(text))


def echo_warnings(warnings: Iterable[str]) -> None:
    """Print warnings on stderr, a line each."""
    for warning in warnings:
        echo(f"warning: {warning}", err=True)


def echo_clean(lines: Sequence[str], *, err: bool = False) -> None:
    """Print lines whose texts are already clean: of a table, or commands for a CI system."""
    for line in lines:
        _write(line, err=err)


def wants_json() -> bool:
    """Whether the command was given ``--json``."""
    return bool(click.get_current_context().meta.get(JSON))


def print_result(document: Any, text: str | Callable[[Any], object]) -> None:
    """Print a result: with ``--json`` as one strict JSON document, else as ``text``.

    Each may be a function, which is called only if its result is printed; ``text`` then gets the document and prints.
    """
    if wants_json():
        document = document() if callable(document) else document
        print_data(json.dumps(_strict(document), indent=2, allow_nan=False))
    elif isinstance(text, str):
        echo_lines(text)
    else:
        text(document)


def print_data(text: str) -> None:
    """Print what another program reads (JSON, CSV) on stdout; its texts must already be clean."""
    _write(text, file=click.get_current_context().obj["stdout"])


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


def print_placement(placement: Mapping[str, Any]) -> None:
    """Print what XNNPACK and the portable kernels run of a program for ExecuTorch."""
    total = placement["delegate"]["macs"] + placement["portable"]["macs"]
    for part, name in (("delegate", placement["delegate"]["name"]), ("portable", "portable")):
        of_part = placement[part]
        share = f" ({of_part['macs'] / total:.1%})" if total else ""
        calls = sum(of_part["operators"].values())
        echo(f"  {name:<10}  {counted(calls, 'operator')}, {of_part['macs'] / 1e6:.3f} million MACs{share}")
    for one in placement["portable_operators"]:
        echo(f"    {one['operation']} {one['calls']} in {layers_text(one)}: {one['reason']}")


def layers_text(one: Mapping[str, Any]) -> str:
    """Return the layers of a finding, at most three by name."""
    return listed([layer or "the network itself" for layer in one["layers"]], 3)
