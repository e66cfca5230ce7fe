"""``zoo-bench infer``."""

from __future__ import annotations

from typing import Any

import click

from benchmark.cli.conditions import backend_option, given_conditions, parse_limit, parse_tile, precision_option
from benchmark.cli.options import raw_options, set_option, weights_option
from benchmark.cli.printing import echo
from benchmark.cli.starting import seed_of, start


@click.command("infer")
@click.argument("model")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("-o", "--out", required=True, metavar="DIR", help="Where the outputs go, under the inputs' names.")
@weights_option
@raw_options
@click.option(
    "--tile",
    callback=parse_tile,
    default="auto",
    show_default=True,
    metavar="auto|HxW|off",
    help="Run large images piece by piece, with the same output; HxW in pixels that the network receives.",
)
@click.option(
    "--memory-limit", callback=parse_limit, metavar="SIZE", help="Resident memory allowed: 4GiB, 512MiB, bytes."
)
@click.option("--approximate", is_flag=True, help="Tile networks that see the whole image too; measures the seams.")
@click.option("--freeze-filters", is_flag=True, help="Hyper-networks: use the first image's filters for all.")
@click.option(
    "--mlp-precision",
    type=click.Choice(["fp32", "bf16"]),
    default="fp32",
    show_default=True,
    help="Hyper-networks: precision in which filters are predicted.",
)
@backend_option
@precision_option
@set_option
@click.pass_context
def infer_command(
    ctx: click.Context, model: str, inputs: tuple[str, ...], out: str, options: dict[str, str], **flags: Any
) -> None:
    """Run MODEL on images: PNG (RAW mosaic or RGB) or .npy, float32 (N, C, H, W) for the bare network."""
    reporter = start(ctx)
    from benchmark.host import machine
    from benchmark.running.inference import infer

    # Tiles and the limit on them are arguments of their own here.
    names = ("backend", "precision")
    flags["conditions"] = given_conditions({name: flags.pop(name) for name in names})["conditions"]
    # This process is the command's own: tiles take the same memory again and again. What lies freed in the heap would
    # be up to four times what lives, more than a limit foresees: `python speed/memory.py --tiles`.
    if flags["memory_limit"] is None:
        machine.keep_free_memory()
    else:
        machine.give_large_blocks_back()
    machine.use_one_heap()
    for path in infer(model, inputs, out, options=options, seed=seed_of(ctx), reporter=reporter, **flags):
        echo(str(path))
