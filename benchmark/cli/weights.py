"""``zoo-bench weights``: import, deploy, card."""

from __future__ import annotations

import click

from benchmark.cli.options import set_option, trust_option, weights_given
from benchmark.cli.printing import echo, start


@click.group("weights")
def weights_command() -> None:
    """Convert files of weights, and describe them."""


@weights_command.command("import")
@click.argument("model")
@click.argument("checkpoint")
@click.option("-o", "--out", required=True, metavar="FILE.safetensors", help="File to write.")
@click.option(
    "--take", metavar="NAME", help="Name of the weights to take if CHECKPOINT holds several, e.g. state_dict_ema."
)
@click.option(
    "--try-on",
    metavar="PICTURE",
    help="Picture (RGB) on which to try the scale and the order of planes of the input, in place of a synthetic one.",
)
@trust_option
@set_option
def weights_import(
    model: str, checkpoint: str, out: str, take: str | None, try_on: str | None, trust: bool, options: dict[str, str]
) -> None:
    """Convert an official CHECKPOINT of MODEL to safetensors.

    CHECKPOINT is a file or its address (see `zoo-bench list weights`). Every key and every shape must fit. A pickle may
    hold only tensors. Of a TensorFlow checkpoint give NAME.index. Of a
    network with a training form and a deploy form either is taken, and the deploy form is written; --set form=training
    keeps the training form.

    Published files are known by their digest, and so are their options. Others are tried on a picture, and a line warns
    if they look as if they were trained on another scale or order of planes.
    """
    reporter = start()
    from benchmark.importing import import_weights

    source = weights_given(model, checkpoint, reporter, trust=trust) or checkpoint
    metadata = import_weights(model, source, out, options=options, take=take, try_on=try_on, reporter=reporter)
    echo(f"wrote {out} ({metadata['evidence']}, sha256 of the source {metadata['source_sha256'][:16]})")


@weights_command.command("deploy")
@click.argument("file")
@click.option("-o", "--out", required=True, metavar="OUT.safetensors", help="File to write.")
def weights_deploy(file: str, out: str) -> None:
    """Convert trained weights in FILE from the training form of their network to its deploy form.

    The outputs stay the same. Metadata such as recipe and seed are kept. Other commands also take FILE as it is.
    """
    reporter = start()
    from benchmark.importing import deploy_weights

    metadata = deploy_weights(file, out, reporter=reporter)
    echo(f"wrote {out} (deploy form of {metadata['model']}, sha256 of the source {metadata['source_sha256'][:16]})")


@weights_command.command("card")
@click.argument("file")
@click.option(
    "-o", "--out", metavar="CARD.md", help="File to write.  [default: README.md beside FILE, if there is none yet]"
)
@click.option("--licence", metavar="ID", help="Licence of the weights, by its id on the hub, e.g. apache-2.0.")
def weights_card(file: str, out: str | None, licence: str | None) -> None:
    """Write a model card for FILE, in the form of the Hugging Face Hub.

    It says what FILE's metadata say: model, options, recipe, seed, data, and scores on held-out images.
    """
    start()
    from benchmark.modelcard import write_model_card

    echo(f"wrote {write_model_card(file, out, licence=licence)}")
