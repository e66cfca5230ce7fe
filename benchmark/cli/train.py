"""``zoo-bench train``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from benchmark.cli.errors import EXIT_INTERRUPTED
from benchmark.cli.options import json_option, mapping_option, partial_option, white_option
from benchmark.cli.printing import echo, print_result
from benchmark.cli.starting import start


@click.command("train")
@click.argument("recipe", metavar="RECIPE.yaml")
@mapping_option(
    "--set",
    "settings",
    "Replace a key of the recipe, e.g. lr=3e-4 or schedule.floor=1e-6 (repeatable).",
    expected="KEY=VALUE, a key of the recipe",
)
@white_option
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
@click.pass_context
def train_command(
    ctx: click.Context,
    recipe: str,
    settings: dict[str, str],
    white: float | None,
    out: str | None,
    resume: bool,
    partial: bool,
) -> None:
    """Train a model with a recipe.

    RECIPE.yaml is a file, or the name of a recipe that `zoo-bench list recipes` shows.
    """
    reporter = start(ctx)
    from benchmark.config import parse_value
    from benchmark.training.divergence import DivergedError
    from benchmark.training.loop import train

    overrides: dict[str, Any] = {key: parse_value(value) for key, value in settings.items()}
    if white is not None:
        overrides["white"] = white
    if partial:
        overrides["partial"] = True
    if ctx.obj["seed"] is not None:
        overrides["seed"] = ctx.obj["seed"]
    try:
        document = train(recipe, out, overrides=overrides, resume=resume, reporter=reporter)
    except DivergedError as error:
        echo(f"zoo-bench: {error}", err=True)
        ctx.exit(1)
    except KeyboardInterrupt:
        reporter.note("interrupted; the same command with --resume continues from the last checkpoint.")
        ctx.exit(EXIT_INTERRUPTED)
    if document["process"] == 0:
        print_result(ctx, document, _print_summary)


def _print_summary(document: Mapping[str, Any]) -> None:
    scores = document["scores"].get("scores", {})
    reached = "".join(f", {id} {value:.4f}" for id, value in scores.items() if isinstance(value, float))
    echo(f"{document['model']}: {document['steps']} steps{reached}")
    for name in ("weights", "curves", "log"):
        echo(f"{name:8} {document[name]}")
