"""``zoo-bench show``."""

from __future__ import annotations

import click

from benchmark.cli.options import json_option
from benchmark.cli.printing import print_result, start


@click.command("show")
@click.argument("model")
@json_option
def show_command(model: str) -> None:
    """Show the card of MODEL: input, parameters, paper, licence."""
    start()
    from benchmark.catalogue import card_document, card_text

    print_result(card_document(model), card_text(model))
