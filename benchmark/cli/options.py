"""Options that several commands take, and the parsing of their values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from benchmark.units import MAX_SIDE, size_of
from zoo.errors import UserError, shortened

Command = TypeVar("Command", bound=Callable[..., Any])


def mapping_option(
    flag: str, name: str, help: str, *, metavar: str = "KEY=VALUE", expected: str = ""
) -> Callable[[Command], Command]:
    """Return the repeatable option ``flag``, which the command gets as a mapping of texts called ``name``."""

    def parse(ctx: click.Context, parameter: click.Parameter, texts: Sequence[str]) -> dict[str, str]:
        return key_values(flag, texts, expected or metavar)

    return click.option(flag, name, multiple=True, metavar=metavar, callback=parse, help=help)


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
    """Return what ``--size`` says, as (height, width)."""
    if text is None:
        return None
    size = size_of(text)
    if size is None:
        raise UserError(f"--size {shortened(text)}: expected HxW, for example 224x224, each 1 to {MAX_SIDE}.")
    return size


def comma_separated(ctx: click.Context, parameter: click.Parameter, text: str | None) -> list[str] | None:
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


json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
set_option = mapping_option("--set", "options", "An option of the model (repeatable).")
weights_option = click.option("--weights", metavar="FILE", help="Weights of the model.")
size_option = click.option(
    "--size",
    callback=parse_size,
    metavar="HxW",
    help="Size of the planes the network receives; default: its dataset's patch.",
)
pairs_option = click.option("--pairs", metavar="RULE", help="For pairs: partners by name, e.g. '*_real.* -> *_mean.*'.")
white_option = click.option(
    "--white",
    type=float,
    metavar="COUNT",
    help="White level of 16-bit files that use fewer bits, e.g. 1023 (datasets: pairs).",
)
partial_option = click.option(
    "--partial", is_flag=True, help='Use what is there of a dataset; shown as "12 of 1204", in tables of its own.'
)


def raw_options(command: Command) -> Command:
    """Add the options that describe a RAW picture, which does not say these itself."""
    options = (
        click.option("--cfa", default="RGGB", show_default=True, help="Colour filter array of a RAW PNG."),
        click.option(
            "--black", type=float, default=64.0, show_default=True, help="Black level of a RAW PNG in counts."
        ),
        click.option(
            "--white",
            type=float,
            metavar="COUNT",
            help="White level in counts.  [default: 1023 for a RAW mosaic, 65535 for RGB of 16 bits]",
        ),
    )
    return all_options(options, command)


def all_options(options: Sequence[Callable[[Command], Command]], command: Command) -> Command:
    """Add ``options``, which ``--help`` shows in their order."""
    for option in reversed(options):
        command = option(command)
    return command
