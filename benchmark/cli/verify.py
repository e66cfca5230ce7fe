"""``zoo-bench verify``."""

from __future__ import annotations

from typing import Any

import click

from benchmark.cli.options import (
    json_option,
    mapping_option,
    parse_size,
    set_option,
    weights_given,
    weights_option,
)
from benchmark.cli.printing import given_seed, print_result, start, verbosity
from zoo.errors import UserError, shortened


def _range(ctx: click.Context, parameter: click.Parameter, text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        low = high = 0.0
    if not float("-inf") < low < high < float("inf"):
        raise UserError(f"{parameter.opts[0]} {shortened(text)}: expected LOW,HIGH, for example -1,1.")
    return low, high


@click.command("verify")
@click.argument("model")
@click.option(
    "--against",
    required=True,
    metavar="MODULE:CLASS",
    help="Your copy of the official class: MODULE:CLASS seen from this folder, or path/to/file.py:CLASS; also a"
    " function that returns the network.",
)
@mapping_option("--init", "init", "Give an argument to the class (repeatable).", metavar="NAME=VALUE")
@set_option
@weights_option
@click.option("--take", metavar="NAME", help="Name of the weights to take if the file holds several.")
@mapping_option(
    "--map",
    "renames",
    "Say how names of weights in the class begin in MODEL, as with net.body.=body. (repeatable).",
    metavar="THEIRS=OURS",
)
@click.option("--output", metavar="INDEX|NAME", help="Where the image is in what the class returns, e.g. 0 or out.rgb.")
@click.option("--noise", is_flag=True, help="The class returns the noise: the image is its input minus that.")
@click.option("--input-range", callback=_range, metavar="LOW,HIGH", help="Range of the class's input.")
@click.option("--output-range", callback=_range, metavar="LOW,HIGH", help="Range of the class's output.")
@click.option(
    "--size",
    callback=parse_size,
    metavar="HxW",
    help="Compare at this size of the planes, for a class that needs a larger one.  [default: three small sizes]",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0, min_open=True),
    metavar="X",
    help="Largest difference that is not one, relative to the largest value.  [default: 1e-6 in float64, where weights"
    " were converted 1e-5; in float32 1e-4]",
)
@json_option
def verify_command(
    model: str,
    against: str,
    init: dict[str, str],
    size: tuple[int, int] | None,
    tolerance: float | None,
    **flags: Any,
) -> None:
    """Run your own copy of MODEL's official class beside MODEL, and say where they first differ.

    Both get the same weights: those of a file, or random ones. Names of weights may differ. The exit status is 0 if
    both return the same, 1 if not.
    """
    reporter = start()
    from benchmark.verifying.messages import Convention, Request
    from benchmark.verifying.session import verify
    from benchmark.verifying.text import verdict_text

    file = weights_given(model, flags.pop("weights"), reporter, trust=flags.pop("trust"))
    convention = Convention(**{name: flags.pop(name) for name in Convention.model_fields})
    found = verify(
        Request(
            model=model,
            against=against,
            init=init,
            convention=convention,
            size=size,
            tolerance=tolerance,
            weights=None if file is None else str(file),
            seed=given_seed() or 0,
            **flags,
        ),
        reporter,
    )
    print_result(found.model_dump(mode="json"), verdict_text(found, details=verbosity() > 0))
    if not found.agrees:
        raise click.exceptions.Exit(1)
