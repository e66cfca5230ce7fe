"""Look at what is registered and what it costs: list, show, profile."""

from __future__ import annotations

import click

from benchmark.cli.arguments import json_option, key_values, parse_size, print_json, set_option, start


@click.command("list")
@click.argument("what", type=click.Choice(["models", "datasets", "metrics", "profilers", "recipes"]))
@json_option
@click.pass_context
def list_command(ctx: click.Context, what: str, as_json: bool) -> None:
    """List what is registered."""
    start(ctx, as_json=as_json)
    from benchmark.catalogue import catalogue

    rows = catalogue(what)
    if as_json:
        print_json(ctx, rows)
        return
    for row in rows:
        click.echo(f"{row['name']:32} {row.get('summary', '')}".rstrip())


@click.command()
@click.argument("model")
@json_option
@click.pass_context
def show(ctx: click.Context, model: str, as_json: bool) -> None:
    """Print the card of MODEL: input convention, parameters, paper, licence, differences."""
    start(ctx, as_json=as_json)
    from benchmark.catalogue import card_document, card_text

    if as_json:
        print_json(ctx, card_document(model))
    else:
        click.echo(card_text(model))


@click.command()
@click.argument("model")
@click.option(
    "--size",
    callback=parse_size,
    metavar="HxW",
    help="Size of the planes the network receives; default: its dataset's patch.",
)
@click.option("--layers", is_flag=True, help="MACs per layer.")
@set_option
@json_option
@click.pass_context
def profile(
    ctx: click.Context, model: str, size: tuple[int, int] | None, layers: bool, settings: tuple[str, ...], as_json: bool
) -> None:
    """Print what MODEL costs at a size, without running it."""
    start(ctx, as_json=as_json)
    from benchmark.catalogue import profile_text
    from benchmark.profiling import profile as measure

    document = measure(model, size=size, options=key_values("--set", settings, "KEY=VALUE"), layers=layers)
    if as_json:
        print_json(ctx, document)
    else:
        click.echo(profile_text(document))
