"""``zoo-bench quantize``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from benchmark.cli.conditions import sigma_option
from benchmark.cli.options import (
    comma_separated,
    data_root_option,
    json_option,
    raw_options,
    set_option,
    weights_given,
    weights_option,
)
from benchmark.cli.printing import echo, print_placement, print_result, start


@click.command("quantize")
@click.argument("model")
@click.option(
    "-o",
    "--out",
    required=True,
    metavar="FILE.onnx|FILE.xml|FILE.pte",
    help="File to write: ONNX, OpenVINO's, or ExecuTorch's.",
)
@weights_option
@click.option(
    "--calibrate",
    required=True,
    metavar="DATASET|FOLDER",
    help="Images that give the ranges of the activations: a dataset, of which the train split is used, or a folder.",
)
@data_root_option
@click.option(
    "--images",
    type=click.IntRange(min=1),
    metavar="N",
    help="Number of images to calibrate with, spread over all; others examine the result.  [default: 32]",
)
@click.option(
    "--method",
    metavar="min-max|percentile=P",
    help="How ranges follow from the activations of these images.  [default: min-max]",
)
@click.option(
    "--float",
    "in_float",
    callback=comma_separated,
    metavar="OPERATION|LAYER,..",
    help="Operations or layers that stay in float32, by their names in ONNX, for example Gemm or head.2; for ExecuTorch"
    " operations by torch's names, such as linear.",
)
@click.option("--explain", is_flag=True, help="Also say what it loses with each layer in float32 in turn.")
@raw_options
@sigma_option
@set_option
@json_option
def quantize_command(
    model: str,
    out: str,
    cfa: str,
    black: float,
    white: float | None,
    raw_size: str | None,
    options: dict[str, str],
    **flags: Any,
) -> None:
    """Write MODEL with int8 weights and activations as ONNX, and say what it loses.

    Weights get one scale for each output channel, activations one for each tensor. The last layer and what follows it
    stay in float32. ONNX Runtime and OpenVINO run FILE.onnx; FILE.xml is written by NNCF for OpenVINO alone, and
    FILE.pte by torchao for ExecuTorch, for which the operators that XNNPACK leaves to slower kernels are listed.
    """
    reporter = start()
    from benchmark.running.inputs import Levels
    from benchmark.running.quantizing.quantize import quantize
    from benchmark.sensor import raw_size_of

    flags["weights"] = weights_given(model, flags["weights"], reporter, trust=flags.pop("trust"))
    levels = Levels(cfa, black, white, raw_size_of(raw_size))
    flags = {name: value for name, value in flags.items() if value is not None}
    print_result(quantize(model, out, options=options, levels=levels, reporter=reporter, **flags), _print_text)


def _print_text(document: Mapping[str, Any]) -> None:
    size, plain = document["bytes"], document["float_bytes"]
    format = "for ExecuTorch" if "placement" in document else "as ONNX"
    echo(f"wrote {document['file']} ({size / 1e6:.3f} MB; {format} in float32 {plain / 1e6:.3f} MB)")
    if "placement" in document:
        print_placement(document["placement"])
    calibration, examined = document["calibration"], document["examined"]
    echo(
        f"  calibrated  {calibration['images']} of {calibration['of']} images of {calibration['source']},"
        f" {calibration['method']}, digest {calibration['digest']}"
    )
    echo(f"  examined    {examined['images']} images: {_result(examined)}")
    for way, found in document["sensitivity"].items():
        if way != "as asked":
            echo(f"  {way:11} {_result(found)}")
    key = "loss_db" if "loss_db" in examined else "psnr_to_fp32"
    alone = sorted(document["with_one_layer_in_float"].items(), key=lambda one: one[1][key], reverse=key != "loss_db")
    for layer, found in alone:
        echo(f"  {layer} in float32: {_result(found)}")
    for note in document["notes"]:
        echo(f"note: {note}")


def _result(found: Mapping[str, float]) -> str:
    loss = f"loss {found['loss_db']:+.3f} dB, " if "loss_db" in found else ""
    return f"{loss}{found['psnr_to_fp32']:.2f} dB to the output in float32"
