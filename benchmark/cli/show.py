"""``zoo-bench show``."""

from __future__ import annotations

import click

from benchmark.cli.options import json_option
from benchmark.cli.printing import echo_lines, print_result
from benchmark.cli.starting import start


@click.command("show")
@click.argument("model")
@json_option
@click.pass_context
def show_command(ctx: click.Context, model: str) -> None:
    """Show the card of MODEL: input, parameters, paper, licence."""
    start(ctx)
    from benchmark.catalogue import card_document, card_text

    print_result(ctx, card_document(model), lambda document: echo_lines(card_text(model)))
