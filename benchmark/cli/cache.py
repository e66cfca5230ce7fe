"""``zoo-bench cache``: list, clear."""

from __future__ import annotations

from typing import Any

import click

from benchmark.cli.options import json_option
from benchmark.cli.printing import echo, print_result, start
from benchmark.units import size_text


@click.group("cache")
def cache_command() -> None:
    """Show or remove the files that are kept only to save time.

    None of them is a result.
    """


@cache_command.command("list")
@json_option
def cache_list() -> None:
    """Print the folder of the cache, and its parts with their sizes."""
    start()
    from benchmark.cache import PARTS, cache_root

    def print_text(document: dict[str, Any]) -> None:
        echo(document["folder"])
        for part in PARTS:
            echo(f"  {part.name:11} {size_text(document['bytes'][part.name]):>10}  {part.meaning}")

    document = {"folder": str(cache_root()), "bytes": {part.name: part.size() for part in PARTS}}
    print_result(document, print_text)


@cache_command.command("clear")
@click.argument("parts", nargs=-1, metavar="[PART...]")
def cache_clear(parts: tuple[str, ...]) -> None:
    """Remove the named PARTs of the cache, or all of them.

    `zoo-bench cache list` names the parts. Wait until no run is using them.
    """
    start()
    from benchmark.cache import clear

    for name, size in clear(parts).items():
        echo(f"removed {name}: {size_text(size)}")
