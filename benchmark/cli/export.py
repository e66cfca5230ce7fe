"""``zoo-bench export``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from benchmark.cli.options import (
    json_option,
    raw_options,
    set_option,
    size_option,
    weights_given,
    weights_option,
)
from benchmark.cli.printing import echo, given_seed, print_result, start
from benchmark.units import shape_text


@click.command("export")
@click.argument("model")
@click.option("-o", "--out", required=True, metavar="FILE.onnx", help="ONNX file to write.")
@size_option
@weights_option
@click.option(
    "--opset", type=click.IntRange(min=18), metavar="N", help="Version of the ONNX operator set.  [default: 20]"
)
@click.option(
    "--dynamic", is_flag=True, help="Leave the height and the width of the input open, if the network allows it."
)
@click.option(
    "--freeze",
    metavar="IMAGE",
    help="For hyper-networks: write one graph, with the filters that are predicted from this image.",
)
@raw_options
@set_option
@json_option
def export_command(
    model: str,
    out: str,
    cfa: str,
    black: float,
    white: float | None,
    raw_size: str | None,
    options: dict[str, str],
    **flags: Any,
) -> None:
    """Write MODEL as ONNX, and compare it with PyTorch.

    The exit status is 1 if ONNX Runtime and PyTorch disagree. A hyper-network becomes two files: FILE.filters.onnx
    (image to filters) and FILE.onnx (image and filters to image).
    """
    reporter = start()
    from benchmark.running.exporting import export
    from benchmark.running.inputs import Levels
    from benchmark.sensor import raw_size_of

    flags["weights"] = weights_given(model, flags["weights"], reporter, trust=flags.pop("trust"))
    levels = Levels(cfa, black, white, raw_size_of(raw_size))
    document = export(model, out, options=options, levels=levels, seed=given_seed() or 0, **flags)
    print_result(document, _print_text)
    if not document["parity"]["ok"]:
        names = ", ".join(one["file"] for one in document["files"])
        echo(f"zoo-bench: {names}: the output differs from torch's; the file is kept for examination.", err=True)
        raise click.exceptions.Exit(1)


def _print_text(document: Mapping[str, Any]) -> None:
    for one in document["files"]:
        beside = one["weights_file"] and f", {one['weights_bytes'] / 1e6:.2f} MB of weights in {one['weights_file']}"
        echo(f"wrote {one['file']} ({one['role']}, {one['bytes'] / 1e6:.2f} MB, opset {one['opset']}{beside or ''})")
        echo(f"  inputs      {', '.join(f'{name} {shape_text(shape)}' for name, shape in one['inputs'].items())}")
        echo(f"  operations  {', '.join(f'{name} {count}' for name, count in one['operations'].items())}")
    parity = document["parity"]
    for one in parity["sizes"]:
        echo(
            f"compared with torch at {shape_text(one['input_shape'])} ({parity['runtime']}):"
            f" largest absolute error {one['max_abs_error']:.2e}, relative {one['relative_error']:.2e}"
        )
    echo(f"{'agrees' if parity['ok'] else 'DOES NOT AGREE'} within a relative error of {parity['tolerance']:g}")
    for note in document["notes"]:
        echo(f"note: {note}")
