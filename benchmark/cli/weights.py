"""``zoo-bench weights``: import."""

from __future__ import annotations

import click

from benchmark.cli.options import set_option
from benchmark.cli.printing import echo, start


@click.group("weights")
def weights_command() -> None:
    """Convert the weights of official checkpoints."""


@weights_command.command("import")
@click.argument("model")
@click.argument("checkpoint")
@click.option("-o", "--out", required=True, metavar="FILE.safetensors", help="File to write.")
@click.option(
    "--take", metavar="NAME", help="Name of the weights to take if CHECKPOINT holds several, e.g. state_dict_ema."
)
@set_option
def weights_import(model: str, checkpoint: str, out: str, take: str | None, options: dict[str, str]) -> None:
    """Convert an official CHECKPOINT of MODEL to safetensors.

    Every key and every shape must fit. A pickle may hold only tensors.
    """
    reporter = start()
    from benchmark.importing import import_weights

    metadata = import_weights(model, checkpoint, out, options=options, take=take, reporter=reporter)
    echo(f"wrote {out} ({metadata['evidence']}, sha256 of the source {metadata['source_sha256'][:16]})")
