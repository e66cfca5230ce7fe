"""Options that several commands take, and the parsing of their values."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from benchmark.cli.printing import JSON
from benchmark.units import MAX_SIDE, size_of
from zoo.errors import UserError, shortened

if TYPE_CHECKING:
    from benchmark.reporting import Reporter

Command = TypeVar("Command", bound=Callable[..., Any])


def mapping_option(
    flag: str, name: str, help: str, *, metavar: str = "KEY=VALUE", expected: str = "", several: bool = False
) -> Callable[[Command], Command]:
    """Return the repeatable option ``flag``; the command gets its values as a mapping of texts called ``name``.

    The last value of a key counts, or with ``several`` all of them, as a list.
    """

    def parse(ctx: click.Context, parameter: click.Parameter, texts: Sequence[str]) -> dict[str, Any]:
        pairs: dict[str, Any] = {}
        for text in texts:
            key, sign, value = text.partition("=")
            if not sign or not key:
                raise UserError(f"{flag} {shortened(text)}: expected {expected or metavar}.")
            pairs[key] = [*pairs.get(key, []), value] if several else value
        return pairs

    return click.option(flag, name, multiple=True, metavar=metavar, callback=parse, help=help)


def parse_size(ctx: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, int] | None:
    """Return the value of ``--size`` as (height, width)."""
    if text is None:
        return None
    size = size_of(text)
    if size is None:
        raise UserError(f"--size {shortened(text)}: expected HxW, for example 224x224, each 1 to {MAX_SIDE}.")
    return size


def comma_separated(ctx: click.Context, parameter: click.Parameter, text: str | None) -> list[str] | None:
    """Split at commas that are not inside brackets, because metric ids may contain commas in brackets."""
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


json_option = click.option(
    "--json",
    is_flag=True,
    expose_value=False,
    callback=lambda ctx, parameter, given: ctx.meta.update({JSON: given}),
    help="Print one JSON document instead of text.",
)
set_option = mapping_option("--set", "options", "Set an option of the model (repeatable).")
trust_option = click.option(
    "--trust", is_flag=True, help="Take weights from an address without a digest, whatever they hold."
)
size_option = click.option(
    "--size",
    callback=parse_size,
    metavar="HxW",
    help="Size of the planes that the network receives.  [default: the patch of its dataset]",
)
data_root_option = click.option(
    "--data-root",
    metavar="DIR",
    help="Folder of the dataset.  [default: $ZOO_BENCH_DATA/NAME, else the embedded stand-in, if any]",
)
partial_option = click.option(
    "--partial",
    is_flag=True,
    help='Accept an incomplete dataset. Its results say for example "12 of 1204" and have tables of their own.',
)


def all_options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Return a decorator that adds ``options`` to a command; ``--help`` shows them in this order."""

    def add(command: Command) -> Command:
        return functools.reduce(lambda so_far, option: option(so_far), reversed(options), command)

    return add


weights_option = all_options(
    click.option(
        "--weights",
        metavar="FILE",
        help="File with the weights of the model, its address (hf:// or https://, with a digest), or `shipped` for"
        " those of this package (see `zoo-bench list weights`).",
    ),
    trust_option,
)


def weights_given(model: str, weights: str | None, reporter: Reporter, *, trust: bool) -> str | Path | None:
    """Return the file that ``--weights`` names, downloaded if it is an address; None if the flag is not given."""
    if weights is None:
        return None
    from benchmark.selection import weights_file

    return weights_file(model, weights, trust=trust, reporter=reporter)


# What the files of a user's own data do not say.
own_data_options = all_options(
    click.option(
        "--pairs",
        metavar="RULE",
        help="For `pairs` and `raw-pairs`: how the name of a target follows from that of its input, e.g. '*_real.* ->"
        " *_mean.*'.",
    ),
    click.option("--cfa", help="For `raw-pairs`: colour filter array of the mosaics, e.g. RGGB."),
    click.option(
        "--black", type=float, metavar="COUNT", help="For `raw-pairs`: black level of the mosaics in counts, e.g. 64."
    ),
    click.option(
        "--white",
        type=float,
        metavar="COUNT",
        help="For `raw-pairs`: white level of the mosaics in counts, e.g. 1023. For `pairs`: that of 16-bit files that"
        " use fewer bits.",
    ),
    click.option("--raw-size", metavar="HxW", help="For `raw-pairs`: size of .raw files, which have no header."),
    click.option(
        "--scene",
        metavar="REGEX",
        help="For `pairs` and `raw-pairs`: finds in the name of an input which scene it shows, e.g. '^(scene[0-9]+)'."
        " Intervals and ranks are over scenes.  [default: each pair is a scene]",
    ),
)

# The noise of the dataset `awgn`, besides its level.
noise_options = all_options(
    click.option(
        "--gray",
        metavar="NAME",
        help="For `awgn`: makes gray pictures of colour ones, by `matlab` (as BSD68 of CBSD68) or `pillow`.",
    ),
    click.option("--clip", is_flag=True, help="For `awgn`: clip the noisy picture to [0, 1] and round it to 8 bits."),
    click.option(
        "--noise-seed", type=int, metavar="N", help="For `awgn`: seed of the noise of each picture.  [default: 0]"
    ),
)

# These describe a RAW mosaic, because its file does not contain these values.
raw_options = all_options(
    click.option("--cfa", default="RGGB", show_default=True, help="Colour filter array of a RAW mosaic."),
    click.option("--black", type=float, default=64.0, show_default=True, help="Black level of a RAW mosaic in counts."),
    click.option(
        "--white",
        type=float,
        metavar="COUNT",
        help="White level in counts.  [default: 1023 for a RAW mosaic, 65535 for 16-bit RGB]",
    ),
)
