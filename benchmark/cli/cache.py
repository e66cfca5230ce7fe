"""``zoo-bench cache``: list, clear."""

from __future__ import annotations

import click

from benchmark.cli.options import json_option
from benchmark.cli.printing import echo, print_json
from benchmark.cli.starting import start
from benchmark.units import size_text


@click.group("cache")
def cache_group() -> None:
    """See and clear what the tool keeps to be faster: nothing there is a result."""


@cache_group.command("list")
@json_option
@click.pass_context
def cache_list(ctx: click.Context, as_json: bool) -> None:
    """Print the folder, and each part with its size."""
    start(ctx, as_json=as_json)
    from benchmark.cache import PARTS, cache_root

    sizes = {part.name: part.size() for part in PARTS}
    if as_json:
        print_json(ctx, {"folder": str(cache_root()), "bytes": sizes})
        return
    echo(cache_root())
    for part in PARTS:
        echo(f"  {part.name:11} {size_text(sizes[part.name]):>10}  {part.meaning}")


@cache_group.command("clear")
@click.argument("parts", nargs=-1, metavar="[PART...]")
@click.pass_context
def cache_clear(ctx: click.Context, parts: tuple[str, ...]) -> None:
    """Remove the named PARTs (see `cache list`), or all of them; not while a run uses them."""
    start(ctx)
    from benchmark.cache import clear

    for name, size in clear(parts).items():
        echo(f"removed {name}: {size_text(size)}")
