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
from benchmark.cli.printing import echo, given_seed, layers_text, print_placement, print_result, start
from benchmark.units import shape_text
from zoo.errors import UserError


@click.command("export")
@click.argument("model")
@click.option("-o", "--out", metavar="FILE", help="File to write, FILE.onnx or FILE.pte.")
@click.option(
    "--to",
    type=click.Choice(["onnx", "executorch"]),
    default="onnx",
    show_default=True,
    help="Format: ONNX (extra onnx), or a program of ExecuTorch with XNNPACK (extra executorch).",
)
@size_option
@weights_option
@click.option(
    "--opset", type=click.IntRange(min=18), metavar="N", help="Version of the ONNX operator set.  [default: 20]"
)
@click.option(
    "--dynamic",
    is_flag=True,
    help="Leave the height and the width of the input open, if the network allows it; for ExecuTorch up to --size.",
)
@click.option(
    "--freeze",
    metavar="IMAGE",
    help="For hyper-networks: write one graph, with the filters that are predicted from this image.",
)
@click.option(
    "--check",
    metavar="FILE",
    help="Write no file; compare FILE.onnx or FILE.pte, which `export` or `quantize` wrote of MODEL, with PyTorch.",
)
@click.option(
    "--measure",
    is_flag=True,
    help="Also time the part of a FILE.pte that XNNPACK runs and the part of the slower kernels.",
)
@click.option(
    "--report",
    is_flag=True,
    help="Write no file; list what engines and phones are known to refuse or to emulate of the network.",
)
@raw_options
@set_option
@json_option
def export_command(
    model: str,
    out: str | None,
    check: str | None,
    report: bool,
    cfa: str,
    black: float,
    white: float | None,
    raw_size: str | None,
    options: dict[str, str],
    **flags: Any,
) -> None:
    """Write MODEL as ONNX or for ExecuTorch, and compare it with PyTorch.

    The exit status is 1 if the engine that runs the file and PyTorch disagree. A hyper-network becomes two files:
    FILE.filters.onnx (image to filters) and FILE.onnx (image and filters to image). For ExecuTorch, the operators that
    XNNPACK runs and those that it leaves to slower kernels are listed.
    """
    reporter = start()
    from benchmark.running.checking import check_file
    from benchmark.running.exporting import export
    from benchmark.running.inputs import Levels
    from benchmark.running.portability import portability
    from benchmark.sensor import raw_size_of

    flags["weights"] = weights_given(model, flags["weights"], reporter, trust=flags.pop("trust"))
    levels = Levels(cfa, black, white, raw_size_of(raw_size))
    common: dict[str, Any] = {"options": options, "levels": levels, "seed": given_seed() or 0}
    if out is not None and (report or check is not None):
        raise UserError(f"-o {out}: {'--report' if report else '--check'} writes no file; leave one of them out.")
    if report:
        del flags["to"], flags["opset"], flags["measure"]
        print_result(portability(model, **common, **flags), _print_report)
        return
    if check is not None:
        for name in ("to", "opset", "dynamic", "freeze"):
            del flags[name]
        del common["levels"]
        found = check_file(model, check, **common, **flags)
        print_result(found, _print_check)
        if found["parity"]["ok"] is False:
            raise click.exceptions.Exit(1)
        return
    if out is None:
        raise UserError("export: expected -o FILE for the file to write, or --report, or --check FILE.")
    document = export(model, out, **common, **flags)
    print_result(document, _print_text)
    if not document["parity"]["ok"]:
        names = ", ".join(one["file"] for one in document["files"])
        echo(f"zoo-bench: {names}: the output differs from torch's; the file is kept for examination.", err=True)
        raise click.exceptions.Exit(1)


def _print_text(document: Mapping[str, Any]) -> None:
    for one in document["files"]:
        beside = one["weights_file"] and f", {one['weights_bytes'] / 1e6:.2f} MB of weights in {one['weights_file']}"
        opset = "" if one["opset"] is None else f", opset {one['opset']}"
        echo(f"wrote {one['file']} ({one['role']}, {one['bytes'] / 1e6:.2f} MB{opset}{beside or ''})")
        echo(f"  inputs      {', '.join(f'{name} {shape_text(shape)}' for name, shape in one['inputs'].items())}")
        echo(f"  operations  {', '.join(f'{name} {count}' for name, count in one['operations'].items())}")
        if "placement" in one:
            print_placement(one["placement"])
        _print_times(one)
    _print_parity(document["parity"])
    for note in document["notes"]:
        echo(f"note: {note}")


def _print_parity(parity: Mapping[str, Any]) -> None:
    for one in parity["sizes"]:
        echo(
            f"compared with torch at {shape_text(one['input_shape'])} ({parity['runtime']}):"
            f" largest absolute error {one['max_abs_error']:.2e}, relative {one['relative_error']:.2e}"
        )
    if parity["ok"] is not None:
        echo(f"{'agrees' if parity['ok'] else 'DOES NOT AGREE'} within a relative error of {parity['tolerance']:g}")


def _print_times(one: Mapping[str, Any]) -> None:
    if "times_ms" in one:
        times = one["times_ms"]
        echo(
            f"  time        {times['pass']:.3f} ms a pass: {times['delegate']:.3f} ms in XNNPACK,"
            f" {times['portable']:.3f} ms in portable kernels"
        )


def _print_check(document: Mapping[str, Any]) -> None:
    echo(f"{document['file']}: {document['model']}, {document['precision']}")
    _print_times(document)
    _print_parity(document["parity"])
    for note in document["notes"]:
        echo(f"note: {note}")


def _print_report(document: Mapping[str, Any]) -> None:
    echo(f"{document['model']} at {shape_text(document['input_shape'])}")
    for target in document["targets"]:
        tried = target["tried"]
        if tried is None:
            echo(f"{target['name']}: not tried, {target['why']}")
        elif tried["runs"]:
            echo(f"{target['name']}: tried here ({tried['engine']}), relative error {tried['relative_error']:.2e}")
        else:
            echo(f"{target['name']}: tried here ({tried['engine']}), refused: {tried['message']}")
        for one in target["findings"]:
            origin = "tried" if one["tried"] else "read"
            where = one["source"] and f" ({origin}: {one['source']['title']}, {one['source']['address']})"
            where = where or (" (tried)" if one["tried"] else "")
            echo(f"  {one['effect']:<11} {one['operation']} in {layers_text(one)}: {one['reason']}{where}")
