"""Work on images of one's own: infer, score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from benchmark.cli.arguments import (
    comma_separated,
    echo,
    json_option,
    key_values,
    parse_tile,
    print_json,
    seed_of,
    set_option,
    start,
    white_option,
)
from benchmark.cli.machine import backend_option, given_conditions, parse_limit, precision_option


@click.command()
@click.argument("model")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("-o", "--out", required=True, metavar="DIR", help="Where the outputs go, under the inputs' names.")
@click.option("--weights", metavar="FILE", help="Weights of the model.")
@click.option("--cfa", default="RGGB", show_default=True, help="Colour filter array of a RAW PNG.")
@click.option("--black", type=float, default=64.0, show_default=True, help="Black level of a RAW PNG in counts.")
@click.option(
    "--white",
    type=float,
    metavar="COUNT",
    help="White level in counts.  [default: 1023 for a RAW mosaic, 65535 for RGB of 16 bits]",
)
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
def infer(
    ctx: click.Context, model: str, inputs: tuple[str, ...], out: str, settings: tuple[str, ...], **flags: Any
) -> None:
    """Run MODEL on images: PNG (RAW mosaic or RGB) or .npy, float32 (N, C, H, W) for the bare network."""
    reporter = start(ctx)
    from benchmark.host import machine
    from benchmark.running.inference import infer as run_on

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
    options = key_values("--set", settings, "KEY=VALUE")
    for path in run_on(model, inputs, out, options=options, seed=seed_of(ctx), reporter=reporter, **flags):
        echo(str(path))


@click.command()
@click.argument("output_dir")
@click.argument("target_dir")
@click.option("--protocol", default="zrr", show_default=True, help="Whose metrics: zrr or sidd.")
@click.option("--all", "all_metrics", is_flag=True, help="Every metric id.")
@click.option("--metrics", metavar="ID,..", help="These metric ids.")
@white_option
@click.option("--shift-plot", metavar="FILE.png", help="A histogram of the shifts that the aligned ids find.")
@json_option
@click.pass_context
def score(
    ctx: click.Context,
    output_dir: str,
    target_dir: str,
    protocol: str,
    all_metrics: bool,
    metrics: str | None,
    white: float | None,
    shift_plot: str | None,
    as_json: bool,
) -> None:
    """Score the images in OUTPUT_DIR against those in TARGET_DIR, paired by stem: RGB, each at its own 8 or 16 bits."""
    reporter = start(ctx, as_json=as_json)
    from benchmark.replacing import refuse_inputs
    from benchmark.scoring.folders import score as compare

    refuse_inputs(
        f"--shift-plot {shift_plot}", [shift_plot], [*Path(output_dir).glob("*"), *Path(target_dir).glob("*")]
    )
    document = compare(
        output_dir,
        target_dir,
        protocol=protocol,
        all_metrics=all_metrics,
        metrics=comma_separated(metrics),
        white=white,
        reporter=reporter,
    )
    if shift_plot:
        _plot_shifts(Path(shift_plot), document)
    if as_json:
        print_json(ctx, document)
    else:
        _print_scores(document)


def _print_scores(document: dict[str, Any]) -> None:
    echo(f"{document['n']} images")
    for id, value in document["scores"].items():
        part = document.get("infinite", {}).get(id)
        finite = (
            "" if part is None else f" ({part['n_inf']} of {document['n']} images; {_mean_of(part)} over the others)"
        )
        echo(f"{id:40} {'-' if value is None else f'{value:.6f}'}{finite}")
    shifts = [max(map(abs, image["shift"].values())) for image in document["per_image"] if "shift" in image]
    if shifts:
        echo(f"{sum(shift > 0 for shift in shifts)} images shifted, by up to {max(shifts):.2f} pixels")


def _mean_of(part: dict[str, Any]) -> str:
    return "-" if part["finite_mean"] is None else f"{part['finite_mean']:.6f}"


def _plot_shifts(path: Path, document: dict[str, Any]) -> None:
    from benchmark.imaging.alignment import Shift
    from benchmark.imaging.shift_plots import save_shift_histogram

    shifts = [Shift(**image["shift"]) for image in document["per_image"] if "shift" in image]
    if not shifts:
        raise click.UsageError("--shift-plot: no shifts were searched; give --all or an aligned id by --metrics.")
    save_shift_histogram(path, "Shifts of the outputs against their targets", shifts)
