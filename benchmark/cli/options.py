"""Options that several commands take, and the parsing of their values."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from benchmark.cli.printing import JSON
from benchmark.units import MAX_SEED, MAX_SIDE, size_of
from zoo.errors import UserError, shortened

if TYPE_CHECKING:
    from benchmark.reporting import Reporter

_SIZES = ("dataset", "1mpix", "12mp")
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


def _named_size(ctx: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, int] | str | None:
    """Return the value of ``--size`` as (height, width), or a name as it is: the model decides what that means."""
    if text is None or text.lower() in _SIZES:
        return text and text.lower()
    if size_of(text) is None:
        raise UserError(
            f"--size {shortened(text)}: expected HxW, for example 224x224, each 1 to {MAX_SIDE}, or"
            f" {', '.join(_SIZES)}."
        )
    return size_of(text)


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
    callback=_named_size,
    metavar="HxW|NAME",
    help="Size of the planes that the network receives, or dataset, 1mpix or 12mp, as `run --sizes` names them."
    "  [default: dataset]",
)
address_option = click.option(
    "--address", metavar="ADDR", help="Address of the Ray cluster.  [default: a new one on this machine]"
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


def _keep(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Keep the value of an option that may stand before the verb, after it, or both."""
    given = ctx.ensure_object(dict)  # that of the group, also for a verb
    name = str(parameter.name)
    if name == "seed":
        given[name] = given.get(name) if value is None else value
    else:
        given[name] = given.get(name, type(value)()) + value


# The options of the group: each verb takes them too.
common_options = all_options(
    click.option(
        "--plugin",
        "plugins",
        multiple=True,
        metavar="FILE.py",
        expose_value=False,
        callback=_keep,
        help="Python file that registers models, datasets, metrics or losses of your own (repeatable).",
    ),
    click.option(
        "--seed",
        type=click.IntRange(0, MAX_SEED),
        default=None,
        metavar="N",
        expose_value=False,
        callback=_keep,
        help="Seed of untrained networks and of all other random draws.  [default: 0]",
    ),
    click.option(
        "-v",
        "--verbose",
        count=True,
        expose_value=False,
        callback=_keep,
        help="Print more details: how large images run and why, the memory of a step, which records are there already.",
    ),
    click.option("-q", "--quiet", is_flag=True, expose_value=False, callback=_keep, help="Print only errors."),
)


def with_common_options(command: click.Command) -> click.Command:
    """Let a verb, and the verbs in it, take the options of the group, unless it has such an option of its own."""
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            with_common_options(inner)
    taken = {flag for parameter in command.params for flag in parameter.opts}
    verb = common_options(click.Command(None))
    command.params += [parameter for parameter in reversed(verb.params) if not taken & {*parameter.opts}]
    return command


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
    click.option("--raw-size", metavar="HxW", help="Size of a .raw file, which has no header: 16-bit counts."),
)
