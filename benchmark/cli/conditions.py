"""The options that say how a network runs, and the parsing of their values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import click

from benchmark.cli.options import all_options
from zoo.errors import UserError, shortened

_UNITS = {"": 1, "B": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}
_UNITS |= {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def parse_bytes(text: str) -> int:
    """Return 4GiB, 512MiB, 1.5GB or plain bytes as a number of bytes."""
    # Sixteen digits already make petabytes.
    match = re.fullmatch(r"([0-9]{1,16}(?:\.[0-9]{1,16})?)\s*([A-Z]*)", text.strip().upper())
    unit = _UNITS.get(match[2]) if match else None
    if match is None or unit is None or not float(match[1]):
        raise UserError(
            f"--memory-limit {shortened(text)}: expected a size, for example 4GiB, 512MiB or a number of bytes."
        )
    return int(float(match[1]) * unit)


TILE_HELP = (
    "Run large images in pieces, with the output of the whole image: auto chooses the pieces, HxW gives their size in"
    " pixels of the network's input, off turns it off."
)
backend_option = click.option(
    "--backend",
    type=click.Choice(["torch", "onnxruntime", "openvino", "executorch"]),
    help="Engine that runs the network; zoo-bench[onnx], [openvino] and [executorch] install the others."
    "  [default: torch]",
)
memory_limit_option = click.option(
    "--memory-limit",
    callback=lambda ctx, parameter, text: text and parse_bytes(text),
    metavar="SIZE",
    help="Most resident memory that a process may take: 4GiB, 512MiB or a number of bytes.",
)
precision_option = click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "int8"]),
    help="Precision of the inputs and weights; int8 needs an engine.  [default: fp32]",
)


calibrate_option = click.option(
    "--calibrate",
    metavar="DATASET|FOLDER[,METHOD][,N]",
    help="With --precision int8: the images that give the ranges, of a dataset's train split or of a folder, with"
    " min-max or percentile=P.  [default: in `run` the dataset's own, min-max, 32 images]",
)
sigma_option = click.option(
    "--sigma",
    metavar="SIGMA|estimate",
    help="Standard deviation of the noise on the scale of 8-bit values, e.g. 25, or `estimate`: what networks are told"
    " that take the level of the noise, and on `awgn` the noise that is added.",
)


exact_kernels_option = click.option(
    "--exact-kernels",
    is_flag=True,
    help="With --tile auto: run the network's own operators, and do not join convolutions with what follows them, which"
    " changes outputs by up to 1e-5 of the largest.",
)


# The options for how a network runs while it is measured.
condition_options = all_options(
    click.option(
        "--threads",
        type=click.IntRange(min=1),
        metavar="N",
        help="Number of CPU threads for one model.  [default: as torch chooses]",
    ),
    click.option(
        "--time-limit",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        help="Longest time that one model may take for its images, and again for its timing at each size.",
    ),
    memory_limit_option,
    precision_option,
    calibrate_option,
    click.option(
        "--channels-last", is_flag=True, help="Use the channels-last memory format for the inputs and weights."
    ),
    backend_option,
    click.option("--tile", metavar="auto|HxW|off", help=f"{TILE_HELP}  [default: off]"),
    click.option(
        "--approximate",
        is_flag=True,
        help="With --tile HxW: also tile a network that sees the whole image, and record the error at the seams.",
    ),
    exact_kernels_option,
    click.option("--device", type=click.Choice(["cpu", "cuda"]), help="Device that runs the network.  [default: cpu]"),
)


def given_conditions(flags: dict[str, Any], suite: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Take conditions and limits out of a command's ``flags``; values that are missing there come from the suite.

    Returns the arguments ``conditions`` and ``limits`` of the functions that measure.
    """
    from benchmark.conditions import Conditions, Limits

    given = {name: flags.pop(name, None) for name in (*Conditions.model_fields, "time_limit", "memory_limit")}
    values = {**(suite or {}), **{name: value for name, value in given.items() if value not in (None, False)}}
    limit = values.get("memory_limit")
    limits = Limits(parse_bytes(limit) if isinstance(limit, str) else limit, values.get("time_limit"))
    conditions = {name: value for name, value in values.items() if name in Conditions.model_fields}
    return {"conditions": Conditions(**conditions), "limits": limits}
