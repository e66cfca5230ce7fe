"""``zoo-bench train``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from benchmark.cli.errors import EXIT_INTERRUPTED
from benchmark.cli.options import json_option, mapping_option, partial_option
from benchmark.cli.printing import echo, given_seed, print_result, start


@click.command("train")
@click.argument("recipe", metavar="RECIPE.yaml")
@mapping_option(
    "--set",
    "settings",
    "Replace a key of the recipe, e.g. lr=3e-4 or schedule.floor=1e-6 (repeatable).",
    expected="KEY=VALUE, a key of the recipe",
)
@click.option(
    "--white",
    type=float,
    metavar="COUNT",
    help="Replace the key white: of `pairs` the white level of 16-bit files that use fewer bits, e.g. 1023; of"
    " `raw-pairs` that of the mosaics.",
)
@click.option(
    "-o",
    "--out",
    metavar="DIR",
    help="Folder for weights, checkpoint, log, curves and samples.  [default: runs/RECIPE]",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Continue from the checkpoint in the folder; start from the beginning if there is none.",
)
@partial_option
@json_option
def train_command(
    recipe: str, settings: dict[str, str], white: float | None, out: str | None, resume: bool, partial: bool
) -> None:
    """Train a model with a recipe.

    RECIPE.yaml is a file, or the name of a recipe that `zoo-bench list recipes` shows.
    """
    reporter = start()
    from benchmark.config import parse_value
    from benchmark.training.divergence import DivergedError
    from benchmark.training.loop import train

    flags = {"white": white, "partial": partial or None, "seed": given_seed()}
    overrides: dict[str, Any] = {key: parse_value(value) for key, value in settings.items()}
    overrides |= {key: value for key, value in flags.items() if value is not None}
    try:
        document = train(recipe, out, overrides=overrides, resume=resume, reporter=reporter)
    except DivergedError as error:
        echo(f"zoo-bench: {error}", err=True)
        raise click.exceptions.Exit(1) from None
    except KeyboardInterrupt:
        reporter.note("interrupted; the same command with --resume continues from the last checkpoint.")
        raise click.exceptions.Exit(EXIT_INTERRUPTED) from None
    if document["process"] == 0:
        print_result(document, _print_summary)


def _print_summary(document: Mapping[str, Any]) -> None:
    scores = document["scores"].get("scores", {})
    reached = "".join(f", {id} {value:.4f}" for id, value in scores.items() if isinstance(value, float))
    echo(f"{document['model']}: {document['steps']} steps{reached}")
    for name in ("weights", "curves", "log"):
        echo(f"{name:8} {document[name]}")
