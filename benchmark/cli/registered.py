"""Look at what is registered and what it costs: list, show, profile."""

from __future__ import annotations

from typing import Any

import click

from benchmark.cli.arguments import (
    echo,
    echo_lines,
    json_option,
    key_values,
    parse_size,
    print_json,
    seed_of,
    set_option,
    start,
)
from benchmark.cli.machine import condition_options, given_conditions
from zoo.errors import UserError


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
        echo(f"{row['name']:32} {row.get('summary', '')}".rstrip())


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
        echo_lines(card_text(model))


@click.command()
@click.argument("model")
@click.option(
    "--size",
    callback=parse_size,
    metavar="HxW",
    help="Size of the planes the network receives; default: its dataset's patch.",
)
@click.option("--layers", is_flag=True, help="MACs per layer.")
@click.option("--audit", is_flag=True, help="What other counters say, and why; runs the network on a small image.")
@click.option("--measure", "measured", is_flag=True, help="Also run it: latency and memory, in processes of their own.")
@condition_options
@set_option
@json_option
@click.pass_context
def profile(
    ctx: click.Context,
    model: str,
    size: tuple[int, int] | None,
    layers: bool,
    audit: bool,
    measured: bool,
    settings: tuple[str, ...],
    as_json: bool,
    **flags: Any,
) -> None:
    """Print what MODEL costs at a size; without --measure it is not run."""
    reporter = start(ctx, as_json=as_json)
    from benchmark.catalogue import profile_text
    from benchmark.costs.profiling import profile as measure

    options = key_values("--set", settings, "KEY=VALUE")
    if not measured and (idle := [name for name in ("tile", "approximate") if flags[name]]):
        raise UserError(f"profile: --{idle[0]} says how the network runs; add --measure.")
    how = given_conditions(flags)
    document = measure(model, size=size, options=options, layers=layers, audit=audit)
    if measured:
        from benchmark.timing.session import measure_profiled
        from benchmark.timing.text import measured_text

        found = measure_profiled(document, **how, seed=seed_of(ctx), reporter=reporter)
        document |= found.model_dump(mode="json")
    if as_json:
        print_json(ctx, document)
    else:
        echo_lines(profile_text(document))
        if measured:
            echo_lines(measured_text(found))
