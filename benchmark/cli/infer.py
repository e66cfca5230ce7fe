"""``zoo-bench infer``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from benchmark.cli.conditions import (
    TILE_HELP,
    backend_option,
    calibrate_option,
    exact_kernels_option,
    given_conditions,
    memory_limit_option,
    precision_option,
    sigma_option,
)
from benchmark.cli.options import json_option, raw_options, set_option, weights_given, weights_option
from benchmark.cli.printing import echo, given_seed, print_result, start, wants_json


@click.command("infer")
@click.argument("model")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT|FOLDER...")
@click.option("-o", "--out", required=True, metavar="DIR", help="Folder for the outputs, named after the inputs.")
@weights_option
@click.option(
    "--random-weights",
    is_flag=True,
    help="Run a network without trained weights; its output means nothing. Only a plug-in's network runs on arrays"
    " without this flag.",
)
@raw_options
@sigma_option
@click.option("--tile", metavar="auto|HxW|off", help=f"{TILE_HELP}  [default: auto; off in int8]")
@memory_limit_option
@click.option(
    "--approximate",
    is_flag=True,
    help="Also tile a network that sees the whole image, and measure the error at the seams.",
)
@exact_kernels_option
@click.option(
    "--freeze-filters", is_flag=True, help="For hyper-networks: use the filters of the first image for all images."
)
@click.option(
    "--mlp-precision",
    type=click.Choice(["fp32", "bf16"]),
    default="fp32",
    show_default=True,
    help="For hyper-networks: precision in which the filters are predicted.",
)
@backend_option
@precision_option
@calibrate_option
@set_option
@json_option
def infer_command(model: str, inputs: tuple[str, ...], out: str, options: dict[str, str], **flags: Any) -> None:
    """Run MODEL on images of your own, of any size.

    An INPUT is a RAW mosaic, an RGB or a gray picture (PNG, JPEG or TIFF), whichever the model takes, or a .npy file: a
    float32 array (N, C, H, W) that the network receives without any change. Mosaics are also .raw files without a
    header, .npy files of whole numbers (H, W) and, with rawpy, DNG. Of a folder, all files that the model could take
    are run.
    """
    reporter = start()
    from benchmark.running.inference import infer

    flags["weights"] = weights_given(model, flags["weights"], reporter, trust=flags.pop("trust"))
    sigma = flags.pop("sigma")
    flags["tile"] = flags["tile"] or ("off" if flags["precision"] == "int8" else "auto")
    how = given_conditions(flags)
    flags |= {"conditions": how["conditions"], "memory_limit": how["limits"].memory_bytes, "sigma": sigma}
    flags |= {"options": options, "seed": given_seed() or 0, "reporter": reporter, "own_process": True}
    outputs: list[dict[str, str]] = []

    def written(file: Path, path: Path) -> None:
        outputs.append({"input": str(file), "output": str(path)})
        if not wants_json():
            echo(str(path))

    infer(model, inputs, out, **flags, written=written)
    weights = flags["weights"] and str(flags["weights"])
    document = {"model": model, "options": options, "weights": weights, "outputs": outputs}
    print_result(document, lambda _: None)
